"""Gradients of pooling by our own kernels, against JAX's."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from jax import lax

from collage_jax.backends import own_kernels
from collage_jax.backends.pool_gradient import BACKEND, STEP
from collage_jax.graph.evaluate import callable_of
from collage_jax.graph.region import Region
from collage_jax.graph.trace import trace_function

native = own_kernels.load(STEP)
pytestmark = pytest.mark.skipif(not native, reason=getattr(native, "reason", ""))

POOLS = {"max": (-jnp.inf, lax.max), "min": (jnp.inf, lax.min), "sum": (0.0, lax.add)}


def gradient_of(op, x, window, strides, padding, dilation=None):
    """The gradient of the pooling as a function of that of the result (and what was pooled), with its arguments."""
    start, combine = POOLS[op]

    def pool(x):
        return lax.reduce_window(x, start, combine, window, strides, padding, window_dilation=dilation)

    shape = jax.eval_shape(pool, x).shape
    g = jnp.asarray(np.random.default_rng(1).standard_normal(shape), x.dtype)
    if op == "sum":
        return lambda g: jax.vjp(pool, jnp.zeros_like(x))[1](g)[0], (g,)
    return lambda g, x: jax.vjp(pool, x)[1](g)[0], (g, x)


def proposed(fun, *args):
    """The region with most operations that the backend proposes, or None; and what goes in, as far as it is known."""
    graph = trace_function(fun, *args)
    found = [p.nodes for p in BACKEND.propose(graph) if p.refused is None]
    if not found:
        return None, []
    region = Region.of(graph, max(found, key=len))
    assert BACKEND.supports(region) is None
    arrays = dict(zip(graph.inputs, args, strict=True))
    return region, [arrays.get(v) for v in region.entries]


def check(region, arrays):
    """The kernel does what JAX does."""
    if any(a is None for a in arrays):  # something was computed before
        arrays = [np.random.default_rng(2).standard_normal(v.shape).astype(v.dtype) for v in region.entries]
    (got,) = jax.jit(BACKEND.emit(region))(*arrays)
    (wanted,) = jax.jit(callable_of(region.nodes, region.entries, region.exits))(*arrays)
    np.testing.assert_allclose(got, wanted, rtol=1e-6, atol=1e-6)


@st.composite
def pools(draw):
    spatial = draw(st.integers(1, 3))

    def each(smallest, largest):
        return [draw(st.integers(smallest, largest)) for _ in range(spatial)]

    size, window = each(1, 9), each(1, 4)
    low = [draw(st.integers(0, k - 1)) for k in window]
    high = [draw(st.integers(0, k - 1)) for k in window]
    assume(all(n + a + b >= k for n, a, b, k in zip(size, low, high, window, strict=True)))
    outer, inner = draw(st.sampled_from([(), (1,), (3,)])), draw(st.sampled_from([(1,), (5,), (70,), (3, 2)]))
    around = lambda middle, ends: (*[ends] * len(outer), *middle, *[ends] * len(inner))  # noqa: E731
    return (
        (*outer, *size, *inner),
        around(window, 1),
        around(each(1, 3), 1),
        around(list(zip(low, high, strict=True)), (0, 0)),
    )


@settings(deadline=None, max_examples=2 * settings.default.max_examples)
@given(st.sampled_from(["max", "min"]), pools(), st.booleans())
def test_the_gradient_goes_where_that_of_jax_goes(op, drawn, ties):
    shape, *about = drawn
    values = np.random.default_rng(0)
    x = values.integers(0, 3, shape) if ties else values.standard_normal(shape)
    fun, args = gradient_of(op, jnp.asarray(x, jnp.float32), *about)
    region, arrays = proposed(fun, *args)
    assume(region is not None)
    check(region, arrays)


@settings(deadline=None, max_examples=settings.default.max_examples)
@given(pools())
def test_sums_give_to_all(drawn):
    shape, *about = drawn
    fun, args = gradient_of("sum", jnp.zeros(shape), *about)
    region, arrays = proposed(fun, *args)
    assume(region is not None)
    check(region, arrays)


def test_the_networks_pools_are_taken():
    x = jnp.asarray(np.random.default_rng(0).standard_normal((2, 14, 14, 44)), jnp.float32)
    about = ((1, 3, 3, 1), (1, 2, 2, 1), ((0, 0), (1, 1), (1, 1), (0, 0)))
    for op, ops in (("max", ("select_and_scatter_add",)), ("sum", ("pad", "reduce_window_sum"))):
        fun, args = gradient_of(op, x, *about)
        region, arrays = proposed(fun, *args)
        assert region.ops == ops
        check(region, arrays)


@pytest.mark.parametrize("op", ["max", "min"])
def test_nan_is_chosen_and_left_as_by_xla(op):
    x = np.random.default_rng(0).standard_normal((1, 6, 6, 8)).astype(np.float32)
    x[0, ::2, 1::3] = np.nan
    fun, args = gradient_of(op, jnp.asarray(x), (1, 3, 3, 1), (1, 2, 2, 1), ((0, 0),) * 4)
    check(*proposed(fun, *args))


@pytest.mark.parametrize("op", ["max", "min"])
@pytest.mark.parametrize("padding", [((0, 0), (1, 1), (1, 1), (0, 0)), ((0, 0), (0, 1), (2, 0), (0, 0))])
def test_padding_is_chosen_as_by_jax(op, padding):
    """It takes part as the infinity that nothing is below: NaN before it and infinities after it lose to it."""
    draw = np.random.default_rng(0)
    x = draw.choice(np.array([np.nan, np.inf, -np.inf, 0, -0.0, 1, 2], np.float32), (2, 5, 4, 70))
    fun, args = gradient_of(op, jnp.asarray(x), (1, 3, 3, 1), (1, 2, 1, 1), padding)
    check(*proposed(fun, *args))


@pytest.mark.parametrize(
    ("shape", "dtype", "window", "reason"),
    [
        ((1, 8, 8, 4), jnp.bfloat16, (1, 2, 2, 1), "float32"),
        ((1, 4, 8, 8), jnp.float32, (1, 1, 2, 2), "last"),
        ((6, 6, 6, 6, 4), jnp.float32, (2, 2, 2, 2, 1), "neighbouring"),
    ],
)
def test_what_is_refused_is_told(shape, dtype, window, reason):
    x = jnp.asarray(np.random.default_rng(0).standard_normal(shape), dtype)
    fun, args = gradient_of("max", x, window, window, ((0, 0),) * len(shape))
    (proposal,) = BACKEND.propose(trace_function(fun, *args))
    assert reason in proposal.refused.reason


def test_a_pooling_itself_is_no_gradient():
    pool = lambda x: lax.reduce_window(x, 0.0, lax.add, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")  # noqa: E731
    assert not list(BACKEND.propose(trace_function(pool, jnp.zeros((1, 4, 4, 8)))))


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("op=mean outer=1 size=1x1x4 result=1x1x2 window=1x1x2 strides=1x1x2 low=0x0x0 inner=8", "max, min or sum"),
        ("op=max outer=0 size=1x1x4 result=1x1x2 window=1x1x2 strides=1x1x2 low=0x0x0 inner=8", "out of range"),
        ("op=max outer=1 size=1x4 result=1x1x2 window=1x1x2 strides=1x1x2 low=0x0x0 inner=8", "3 numbers"),
        ("op=max outer=1 size=1x1x4 result=1x1x2 window=1x1x2 strides=1x1x2 low=0x0x0", "inner"),
    ],
)
def test_bad_specs_are_refused(spec, message):
    with pytest.raises(ValueError, match=message):
        native.packed_size(spec)
