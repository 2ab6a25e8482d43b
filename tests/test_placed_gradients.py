"""Derivatives of every operation that a backend runs, its kernels inside, against finite differences.

What JAX's transformations make of a placed function is placed as well. Here everything that a backend can run goes to
it, without timing, so that the derivatives that are checked are those of its kernels.
"""

from __future__ import annotations

from collections import Counter

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.test_util import check_grads

import collage_jax
from collage_jax.backends import conv_as_dots, registry
from collage_jax.calls import deciding
from collage_jax.candidates import XLA, find
from collage_jax.costs import Measured
from collage_jax.lowering.plan import Plan
from collage_jax.placement import Placement
from collage_jax.search.op_level import choose
from collage_jax.tuning.stages import environment
from collage_jax.tuning.summary import placed_regions

USABLE = {backend.name for backend in registry.usable(None)[0]}


@pytest.fixture
def everything(monkeypatch):
    """Stands in for tuning: whatever a backend can run is placed on it. Counts regions by backend, by program."""
    programs = []

    def place(problem, arguments, reference, settings, store, barred=None):
        backends = registry.usable(settings.backends)[0]
        kept, each = problem.split.kept, problem.split.each
        options = {g: find(g, backends, kept if g is each else ()) for g in problem.graphs.values()}
        candidates = [c for o in options.values() for c in (*o.chosen_from, *o.subgraphs)]
        costs = {(c.key, c.backend): Measured(1e3 if c.backend == XLA else 1.0) for c in candidates}
        placed = {g: choose(o, costs).placed for g, o in options.items()}
        for graph, o in options.items():  # what takes whole subgraphs offers nothing smaller
            if o.subgraphs and not placed[graph]:
                placed[graph] = tuple((c.region, c.backend) for c in o.subgraphs)[:1]
        rows = placed_regions(Plan.of(each, placed), problem.graphs, kept, options, costs)
        programs.append(Counter(row.backend for row in rows if row.backend != XLA for _ in row.places))
        all_backends = registry.with_reference(backends)
        return Placement(rows, program=problem.key, environment=environment(all_backends))

    monkeypatch.setattr(deciding, "tune", place)
    monkeypatch.setattr(conv_as_dots, "WORTH_S", 1e-12)  # it takes what takes XLA long, as no small convolution does
    return programs


def normal(*shape, seed=0):
    return np.random.default_rng([seed, *shape]).standard_normal(shape).astype(np.float32)


def conv(x, w, stride=1, groups=1, dilation=1, padding="SAME", lhs_dilation=1):
    letters = "DHW"[-(x.ndim - 2) :]
    spatial = x.ndim - 2
    return lax.conv_general_dilated(
        x, w, (stride,) * spatial, padding, (lhs_dilation,) * spatial, (dilation,) * spatial,
        (f"N{letters}C", f"{letters}IO", f"N{letters}C"), feature_group_count=groups,
    )  # fmt: skip


def largest(x):
    return lax.reduce_window(x, -np.inf, lax.max, (1, 3, 3, 1), (1, 2, 2, 1), "SAME")


def average(x):
    return lax.reduce_window(x, 0.0, lax.add, (1, 3, 3, 1), (1, 2, 2, 1), "SAME") / 9


def pulled(fun):
    """The gradient of ``fun`` as a function: of its argument and what arrives at its result."""
    return lambda x, g: jax.vjp(fun, x)[1](g)[0]


def layer_norm(x, scale, shift):
    centred = x - x.mean(-1, keepdims=True)
    return centred * lax.rsqrt((centred * centred).mean(-1, keepdims=True) + 1e-3) * scale + shift


def rms_norm(x, scale):
    return x * lax.rsqrt((x * x).mean(-1, keepdims=True) + 1e-3) * scale


def attention(q, k, v):
    scores = jnp.einsum("bqhd,bkhd->bhqk", q, k) * 0.5
    return jnp.einsum("bhqk,bkhd->bqhd", jax.nn.softmax(scores, -1), v)


