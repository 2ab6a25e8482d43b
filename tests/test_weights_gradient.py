"""The gradient of a convolution's weights by oneDNN's own operation, against JAX's convolution."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from instruction_sets import skip_unless_onednn_takes
from jax import lax

from collage_jax.backends.base import Unsupported
from collage_jax.backends.onednn import BACKEND, library, weights_gradient
from collage_jax.graph.evaluate import callable_of
from collage_jax.graph.region import Region
from collage_jax.graph.trace import trace_function

pytestmark = pytest.mark.skipif(not library.load(), reason="there is no oneDNN here")


def normal(*shape, seed=0, dtype=jnp.float32):
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape), dtype)


def gradient(x, w, **options):
    """The gradient of the weights as a function of the source and the gradient of the result; and that, drawn."""
    conv = partial(lax.conv_general_dilated, x, **options)
    g = normal(*jax.eval_shape(conv, w).shape, seed=2, dtype=x.dtype)

    def weights_gradient(x, g):
        return jax.vjp(lambda w: lax.conv_general_dilated(x, w, **options), w)[1](g)[0]

    return weights_gradient, g


def conv_of(fun, *args):
    """The region of the one convolution in ``fun``, with arrays for its entries."""
    graph = trace_function(fun, *args)
    (node,) = (n for n in graph.nodes if n.op == "conv_general_dilated")
    region = Region.of(graph, (node,))
    arrays = dict(zip(graph.inputs, args, strict=True))
    return region, [arrays[v] for v in region.entries]


def check(x, w, tolerance=1e-5, **options):
    """The kernel is the gradient's own, its result JAX's; returns that with its dimensions in the weights' order."""
    fun, g = gradient(x, w, **options)
    region, arrays = conv_of(fun, x, g)
    run = BACKEND.emit(region)
    assert run.spec.startswith("op=conv_weights ")
    (got,) = jax.jit(run)(*arrays)
    (wanted,) = jax.jit(callable_of(region.nodes, region.entries, region.exits))(*arrays)
    got, wanted = np.float64(got), np.float64(wanted)
    np.testing.assert_allclose(got, wanted, rtol=0, atol=tolerance * np.abs(wanted).max())
    inputs, outputs, *spatial = region.nodes[0].params["dimension_numbers"].out_spec
    return np.transpose(got, (*spatial, inputs, outputs))


@st.composite
def convolutions(draw):
    spatial = draw(st.integers(1, 3))
    groups = draw(st.sampled_from([1, 1, 2, 3, 16]))
    kernel = [draw(st.integers(1, 4)) for _ in range(spatial)]
    strides = [draw(st.integers(1, 3)) for _ in range(spatial)]
    dilation = [draw(st.integers(1, 2)) for _ in range(spatial)]
    pads = [(draw(st.integers(0, 2)), draw(st.integers(0, 2))) for _ in range(spatial)]
    least = [(k - 1) * d + 1 - sum(p) for k, d, p in zip(kernel, dilation, pads, strict=True)]
    # Larger than the kernel, so that the gradient's kernel is the larger one.
    size = [max(1, n) + s * k * draw(st.integers(1, 3)) for n, s, k in zip(least, strides, kernel, strict=True)]
    per_group = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    batch = draw(st.integers(1, 3))
    channels_last = draw(st.booleans())
    axes = "HWD"[:spatial]
    numbers = (f"N{axes}C", f"{axes}IO", f"N{axes}C") if channels_last else (f"NC{axes}", f"OI{axes}", f"NC{axes}")
    x_shape = [batch, *size, groups * per_group[0]] if channels_last else [batch, groups * per_group[0], *size]
    w_shape = [*kernel, per_group[0], groups * per_group[1]]
    if not channels_last:
        w_shape = [w_shape[-1], w_shape[-2], *kernel]
    options = {
        "window_strides": strides,
        "padding": pads,
        "rhs_dilation": dilation,
        "dimension_numbers": numbers,
        "feature_group_count": groups,
    }
    return x_shape, w_shape, options


@settings(max_examples=2 * settings.default.max_examples, deadline=None)
@given(convolutions())
def test_results_are_jax_s(drawn):
    x_shape, w_shape, options = drawn
    x, w = normal(*x_shape), normal(*w_shape, seed=1)
    fun, g = gradient(x, w, **options)
    region, _ = conv_of(fun, x, g)
    assume(weights_gradient.is_one(region.nodes[0]) and BACKEND.supports(region) is None)
    check(x, w, **options)


NHWC = {"dimension_numbers": ("NHWC", "HWIO", "NHWC")}


@pytest.mark.parametrize(
    ("x", "w", "options"),
    [
        ((4, 14, 14, 64), (3, 3, 64, 32), {"window_strides": (1, 1), "padding": "SAME"}),
        ((4, 15, 14, 64), (3, 3, 64, 32), {"window_strides": (2, 2), "padding": "SAME"}),
        ((2, 14, 14, 64), (1, 1, 64, 128), {"window_strides": (1, 1), "padding": "VALID"}),
        ((2, 14, 14, 64), (1, 1, 64, 128), {"window_strides": (2, 2), "padding": "VALID"}),
        ((2, 28, 28, 3), (7, 7, 3, 64), {"window_strides": (2, 2), "padding": "SAME"}),
        ((2, 14, 14, 64), (3, 3, 2, 64), {"window_strides": (1, 1), "padding": "SAME", "feature_group_count": 32}),
        ((2, 14, 14, 64), (3, 3, 4, 64), {"window_strides": (2, 2), "padding": "SAME", "feature_group_count": 16}),
        ((2, 14, 14, 64), (5, 5, 1, 64), {"window_strides": (1, 1), "padding": "SAME", "feature_group_count": 64}),
        ((2, 14, 14, 64), (3, 3, 1, 128), {"window_strides": (1, 1), "padding": "SAME", "feature_group_count": 64}),
    ],
)
def test_those_of_networks_run(x, w, options):
    check(normal(*x), normal(*w, seed=1), **NHWC, **options)


