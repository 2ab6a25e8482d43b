"""Arrays that are joined are written into their places by the kernels that make them, and hold the same numbers."""

from __future__ import annotations

import re
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax import lax

from collage_jax.backends import registry
from collage_jax.backends.onednn import library
from collage_jax.backends.own_kernels import load
from collage_jax.candidates import find
from collage_jax.graph.trace import trace_function
from collage_jax.lowering.build import _unsplit, lower
from collage_jax.lowering.plan import Plan

pytestmark = pytest.mark.skipif(
    not library.load() or not hasattr(load("_kernels.concat"), "step_maker"), reason="there are no kernels here"
)

#: Whose kernels the largest regions get; what nobody of these wants stays with XLA.
KERNELS = ("grouped", "winograd", "sgemm", "onednn")
WRITTEN = re.compile(r" [to]\d+\+(\d+) ")


def placed(fun, *args, names=KERNELS):
    """`fun` with all that `names` can do on their kernels, the larger regions first."""
    graph = trace_function(fun, *args)
    backends = {b.name: b for b in registry.usable(names)[0]}
    chosen, taken = [], set()
    usable = [c for c in find(graph, list(backends.values()), ()).chosen_from if c.backend in names]
    for candidate in sorted(usable, key=lambda c: (-len(c.region.nodes), names.index(c.backend))):
        if taken.isdisjoint(candidate.region.nodes):
            chosen.append((candidate.region, candidate.backend))
            taken.update(candidate.region.nodes)
    plan = Plan.of(graph, {graph: chosen})
    lowered = lower(plan, _unsplit(plan), backends)
    return lambda *xs: lowered.run(lowered.prepare(), *xs)[0]


def check(fun, *args, written, names=KERNELS):
    """The numbers are XLA's, and so many arrays are written into others."""
    run = jax.jit(placed(fun, *args, names=names))
    found = WRITTEN.findall(run.lower(*args).as_text())
    assert len(found) == written, found
    got, wanted = np.asarray(run(*args)), np.asarray(fun(*args))
    np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-5 * np.abs(wanted).max())
    return found


def normal(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape), jnp.float32)


conv = partial(
    lax.conv_general_dilated,
    window_strides=(1, 1),
    padding="SAME",
    dimension_numbers=("NHWC", "HWIO", "NHWC"),
)


def depthwise(x, w):
    return conv(x, w, feature_group_count=x.shape[-1])


X = normal(2, 9, 7, 32)
D, P, W3 = normal(3, 3, 1, 32, seed=1), normal(1, 1, 32, 48, seed=2) / 6, normal(3, 3, 32, 64, seed=3) / 17
Q = normal(1, 1, 32, 20, seed=4) / 6


def test_each_kernel_writes_its_part():
    def fun(x, d, p, w, q):
        parts = depthwise(x, d), conv(depthwise(x, d), p), conv(x, w), conv(x, q)
        return jnp.tanh(jnp.concatenate(parts, axis=-1))

    check(fun, X, D, P, W3, Q, written=4)


def test_with_what_follows_the_kernels():
    def fun(x, d, p, w, q):
        parts = (
            jax.nn.relu(depthwise(x, d[::-1]) + x),
            conv(depthwise(x, d), p) + jnp.concatenate([x, x[..., :16]], axis=-1),
            jax.nn.relu(conv(x, w) + jnp.arange(64.0)),
            conv(x, q) + x[..., :20],
        )
        return jnp.concatenate(parts, axis=-1)

    check(fun, X, D, P, W3, Q, written=4)


def test_what_is_made_elsewhere_is_copied():
    def fun(x, q):
        return jnp.concatenate([jnp.sin(x), conv(x, q), x, conv(x + 1, q)], axis=-1) * 2

    check(fun, X, Q, written=3)


def test_what_something_else_reads_too_is_copied():
    def fun(x, q):
        twice, once = conv(x, q), conv(x + 1, q)
        return jnp.concatenate([twice, once], axis=-1) @ jnp.ones((40, 3)) + jnp.sum(twice)

    check(fun, X, Q, written=2)


