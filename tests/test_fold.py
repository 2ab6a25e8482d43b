"""Scaling and shifting of channels disappears into frozen convolution weights."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from api_fakes import is_placed, use_fake
from hypothesis import given, settings
from hypothesis import strategies as st

import collage_jax
from collage_jax.graph.evaluate import evaluate
from collage_jax.graph.fold import fold_channel_affine
from collage_jax.graph.split import split
from collage_jax.graph.trace import trace_function

LAYOUTS = {
    "NHWC": ("NHWC", "HWIO", "NHWC"),
    "NCHW": ("NCHW", "OIHW", "NCHW"),
    "NHWC from NCHW": ("NCHW", "HWIO", "NHWC"),
}
AFFINE = {"add", "sub", "mul", "div", "rsqrt", "sqrt"}


def by_rsqrt(y, m, v, s, b):
    return (y - m) * jax.lax.rsqrt(v + 1e-3) * s + b


def by_division(y, m, v, s, b):
    return s * ((y - m) / jnp.sqrt(v + 1e-3)) + b


def scale_first(y, m, v, s, b):
    return (y - m) * (s * jax.lax.rsqrt(v + 1e-3)) + b


def scale_and_shift(y, m, v, s, b):
    factor = s / jnp.sqrt(v + 1e-3)
    return b - m * factor + factor * y


def without_scale(y, m, v, s, b):
    return b + (y - m) * jax.lax.rsqrt(v + 1e-3)


def with_bias(y, m, v, s, b):
    return by_rsqrt(y + s, m, v, s, b)


def with_scalars(y, m, v, s, b):
    return 0.5 * ((y - m) / 2.0 * s + 1.0) - b


def twice(y, m, v, s, b):
    return by_rsqrt(by_division(y, m, v, s, b), b, v, m, s)


FORMS = [by_rsqrt, by_division, scale_first, scale_and_shift, without_scale, with_bias, with_scalars, twice]


def arrays(layout, channels=(4, 6), batch=2, size=5, groups=1, kernel=3, seed=0):
    rng = np.random.default_rng(seed)
    inside, outside = channels
    image = {"N": batch, "H": size, "W": size, "C": inside * groups}
    weights = {"H": kernel, "W": kernel, "I": inside, "O": outside * groups}
    x = rng.normal(size=[image[d] for d in LAYOUTS[layout][0]])
    w = rng.normal(size=[weights[d] for d in LAYOUTS[layout][1]])
    mean, shift = rng.normal(size=(2, outside * groups))
    variance, scale = rng.uniform(0.5, 2, size=(2, outside * groups))
    return [np.asarray(a, np.float32) for a in (x, w, mean, variance, scale, shift)]


def network(form, layout, groups=1, strides=(1, 1), then=jax.nn.relu):
    def along_channels(p):
        return p.reshape([-1 if d == "C" else 1 for d in LAYOUTS[layout][2]])

    def fun(x, w, m, v, s, b):
        y = jax.lax.conv_general_dilated(
            x, w, strides, "SAME", dimension_numbers=LAYOUTS[layout], feature_group_count=groups
        )
        return then(form(y, *map(along_channels, (m, v, s, b))))

    return fun


def folded(fun, args, frozen=(1, 2, 3, 4, 5)):
    """The graph of ``fun`` with folding, what is left of it for each call, and its results."""
    graph = trace_function(fun, *args)
    values = [graph.inputs[i] for i in frozen]
    after = fold_channel_affine(graph, values)
    return after, split(after, values).each, jax.jit(partial(evaluate, after))(*args)


def after_convolution(graph):
    """Operations that depend on a convolution's result."""
    reached, ops = set(), []
    for node in graph.nodes:
        if any(v in reached for v in node.inputs):
            ops.append(node.op)
        if node.op == "conv_general_dilated" or any(v in reached for v in node.inputs):
            reached.update(node.outputs)
    return ops


