"""First and second derivatives of convolutions with every attribute they have, placed on all that runs them."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from jax import lax
from placing import placed

from collage_jax.backends.onednn import library
from collage_jax.measure.compare import relative_error

# Some backend is there everywhere; that convolutions leave XLA takes oneDNN.
pytestmark = pytest.mark.skipif(not library.load(), reason="there is no oneDNN here")

LAYOUTS = {"last": ("N{}C", "{}IO", "N{}C"), "first": ("NC{}", "OI{}", "NC{}"), "mixed": ("{}NC", "I{}O", "NC{}")}


def normal(*shape, seed=0):
    return jnp.asarray(np.random.default_rng([seed, *shape]).standard_normal(shape), jnp.float32)


@st.composite
def convolutions(draw):
    """Shapes of source and weights, and the convolution."""
    rank = draw(st.integers(1, 3))
    each = lambda least, most: [draw(st.integers(least, most)) for _ in range(rank)]  # noqa: E731
    kernel, strides, gaps, spread = each(1, 3), each(1, 3), each(1, 2), each(1, 2)
    pads = list(zip(each(0, 2), each(0, 2), strict=True))
    size = [
        draw(st.integers(max(1, -((sum(p) - (k - 1) * g - 1) // s)), 9))
        for p, k, g, s in zip(pads, kernel, gaps, spread, strict=True)
    ]
    groups, of_batch = draw(st.sampled_from([(1, 1), (1, 1), (2, 1), (4, 1), (1, 2), (1, 3)]))
    inputs, outputs = draw(st.sampled_from([(1, 1), (2, 3), (3, 1), (4, 4), (16, 16), (16, 5)]))
    batch = of_batch * draw(st.integers(1, 2))
    lhs, rhs, out = (spec.format("HWD"[:rank]) for spec in LAYOUTS[draw(st.sampled_from(sorted(LAYOUTS)))])
    sizes = dict(zip("HWD", size, strict=False)) | {"N": batch, "C": groups * inputs}
    taps = dict(zip("HWD", kernel, strict=False)) | {"I": inputs, "O": groups * of_batch * outputs}
    conv = partial(
        lax.conv_general_dilated,
        window_strides=strides,
        padding=pads,
        lhs_dilation=spread,
        rhs_dilation=gaps,
        dimension_numbers=(lhs, rhs, out),
        feature_group_count=groups,
        batch_group_count=of_batch,
    )
    return conv, [sizes[axis] for axis in lhs], [taps[axis] for axis in rhs]


def first(conv):
    """Both gradients, of a sum that gives each element of the result another weight."""
    return jax.grad(lambda x, w: jnp.sum(jnp.sin(conv(x, w))), (0, 1))


def second(conv):
    """Both gradients of a number made of both gradients."""
    return jax.grad(lambda x, w: sum(jnp.vdot(g, normal(*g.shape, seed=2)) for g in first(conv)(x, w)), (0, 1))


def arguments(source, weights):
    """Arrays of which a convolution makes numbers around 1: the sine of a large number is one of its last digits."""
    x, w = normal(*source), normal(*weights, seed=1)
    return x, w / np.sqrt(w.size)


@settings(deadline=None)
@given(convolutions(), st.sampled_from([first, second]))
def test_gradients_are_jax_s(drawn, order):
    conv, source, weights = drawn
    x, w = arguments(source, weights)
    assume(jax.eval_shape(conv, x, w).size)
    wanted = jax.jit(order(conv))(x, w)
    got, convs, _ = placed(order(conv), x, w)
    assume(convs)
    for g, right in zip(got, wanted, strict=True):
        assert relative_error(g, right) <= 1e-5


CASES = {
    "plain": ((2, 9, 9, 16), (3, 3, 16, 32), {"padding": "SAME"}),
    "strided": ((2, 9, 9, 16), (3, 3, 16, 32), {"padding": "SAME", "window_strides": (2, 2)}),
    "pointwise": ((2, 9, 9, 16), (1, 1, 16, 32), {"padding": "VALID"}),
    "depthwise": ((2, 9, 9, 16), (3, 3, 1, 16), {"padding": "SAME", "feature_group_count": 16}),
    "grouped": ((2, 9, 9, 16), (3, 3, 4, 16), {"padding": "SAME", "feature_group_count": 4}),
    "transposed": ((2, 5, 5, 16), (3, 3, 16, 16), {"padding": ((1, 2), (1, 2)), "lhs_dilation": (2, 2)}),
}


@pytest.mark.parametrize("order", [first, second])
@pytest.mark.parametrize("case", CASES)
def test_those_of_networks_leave_xla_altogether(case, order):
    source, weights, options = CASES[case]
    options = {"window_strides": (1, 1), "dimension_numbers": ("NHWC", "HWIO", "NHWC"), **options}
    conv = partial(lax.conv_general_dilated, **options)
    x, w = arguments(source, weights)
    wanted = jax.jit(order(conv))(x, w)
    got, convs, left = placed(order(conv), x, w)
    assert convs.total() >= 3
    assert left == 0
    for g, right in zip(got, wanted, strict=True):
        assert relative_error(g, right) <= 1e-5