def test_on_avx2_data_is_brought_into_blocks():
    """Where the library has the same code for both forms, which is far faster on blocks."""
    x, w = normal(1, 12, 12, 16), normal(3, 3, 16, 8, seed=1)
    fun, g = gradient(x, w, window_strides=(1, 1), padding="SAME", **NHWC)
    region, _ = conv_of(fun, x, g)
    run = BACKEND.emit(region)
    plain = run.spec.replace(" inner=any", "")
    implementation = library.load().query(plain)["impl"]
    assert ("inner=any" in run.spec) == (implementation == "jit:avx2")


def test_nothing_follows_a_transposed_convolution_that_the_library_would_do_number_by_number():
    x, w = normal(2, 8, 8, 32), normal(3, 3, 1, 32, seed=1)
    g = normal(2, 4, 4, 32, seed=2)

    def sum_of_gradients(w, g, other):
        conv = partial(lax.conv_general_dilated, window_strides=(2, 2), padding="SAME", feature_group_count=32, **NHWC)
        return jax.vjp(lambda x: conv(x, w), x)[1](g)[0] + other

    graph = trace_function(sum_of_gradients, w, g, x)
    for proposal in (p for p in BACKEND.propose(graph) if p.refused is None and "deconv" in p.label):
        region = Region.of(graph, proposal.nodes)
        if BACKEND.supports(region) is not None:
            continue
        run = BACKEND.emit(region)
        assert not ("conv:any+" in library.load().query(run.spec)["impl"] and "post=" in run.spec)


def test_a_convolution_with_a_large_kernel_is_none():
    x, w = normal(1, 7, 7, 8), normal(7, 7, 8, 16, seed=1)
    graph = trace_function(partial(lax.conv_general_dilated, window_strides=(1, 1), padding="VALID", **NHWC), x, w)
    assert not weights_gradient.is_one(graph.nodes[0])


@pytest.mark.parametrize("groups", [2, 4])
def test_groups_of_the_batch_under_a_small_kernel(groups):
    x, w = normal(4, 9, 8, 5), normal(3, 2, 5, 8, seed=1)
    conv = partial(lax.conv_general_dilated, window_strides=(2, 1), padding="SAME", batch_group_count=groups, **NHWC)
    region, arrays = conv_of(conv, x, w)
    (got,) = jax.jit(BACKEND.emit(region))(*arrays)
    np.testing.assert_allclose(got, conv(x, w), rtol=1e-4, atol=1e-5)


def test_bfloat16():
    skip_unless_onednn_takes(jnp.bfloat16)
    x, w = normal(2, 14, 14, 32, dtype=jnp.bfloat16), normal(3, 3, 32, 32, seed=1, dtype=jnp.bfloat16)
    check(x, w, tolerance=2e-2, window_strides=(1, 1), padding="SAME", **NHWC)


def test_errors_are_small():
    """Against float64."""
    x, w = normal(4, 28, 28, 16), normal(3, 3, 16, 16, seed=1)
    options = {"window_strides": (1, 1), "padding": "SAME", **NHWC}
    got = check(x, w, **options)
    g = gradient(x, w, **options)[1]
    padded = np.pad(np.float64(x), ((0, 0), (1, 1), (1, 1), (0, 0)))
    shifted = [[padded[:, i : i + 28, j : j + 28] for j in range(3)] for i in range(3)]
    exact = np.array([[np.einsum("nhwi,nhwo->io", part, np.float64(g)) for part in row] for row in shifted])
    assert np.abs(got - exact).max() <= 3e-6 * np.abs(exact).max()


def test_what_cannot_be_done_is_refused_with_a_reason():
    x = normal(4, 9, 8)  # of the batch: two groups

    def fun(x, g):
        return lax.conv_general_dilated(
            x, g, (1,), [(0, 0)], lhs_dilation=(2,), dimension_numbers=("NCH", "OIH", "NCH"), batch_group_count=2
        )

    graph = trace_function(fun, x, normal(6, 9, 4, seed=1))
    (node,) = graph.nodes
    reason = BACKEND.supports(Region.of(graph, (node,)))
    assert isinstance(reason, Unsupported) and "transposed" in reason.reason


@pytest.mark.parametrize("channels", [1, 3, 5, 7, 8, 16])
def test_of_few_channels_and_strides_every_call_gives_the_same(channels):
    x, w = normal(1, 14, 4, channels), normal(1, 1, channels, 8)
    fun, g = gradient(x, w, window_strides=(1, 2), padding="VALID", dimension_numbers=("NHWC", "HWIO", "NHWC"))
    region, operands = conv_of(fun, x, g)
    if BACKEND.supports(region) is not None:
        return  # wrong numbers are worse than none
    (wanted,) = jax.jit(callable_of(region.nodes, region.entries, region.exits))(*operands)
    run = jax.jit(BACKEND.emit(region))
    held = []
    for i in range(30):
        (got,) = run(*operands)
        np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-4)
        held.append(jnp.asarray(np.full(10 * i + 1, 1e3, np.float32)))  # what memory holds from call to call changes