def assert_close(got, wanted):
    for g, w in zip(jax.tree.leaves(got), jax.tree.leaves(wanted), strict=True):
        np.testing.assert_allclose(g, w, rtol=1e-5, atol=1e-5 * np.max(np.abs(w), initial=1.0))


@pytest.mark.parametrize(
    ("form", "layout"),
    [(form, list(LAYOUTS)[i % 3]) for i, form in enumerate(FORMS)],
    ids=lambda p: getattr(p, "__name__", p),
)
def test_batch_normalisation_becomes_one_addition(form, layout):
    args = arrays(layout)
    fun = network(form, layout)
    _, each, results = folded(fun, args)
    assert_close(results, jax.jit(fun)(*args))
    assert [op for op in after_convolution(each) if op in AFFINE] == ["add"]


@settings(max_examples=max(6, settings().max_examples // 2))
@given(
    form=st.sampled_from(FORMS),
    layout=st.sampled_from(list(LAYOUTS)),
    groups=st.sampled_from([1, 2]),
    channels=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    batch=st.integers(0, 2),
    size=st.integers(1, 4),
    strides=st.sampled_from([(1, 1), (2, 1)]),
    seed=st.integers(0, 99),
)
def test_folding_changes_no_result(form, layout, groups, channels, batch, size, strides, seed):
    args = arrays(layout, channels, batch, size, groups, seed=seed)
    fun = network(form, layout, groups, strides, then=lambda y: y)
    _, each, results = folded(fun, args)
    assert_close(results, jax.jit(fun)(*args))
    assert not {"mul", "div", "sub"} & set(after_convolution(each))


def test_an_image_as_large_as_its_channels_is_not_mistaken_for_them():
    """Each operand has a length that fits height, width and channels alike."""
    for axis in range(1, 4):
        shape = [1, 1, 1, 1]
        shape[axis] = 6

        def fun(x, w, m, v, s, b, shape=shape):
            y = jax.lax.conv_general_dilated(x, w, (1, 1), "SAME", dimension_numbers=LAYOUTS["NHWC"])
            return (y - m.reshape(shape)) * s.reshape(shape) + b.reshape(shape)

        args = arrays("NHWC", (6, 6), size=6)
        _, each, results = folded(fun, args)
        assert_close(results, jax.jit(fun)(*args))
        assert ("mul" in after_convolution(each)) == (axis != 3)


def test_a_convolution_that_is_used_elsewhere_is_not_folded():
    args = arrays("NHWC")
    plain = network(lambda y, *_: y, "NHWC", then=lambda y: y)
    for fun in (
        lambda *a: (plain(*a), by_rsqrt(plain(*a), *a[2:])),
        lambda *a: by_rsqrt(plain(*a), *a[2:]) + plain(*a),
        lambda *a: (jnp.tanh(plain(*a)), by_division(plain(*a), *a[2:])),
        lambda *a: plain(*a) * plain(*a),
    ):
        after, each, results = folded(fun, args)
        assert_close(results, jax.jit(fun)(*args))
        assert {"mul", "div"} & set(after_convolution(each))
        assert sum(node.op == "conv_general_dilated" for node in after.nodes) == 1


def test_a_value_in_the_middle_that_is_used_elsewhere_ends_the_folding():
    args = arrays("NHWC")

    def fun(x, w, m, v, s, b):
        y = jax.lax.conv_general_dilated(x, w, (1, 1), "SAME", dimension_numbers=LAYOUTS["NHWC"])
        middle = (y - m) * s
        return middle, middle * v + b

    _, each, results = folded(fun, args)
    assert_close(results, jax.jit(fun)(*args))
    assert sorted(op for op in after_convolution(each) if op in AFFINE) == ["add", "add", "mul"]


@pytest.mark.parametrize("frozen", [(), (2, 3, 4, 5), (1,), (0,)], ids=str)
def test_only_what_is_frozen_is_folded(frozen):
    args = arrays("NHWC")
    fun = network(by_rsqrt, "NHWC")
    _, each, results = folded(fun, args, frozen)
    assert_close(results, jax.jit(fun)(*args))
    assert "mul" in after_convolution(each)


def test_folding_stops_at_the_first_factor_that_is_not_frozen():
    args = arrays("NHWC")
    fun = network(by_rsqrt, "NHWC")
    _, each, results = folded(fun, args, (1, 2, 3, 5))  # but not the scale
    assert_close(results, jax.jit(fun)(*args))
    assert [op for op in after_convolution(each) if op in AFFINE] == ["add", "mul", "add"]


def test_a_convolution_in_the_middle_of_others_is_folded_with_them():
    args = arrays("NHWC", (4, 4))

    def fun(x, w, m, v, s, b):
        for _ in range(3):
            x = network(by_rsqrt, "NHWC")(x, w, m, v, s, b) + x
        return x

    _, each, results = folded(fun, args)
    assert_close(results, jax.jit(fun)(*args))
    assert not {"mul", "sub"} & set(after_convolution(each))


@pytest.mark.parametrize(
    "form",
    [
        lambda y, m, v, s, b: m - y * s,
        lambda y, m, v, s, b: s / (y + 30.0),
        lambda y, m, v, s, b: y * y * s + b,
        lambda y, m, v, s, b: (y + y) * s,
        lambda y, m, v, s, b: y + b,
        lambda y, m, v, s, b: jnp.maximum(y, 0) * s + b,
        lambda y, m, v, s, b: (y * s)[:, 1:] + b,
        lambda y, m, v, s, b: (y * jnp.ones((2, 5, 5, 6)) * s)[None] + b,
    ],
    ids=["m - y", "s / y", "y * y", "y + y", "bias alone", "after relu", "sliced", "one axis more"],
)
def test_other_forms_stay_right(form):
    args = arrays("NHWC")
    fun = network(form, "NHWC", then=lambda y: y)
    _, _, results = folded(fun, args)
    assert_close(results, jax.jit(fun)(*args))


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float64"])
def test_other_dtypes_keep_their_rounding(dtype):
    with jax.enable_x64(dtype == "float64"):
        args = [jnp.asarray(a, dtype) for a in arrays("NHWC")]
        fun = network(by_rsqrt, "NHWC")
        after, _, results = folded(fun, args)
        assert "mul" in after_convolution(after)
        assert results[0].dtype == dtype


def test_narrow_weights_of_a_wide_result_stay_narrow():
    def fun(x, w):
        numbers = ("NHWC", "HWIO", "NHWC")
        return 0.3 * jax.lax.conv_general_dilated(
            x, w, (1, 1), "SAME", dimension_numbers=numbers, preferred_element_type=jnp.float32
        )

    args = [jnp.ones(shape, jnp.bfloat16) for shape in ((1, 4, 4, 3), (3, 3, 3, 2))]
    _, _, results = folded(fun, args, frozen=(1,))
    np.testing.assert_array_equal(results[0], jax.jit(fun)(*args))


def test_a_decorated_network_is_folded(monkeypatch):
    use_fake(monkeypatch, packs=True)
    args = arrays("NCHW")
    fun = network(by_division, "NCHW")
    decorated = collage_jax.jit(fun, frozen_argnums=(1, 2, 3, 4, 5))
    for scale in (1, 2):
        args[1] = args[1] * scale
        for _ in range(2):
            assert_close(decorated(*args), jax.jit(fun)(*args))
    assert is_placed(decorated.placement(*args))
    assert not {"div", "mul", "sub"} & {op for region in decorated.placement(*args).regions for op in region.ops}


def test_scales_of_zero_and_of_great_size_are_the_ones_of_the_program():
    x, w, m, v, s, b = arrays("NHWC")
    s[:] = [0.0, 1e-20, 1e20, -1.0, 1e-38, 2.0]
    fun = network(by_rsqrt, "NHWC", then=lambda y: y)
    args = (x, w, m, v, s, b)
    _, _, results = folded(fun, args)
    wanted = jax.jit(fun)(*args)
    for channel in range(6):
        assert_close(results[0][..., channel], wanted[..., channel])