def apart(*shape):
    """Numbers of which none is within 0.02 of another or of 0, in any order: no maximum and no ReLU changes sides."""
    count = int(np.prod(shape))
    numbers = (np.arange(count, dtype=np.float32) - count // 2 + 0.5) * np.float32(0.05)
    return np.random.default_rng(count).permutation(numbers).reshape(shape)


IMAGE, HEADS = (1, 6, 7, 16), (1, 5, 2, 4)
#: Of each operation, the function, its arguments and the backends that must run some of it or of its derivatives.
OPERATIONS = {
    "product": (lambda x, w: x @ w, (normal(6, 5), normal(5, 7, seed=1)), ["sgemm", "onednn"]),
    "product with bias and tanh": (
        lambda x, w, b: jnp.tanh(x @ w + b), (normal(6, 5) / 3, normal(5, 7) / 3, normal(7)), ["sgemm", "onednn"],
    ),
    "batched product": (lambda x, y: x @ y, (normal(2, 4, 5), normal(2, 5, 3, seed=1)), ["onednn"]),
    "product with relu": (
        lambda x, w: jax.nn.relu(x @ w), (apart(4, 1), np.ones((1, 6), np.float32)), ["sgemm", "onednn"],
    ),
    "convolution": (conv, (normal(*IMAGE), normal(3, 3, 16, 16, seed=1)), ["onednn", "winograd"]),
    "convolution with stride": (
        lambda x, w: conv(x, w, stride=2), (normal(1, 7, 6, 3), normal(3, 3, 3, 8)), ["onednn"],
    ),
    "dilated convolution": (lambda x, w: conv(x, w, dilation=2), (normal(1, 6, 6, 4), normal(3, 3, 4, 8)), ["onednn"]),
    "transposed convolution": (
        lambda x, w: conv(x, w, lhs_dilation=2, padding=((1, 2), (1, 2))),
        (normal(1, 4, 4, 8), normal(3, 3, 8, 4)), ["onednn"],
    ),
    "pointwise convolution": (conv, (normal(1, 4, 5, 8), normal(1, 1, 8, 12)), ["onednn", "sgemm"]),
    "convolution in one dimension": (conv, (normal(1, 9, 4), normal(3, 4, 8)), ["onednn"]),
    "convolution in three dimensions": (
        conv, (normal(1, 3, 5, 4, 16), normal(3, 3, 3, 16, 16)), ["onednn", "winograd"],
    ),
    "depthwise convolution": (
        lambda x, w: conv(x, w, groups=16), (normal(*IMAGE), normal(3, 3, 1, 16)),
        ["onednn", "grouped", "conv_as_dots"],
    ),
    "convolution in groups": (
        lambda x, w: conv(x, w, groups=4), (normal(*IMAGE), normal(3, 3, 4, 16)), ["onednn", "grouped"],
    ),
    "convolution to few channels": (conv, (normal(*IMAGE), normal(3, 3, 16, 3)), ["onednn", "narrow_conv"]),
    "softmax": (lambda x: jax.nn.softmax(x, -1), (normal(4, 9),), ["onednn", "rowwise"]),
    "layer norm": (layer_norm, (normal(4, 9), normal(9, seed=1), normal(9, seed=2)), ["onednn", "rowwise"]),
    "RMS norm": (rms_norm, (normal(4, 9), normal(9, seed=1)), ["rowwise"]),
    "attention": (
        attention, (normal(*HEADS), normal(*HEADS, seed=1), normal(*HEADS, seed=2)), ["fused_attention", "onednn"],
    ),
    "maximum pooling": (largest, (apart(1, 5, 6, 4),), ["onednn"]),
    "average pooling": (average, (normal(1, 5, 6, 4),), ["onednn"]),
    "gradient of maximum pooling": (pulled(largest), (apart(1, 5, 6, 4), normal(1, 3, 3, 4)), ["pool_gradient"]),
    "gradient of average pooling": (pulled(average), (normal(1, 5, 6, 4), normal(1, 3, 3, 4)), ["pool_gradient"]),
    "GELU": (lambda x: jax.nn.gelu(x), (normal(4, 9),), ["onednn"]),
    "exact GELU": (lambda x: jax.nn.gelu(x, approximate=False), (normal(4, 9),), ["onednn"]),
    "SiLU": (jax.nn.silu, (normal(4, 9),), ["onednn"]),
    "concatenation": (
        lambda x, w: jnp.concatenate([x @ w, x], -1), (normal(4, 5), normal(5, 3)), ["onednn", "sgemm"],
    ),
    "two layers": (
        lambda x, w, v: jax.nn.softmax(jnp.tanh(x @ w) @ v, -1),
        (normal(4, 5) / 2, normal(5, 8) / 2, normal(8, 3)), ["openvino", "onednn", "sgemm"],
    ),
}  # fmt: skip
BY_BACKEND = [(backend, name) for name, (_, _, backends) in OPERATIONS.items() for backend in backends]
QUICK = [("sgemm", "product with bias and tanh"), ("winograd", "convolution"), ("rowwise", "softmax")]


def check(backend, name, everything, order):
    if backend not in USABLE:
        pytest.skip(f"{backend} cannot be used here")
    fun, args, _ = OPERATIONS[name]
    decorated = collage_jax.jit(fun, backends=[backend])
    np.testing.assert_allclose(decorated(*args), jax.jit(fun)(*args), rtol=1e-4, atol=1e-4)
    check_grads(decorated, args, order, modes=("fwd", "rev"), atol=0.02, rtol=0.02, eps=1e-2)
    assert len(everything) > 1
    assert sum(everything, Counter())[backend] > 0, everything


@pytest.mark.parametrize(("backend", "name"), QUICK)
def test_first_derivatives_are_those_of_finite_differences(backend, name, everything):
    check(backend, name, everything, 1)


@pytest.mark.slow
@pytest.mark.parametrize(("backend", "name"), BY_BACKEND)
def test_derivatives_to_the_second_order_are_those_of_finite_differences(backend, name, everything):
    check(backend, name, everything, 2)