def test_what_is_joined_twice_is_copied():
    def fun(x, q):
        y = conv(x, q)
        return jax.nn.relu(jnp.concatenate([y, conv(x + 1, q), y], axis=-1))

    check(fun, X, Q, written=2)


def test_joining_what_was_joined():
    def fun(x, q):
        inner = jnp.concatenate([conv(x, q), conv(x + 1, q)], axis=-1)
        return jax.nn.relu(jnp.concatenate([inner, conv(x + 2, q)], axis=-1))

    check(fun, X, Q, written=4)  # two into the inner array, which is copied


def test_nothing_is_gained_where_nothing_is_made_here():
    def fun(x, q):
        return conv(jnp.concatenate([x, jnp.sin(x)], axis=-1), jnp.concatenate([q, q], axis=2))

    check(fun, X, Q, written=0)


@pytest.mark.parametrize(("width", "offsets"), [(32, [0, 384]), (33, [0, 0])])
def test_along_the_first_axis_any_kernel_may_write_where_arrays_may_start(width, offsets):
    """At 396 none may: that part is copied, which begins at 0 as all copying does."""

    def fun(x, v, w):
        return jax.nn.softmax(jnp.concatenate([x @ v, x @ w], axis=0))

    args = normal(3, width), normal(width, width, seed=1), normal(width, width, seed=2)
    found = check(fun, *args, written=2, names=("onednn",))
    assert sorted(map(int, found)) == offsets


def test_a_row_of_several_axes_is_joined_as_a_whole_or_not_at_all():
    """What a product calls a row are the last two axes here."""
    x, w = normal(12, 32), normal(32, 4, 8, seed=1)

    def heads(x, w):
        return jnp.einsum("nk,khd->nhd", x, w)

    def along(axis):
        return lambda x, w: jax.nn.softmax(jnp.concatenate([heads(x, w), heads(x + 1, w)], axis=axis))

    check(along(1), x, w, written=2)
    check(along(2), x, w, written=0)


def test_an_output_of_the_program_is_written_too():
    def fun(x, q):
        return jnp.concatenate([conv(x, q), conv(x + 1, q)], axis=-1)

    check(fun, X, Q, written=2)


@settings(max_examples=settings.default.max_examples, deadline=None)
@given(st.data())
def test_parts_of_any_size(data):
    sizes = data.draw(st.lists(st.integers(1, 70), min_size=1, max_size=5))
    elsewhere = data.draw(st.lists(st.booleans(), min_size=len(sizes), max_size=len(sizes)))
    rows, depth = data.draw(st.integers(1, 40)), data.draw(st.integers(1, 50))
    x = normal(rows, depth)
    weights = [normal(depth, n, seed=n) for n in sizes]

    def fun(x, *weights):
        parts = [x @ w if not there else jnp.sin(w[:1] + x[:, :1]) for w, there in zip(weights, elsewhere, strict=True)]
        return jnp.tanh(jnp.concatenate(parts, axis=1))

    run = jax.jit(placed(fun, x, *weights))
    np.testing.assert_allclose(run(x, *weights), fun(x, *weights), rtol=1e-4, atol=1e-5)


BAD = {
    "is out of range": ("rows=2", "rows=0"),
    "part 1 ends outside a row of 7": ("offsets=0x3", "offsets=0x4"),
    "2 numbers are needed": ("offsets=0x3", "offsets=0"),
    "there is no such option": ("rows=2", "rows=2 axis=1"),
    "op=move": ("op=place", "op=move"),
}


@pytest.mark.parametrize("message", BAD)
def test_a_bad_spec_is_named(message):
    old, new = BAD[message]
    spec = "op=place rows=2 row=7 parts=2 columns=3x4 offsets=0x3".replace(old, new)
    module = load("_kernels.concat")
    with pytest.raises(ValueError, match=message):
        module.packed_size(spec)
