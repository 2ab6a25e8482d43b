"""Convolutions of an array with gaps by one tap become products whose results are spread; others stay."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jax import lax

from collage_jax.graph.evaluate import callable_of
from collage_jax.graph.gaps import close_gaps
from collage_jax.graph.trace import trace_function

NHWC = ("NHWC", "HWIO", "NHWC")


def closed(fun, *args):
    graph = close_gaps(trace_function(fun, *args))
    return [node.op for node in graph.nodes], callable_of(graph.nodes, graph.inputs, graph.outputs)


def normal(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape), jnp.float32)


@given(st.data())
def test_results_are_the_same(data):
    rank = data.draw(st.integers(1, 3))
    gaps = [data.draw(st.integers(1, 3)) for _ in range(rank)]
    pads = [(data.draw(st.integers(0, 2)), data.draw(st.integers(0, 2))) for _ in range(rank)]
    groups = data.draw(st.sampled_from([1, 2]))
    size = [data.draw(st.integers(1, 4)) for _ in range(rank)]
    axes = "HWD"[:rank]
    numbers = data.draw(
        st.sampled_from([(f"N{axes}C", f"{axes}IO", f"N{axes}C"), (f"NC{axes}", f"OI{axes}", f"{axes}NC")])
    )
    sizes = dict(zip(axes, size, strict=True)) | {"N": 2, "C": 4}
    taps = dict.fromkeys(axes, 1) | {"I": 4 // groups, "O": 6}
    x, w = normal(*(sizes[a] for a in numbers[0])), normal(*(taps[a] for a in numbers[1]), seed=1)
    fun = partial(
        lax.conv_general_dilated,
        window_strides=(1,) * rank,
        padding=pads,
        lhs_dilation=gaps,
        dimension_numbers=numbers,
        feature_group_count=groups,
    )
    ops, run = closed(fun, x, w)
    assert ops == (["conv_general_dilated", "pad"] if any(n > 1 for n in gaps) else ["conv_general_dilated"])
    (got,) = jax.jit(run)(x, w)
    np.testing.assert_allclose(got, fun(x, w), rtol=1e-5, atol=1e-5)


def test_the_gradient_of_a_strided_convolution_is_a_product():
    def fun(x, w):
        return lax.conv_general_dilated(x, w, (2, 2), "SAME", dimension_numbers=NHWC).sum()

    x, w = normal(2, 8, 8, 16), normal(1, 1, 16, 8)
    ops, run = closed(jax.grad(fun), x, w)
    assert ops.count("pad") == 1
    np.testing.assert_allclose(run(x, w)[0], jax.grad(fun)(x, w), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("kernel", "options"),
    [
        ((3, 3), {"lhs_dilation": (2, 2), "padding": ((0, 0), (0, 0))}),  # its taps meet other pixels
        ((1, 1), {"lhs_dilation": (2, 2), "padding": ((0, -1), (0, 0))}),  # something is cut off
        ((1, 1), {"lhs_dilation": (2, 2), "padding": ((0, 0), (0, 0)), "window_strides": (2, 1)}),
        ((1, 1), {"padding": "VALID"}),
    ],
)
def test_others_stay(kernel, options):
    fun = partial(lax.conv_general_dilated, **{"window_strides": (1, 1), "dimension_numbers": NHWC, **options})
    ops, _ = closed(fun, normal(2, 5, 5, 4), normal(*kernel, 4, 3))
    assert ops == ["conv_general_dilated"]


def test_gaps_are_closed_where_jax_computes_ahead_what_it_can():
    """As while another function's derivative is lowered."""
    x, w = normal(1, 3, 3, 2), normal(1, 1, 2, 4, seed=1)
    fun = partial(
        lax.conv_general_dilated,
        window_strides=(1, 1),
        padding=((0, 1), (0, 1)),
        lhs_dilation=(2, 2),
        dimension_numbers=NHWC,
    )
    with jax.ensure_compile_time_eval():
        ops, run = closed(fun, x, w)
    assert "pad" in ops
    np.testing.assert_allclose(run(x, w)[0], fun(x, w), rtol=1e-5, atol=1e-5)
