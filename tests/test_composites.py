"""Composites: what users write is recognised, what only looks like it is not, and nothing changes in value."""

import time

import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from collage_jax.graph.evaluate import evaluate
from collage_jax.graph.trace import trace_function
from collage_jax.patterns.recognise import recognise

X = jax.ShapeDtypeStruct((2, 8, 16), np.float32)
VECTOR = jax.ShapeDtypeStruct((16,), np.float32)
IMAGE = jax.ShapeDtypeStruct((2, 8, 8, 4), np.float32)
CHANNELS = jax.ShapeDtypeStruct((4,), np.float32)
HEADS = jax.ShapeDtypeStruct((2, 4, 8, 16), np.float32)
SQRT_2_PI = np.sqrt(2 / np.pi)


def arrays(args, seed=0):
    rng = np.random.default_rng(seed)
    return [
        jnp.asarray(rng.random(a.shape) > 0.5 if a.dtype == bool else rng.uniform(-3, 3, a.shape), a.dtype)
        for a in args
    ]


def composites(fun, *args, attention=False):
    """The composites in ``fun``, after checking that the graph still computes it."""
    graph = recognise(trace_function(fun, *args), attention=attention)
    values = arrays(args)
    got, wanted = evaluate(graph, *values), jax.tree.leaves(fun(*values))
    narrow = any(a.dtype == jnp.bfloat16 for a in args)
    for a, b in zip(got, wanted, strict=True):
        assert a.dtype == b.dtype
        tolerance = 5e-2 if narrow else 3e-5
        np.testing.assert_allclose(np.float32(a), np.float32(b), rtol=tolerance, atol=tolerance)
    for node in graph.nodes:
        made = {v for part in node.body for v in part.outputs}
        assert not node.body or all(v in made for v in node.outputs)
    return [node for node in graph.nodes if node.body]


def only(fun, *args, **options):
    found = composites(fun, *args, **options)
    assert len(found) == 1, found
    return found[0]


ACTIVATIONS = {
    "jax relu": (jax.nn.relu, "relu", {}),
    "max(0, x)": (lambda x: jnp.maximum(0, x), "relu", {}),
    "where(x < 0, 0, x)": (lambda x: jnp.where(x < 0, 0.0, x), "relu", {}),
    "jax relu6": (jax.nn.relu6, "relu6", {}),
    "clip 0 6": (lambda x: jnp.clip(x, 0, 6), "relu6", {}),
    "clip": (lambda x: jnp.clip(x, -1.5, 2), "clip", {"min": -1.5, "max": 2.0}),
    "clamp": (lambda x: lax.clamp(-1.0, x, 1.0), "clip", {"min": -1.0, "max": 1.0}),
    "jax leaky_relu": (jax.nn.leaky_relu, "leaky_relu", {"alpha": 0.01}),
    "max(x, ax)": (lambda x: jnp.maximum(0.2 * x, x), "leaky_relu", {"alpha": 0.2}),
    "where(x >= 0, x, ax)": (lambda x: jnp.where(x >= 0, x, x * 3.0), "leaky_relu", {"alpha": 3.0}),
    "jax elu": (jax.nn.elu, "elu", {"alpha": 1.0}),
    "jax elu alpha": (lambda x: jax.nn.elu(x, 0.5), "elu", {"alpha": 0.5}),
    "elu by exp": (lambda x: jnp.where(x > 0, x, jnp.exp(x) - 1), "elu", {"alpha": 1.0}),
    "elu by min": (lambda x: jnp.maximum(x, 0) + 0.5 * jnp.expm1(jnp.minimum(x, 0)), "elu", {"alpha": 0.5}),
    "jax sigmoid": (jax.nn.sigmoid, "sigmoid", {}),
    "1 / (1 + exp(-x))": (lambda x: 1 / (1 + jnp.exp(-x)), "sigmoid", {}),
    "sigmoid by tanh": (lambda x: 0.5 * (jnp.tanh(x / 2) + 1), "sigmoid", {}),
    "jax silu": (jax.nn.silu, "silu", {}),
    "x / (1 + exp(-x))": (lambda x: x / (1 + jnp.exp(-x)), "silu", {}),
    "sigmoid(x) * x": (lambda x: jax.nn.sigmoid(x) * x, "silu", {}),
    "jax hard_sigmoid": (jax.nn.hard_sigmoid, "hard_sigmoid", {}),
    "hard_sigmoid by clip": (lambda x: jnp.clip(x / 6 + 0.5, 0, 1), "hard_sigmoid", {}),
    "jax hard_swish": (jax.nn.hard_swish, "hard_swish", {}),
    "x * relu6(x + 3) / 6": (lambda x: x * jax.nn.relu6(x + 3) / 6, "hard_swish", {}),
    "jax gelu": (jax.nn.gelu, "gelu", {"approximate": True}),
    "jax gelu erf": (lambda x: jax.nn.gelu(x, approximate=False), "gelu", {"approximate": False}),
    "gelu erf": (lambda x: 0.5 * x * (1 + lax.erf(x / jnp.sqrt(2))), "gelu", {"approximate": False}),
    "gelu erf times x": (lambda x: x * (0.5 * (1 + lax.erf(x * 0.70710678))), "gelu", {"approximate": False}),
    "gelu erf / 2": (lambda x: x * (lax.erf(x / np.sqrt(2)) + 1) / 2, "gelu", {"approximate": False}),
    "gelu tanh": (
        lambda x: 0.5 * x * (1 + jnp.tanh(jnp.sqrt(2 / jnp.pi) * (x + 0.044715 * x**3))),
        "gelu",
        {"approximate": True},
    ),
    "gelu tanh x * x * x": (
        lambda x: x * 0.5 * (1 + jnp.tanh(0.7978845608 * (x + 0.044715 * x * x * x))),
        "gelu",
        {"approximate": True},
    ),
    "gelu tanh factored": (
        lambda x: 0.5 * (x * (jnp.tanh(SQRT_2_PI * x * (1 + 0.044715 * x * x)) + 1)),
        "gelu",
        {"approximate": True},
    ),
    "jax softplus": (jax.nn.softplus, "softplus", {}),
    "jax mish": (jax.nn.mish, "mish", {}),
}


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activation_is_recognised_as_users_write_it(name):
    fun, op, params = ACTIVATIONS[name]
    node = only(fun, X)
    assert (node.op, dict(node.params)) == (op, params)
    assert len(node.inputs) == 1
    assert node.inputs[0].shape == X.shape


@pytest.mark.parametrize("name", [n for n in ACTIVATIONS if n.startswith("jax")])
@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_activation_is_recognised_with_constants_rounded_to_narrow_dtypes(name, dtype):
    fun, op, _ = ACTIVATIONS[name]
    assert only(fun, jax.ShapeDtypeStruct((4, 8), dtype)).op == op


NOT_ACTIVATIONS = {
    "relu of a square's twin": (lambda x: jnp.maximum(x, 1e-3), "relu"),
    "where(x > 1, x, 0)": (lambda x: jnp.where(x > 1, x, 0), "relu"),
    "where(x > 0, x, 0), 0 for NaN": (lambda x: jnp.where(x > 0, x, 0), "relu"),
    "where(x >= 0, x, 0), 0 for NaN": (lambda x: jnp.where(x >= 0, x, 0), "relu"),
    "where(x > 0, 0, x)": (lambda x: jnp.where(x > 0, 0.0, x), "relu"),
    "gelu with another cubic term": (
        lambda x: 0.5 * x * (1 + jnp.tanh(SQRT_2_PI * (x + 0.0447 * x**3))),
        "gelu",
    ),
    "gelu without the 1": (lambda x: 0.5 * x * lax.erf(x / np.sqrt(2)), "gelu"),
    "gelu of two values": (lambda x: 0.5 * jnp.sin(x) * (1 + lax.erf(x / np.sqrt(2))), "gelu"),
    "1.702 sigmoid": (lambda x: x * jax.nn.sigmoid(1.702 * x), "gelu"),
    "max(x, 2x)": (lambda x: jnp.maximum(x, 2 * x), "leaky_relu"),
    "max(x, -x)": (lambda x: jnp.maximum(x, -1.0 * x), "leaky_relu"),
    "2 / (1 + exp(-x))": (lambda x: 2 / (1 + jnp.exp(-x)), "sigmoid"),
    "1 / (1 + exp(x))": (lambda x: 1 / (1 + jnp.exp(x)), "sigmoid"),
    "x * sigmoid(y)": (lambda x: jnp.sin(x) * jax.nn.sigmoid(x), "silu"),
    "relu6(x + 2) / 6": (lambda x: jax.nn.relu6(x + 2) / 6, "hard_sigmoid"),
    "clip with bounds crossed": (lambda x: jnp.minimum(jnp.maximum(x, 2), 1), "clip"),
    "expm1 with the wrong sign": (lambda x: jnp.where(x > 0, x, jnp.expm1(-x)), "elu"),
    "log1p(exp(x))": (lambda x: jnp.log1p(jnp.exp(x)), "softplus"),
}


@pytest.mark.parametrize("name", NOT_ACTIVATIONS)
def test_near_miss_is_not_an_activation(name):
    fun, op = NOT_ACTIVATIONS[name]
    assert op not in [node.op for node in composites(fun, X)]


def test_integers_are_not_recognised():
    assert not composites(jax.nn.relu, jax.ShapeDtypeStruct((4,), np.int32))


def test_value_read_outside_keeps_a_composite_from_forming():
    def silu_that_also_returns_the_gate(x):
        gate = jax.nn.sigmoid(x)
        return x * gate, gate

    assert [node.op for node in composites(silu_that_also_returns_the_gate, X)] == ["sigmoid"]


def by_hand(x, axis=-1):
    e = jnp.exp(x - x.max(axis, keepdims=True))
    return e / e.sum(axis, keepdims=True)


@pytest.mark.parametrize("axis", [0, 1, -1])
@pytest.mark.parametrize(
    ("fun", "op"), [(jax.nn.softmax, "softmax"), (jax.nn.log_softmax, "log_softmax"), (by_hand, "softmax")]
)
def test_softmax_is_recognised_along_any_axis(fun, op, axis):
    node = only(lambda x: fun(x, axis=axis), X)
    assert (node.op, node.params) == (op, {"axis": axis % 3})


@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16])
@pytest.mark.parametrize(("fun", "op"), [(jax.nn.softmax, "softmax"), (jax.nn.log_softmax, "log_softmax")])
def test_softmax_is_recognised_in_narrow_numbers(fun, op, dtype):
    """JAX sums them in single precision."""
    assert only(fun, jax.ShapeDtypeStruct(X.shape, dtype)).op == op


def test_a_conversion_before_a_softmax_is_no_part_of_it():
    def widened(x):
        return jax.nn.softmax(x.astype(jnp.float32))

    node = only(widened, jax.ShapeDtypeStruct(X.shape, jnp.bfloat16))
    assert node.op == "softmax" and node.inputs[0].dtype == jnp.float32


def test_softmax_is_recognised_in_a_square_matrix_only_along_the_right_axis():
    def askew(x):
        e = jnp.exp(x - x.max(1, keepdims=True))
        return e / e.sum(1)

    square = jax.ShapeDtypeStruct((8, 8), np.float32)
    assert only(by_hand, square).params == {"axis": 1}
    assert not composites(askew, square)


@pytest.mark.parametrize(
    "fun",
    [
        lambda x: jnp.exp(x) / jnp.exp(x).sum(-1, keepdims=True),
        lambda x: jnp.exp(x - x.max(0, keepdims=True)) / jnp.exp(x - x.max(0, keepdims=True)).sum(-1, keepdims=True),
        lambda x: jax.nn.softmax(x, axis=(1, 2)),
        lambda x: jax.nn.softmax(x, where=x > 0),
    ],
)
def test_near_miss_is_not_softmax(fun):
    assert "softmax" not in [node.op for node in composites(fun, X)]


def jnp_form(x, scale, shift):
    return (x - x.mean(-1, keepdims=True)) / jnp.sqrt(x.var(-1, keepdims=True) + 1e-5) * scale + shift


def rsqrt_form(x, scale, shift):
    mean = jnp.mean(x, -1, keepdims=True)
    return (x - mean) * lax.rsqrt(jnp.mean(jnp.square(x - mean), -1, keepdims=True) + 1e-5) * scale + shift


def flax_form(x, scale, shift):
    mean, mean_of_squares = x.mean(-1), lax.square(x).mean(-1)
    variance = jnp.maximum(0.0, mean_of_squares - lax.square(mean))
    factor = lax.rsqrt(jnp.expand_dims(variance, -1) + 1e-5) * scale.reshape(1, 1, -1)
    return (x - jnp.expand_dims(mean, -1)) * factor + shift.reshape(1, 1, -1)


def power_form(x, scale, shift):
    centred = x - jnp.sum(x, -1, keepdims=True) * (1 / 16)
    return shift + scale * (centred / (jnp.mean(centred**2, -1, keepdims=True) + 1e-5) ** 0.5)


@pytest.mark.parametrize("fun", [jnp_form, rsqrt_form, flax_form, power_form])
def test_layer_norm_is_recognised_as_users_write_it(fun):
    node = only(fun, X, VECTOR, VECTOR)
    assert node.op == "layer_norm"
    assert node.params == {
        "axis": 2,
        "epsilon": 1e-5,
        "unbiased": False,
        "epsilon_outside": False,
        "scale": True,
        "shift": True,
    }
    assert [v.shape for v in node.inputs] == [(2, 8, 16), (16,), (16,)]


def bert_form(x, scale, shift):
    centred = x - x.mean(-1, keepdims=True)
    deviation = jnp.sqrt(jnp.sum(centred**2, -1, keepdims=True) / (x.shape[-1] - 1))
    return scale * centred / (deviation + 1e-6) + shift


def std_form(x, scale, shift):
    return scale * (x - x.mean(-1, keepdims=True)) / (x.std(-1, keepdims=True, ddof=1) + 1e-6) + shift


@pytest.mark.parametrize("fun", [bert_form, std_form])
def test_layer_norm_with_unbiased_deviation_is_told_apart(fun):
    params = only(fun, X, VECTOR, VECTOR).params
    assert params["unbiased"]
    assert params["epsilon_outside"]
    assert params["epsilon"] == 1e-6


def test_layer_norm_scale_and_shift_are_optional():
    plain = only(lambda x: jax.nn.standardize(x, axis=-1), X)
    assert (plain.op, plain.params["scale"], plain.params["shift"]) == ("layer_norm", False, False)
    scaled = only(lambda x, s: jax.nn.standardize(x, axis=-1) * s, X, VECTOR)
    assert (scaled.params["scale"], scaled.params["shift"]) == (True, False)
    shifted = only(lambda x, b: jax.nn.standardize(x, axis=-1) + b, X, VECTOR)
    assert (shifted.params["scale"], shifted.params["shift"]) == (False, True)


@pytest.mark.parametrize("fun", [jnp_form, rsqrt_form])
def test_layer_norm_takes_in_the_casts_of_narrow_dtypes(fun):
    wide = jax.ShapeDtypeStruct((4, 16), jnp.bfloat16)
    vector = jax.ShapeDtypeStruct((16,), jnp.bfloat16)
    graph = recognise(trace_function(fun, wide, vector, vector))
    assert [node.op for node in graph.nodes] == ["layer_norm"]


def test_layer_norm_leaves_a_residual_outside():
    found = composites(lambda x, s: jax.nn.standardize(x, axis=-1) * s + x, X, VECTOR)
    assert [node.op for node in found] == ["layer_norm"]
    assert not found[0].params["shift"]


NOT_LAYER_NORM = {
    "two axes": lambda x: jax.nn.standardize(x, axis=(-2, -1)),
    "mean and variance along different axes": lambda x: (
        (x - x.mean(1, keepdims=True)) / jnp.sqrt(x.var(2, keepdims=True) + 1e-5)
    ),
    "divided by another number": lambda x: (
        (x - x.sum(-1, keepdims=True) / 15) / jnp.sqrt(x.var(-1, keepdims=True) + 1e-5)
    ),
    "n - 2": lambda x: (x - x.mean(-1, keepdims=True)) / jnp.sqrt(x.var(-1, keepdims=True, ddof=2) + 1e-5),
    "sum instead of difference": lambda x: (x + x.mean(-1, keepdims=True)) / jnp.sqrt(x.var(-1, keepdims=True) + 1e-5),
    "variance of something else": lambda x: (
        (x - x.mean(-1, keepdims=True)) / jnp.sqrt(jnp.sin(x).var(-1, keepdims=True) + 1e-5)
    ),
}


@pytest.mark.parametrize("name", NOT_LAYER_NORM)
def test_near_miss_is_not_layer_norm(name):
    assert not {"layer_norm", "rms_norm"} & {node.op for node in composites(NOT_LAYER_NORM[name], X)}


def test_layer_norm_scale_along_another_axis_stays_outside():
    cube = jax.ShapeDtypeStruct((16, 16), np.float32)
    found = composites(lambda x, s: jax.nn.standardize(x, axis=-1) * s[:, None], cube, VECTOR)
    assert [node.op for node in found] == ["layer_norm"]
    assert not found[0].params["scale"]


@pytest.mark.parametrize(
    "fun",
    [
        lambda x, s: x * lax.rsqrt(jnp.mean(x * x, -1, keepdims=True) + 1e-6) * s,
        lambda x, s: s * (x / jnp.sqrt(jnp.mean(jnp.square(x), -1, keepdims=True) + 1e-6)),
        lambda x, s: x * (lax.rsqrt((x**2).mean(-1, keepdims=True) + 1e-6) * s),
    ],
)
@pytest.mark.parametrize("dtype", [np.float32, jnp.bfloat16])
def test_rms_norm_is_recognised_as_users_write_it(fun, dtype):
    node = only(fun, jax.ShapeDtypeStruct(X.shape, dtype), jax.ShapeDtypeStruct((16,), dtype))
    assert node.op == "rms_norm"
    assert node.params["axis"] == 2
    assert node.params["scale"]
    assert node.inputs[0].dtype == dtype
    assert node.outputs[0].dtype == dtype


def test_rms_norm_computed_in_single_precision_is_one_composite():
    def llama(x, scale):
        wide = x.astype(np.float32)
        wide = wide * lax.rsqrt(jnp.square(wide).mean(-1, keepdims=True) + 1e-6)
        return scale * wide.astype(x.dtype)

    node = only(llama, jax.ShapeDtypeStruct(X.shape, jnp.bfloat16), jax.ShapeDtypeStruct((16,), jnp.bfloat16))
    assert node.op == "rms_norm"
    assert node.inputs[0].dtype == jnp.bfloat16


BATCH_NORMS = {
    "usual": lambda x, m, v, s, b: (x - m) * lax.rsqrt(jnp.abs(v) + 1e-5) * s + b,
    "flax": lambda x, m, v, s, b: (x - m) * (lax.rsqrt(jnp.abs(v) + 1e-5) * s) + b,
    "sqrt": lambda x, m, v, s, b: s * (x - m) / jnp.sqrt(jnp.abs(v) + 1e-5) + b,
    "flax, reshaped first": lambda x, m, v, s, b: (
        (x - m.reshape(1, 1, 1, -1)) * (lax.rsqrt(jnp.abs(v).reshape(1, 1, 1, -1) + 1e-5) * s.reshape(1, 1, 1, -1))
        + b.reshape(1, 1, 1, -1)
    ),
    "unfolded": lambda x, m, v, s, b: (
        x * (s / jnp.sqrt(jnp.abs(v) + 1e-5)) + (b - m * (s / jnp.sqrt(jnp.abs(v) + 1e-5)))
    ),
}


@pytest.mark.parametrize("name", BATCH_NORMS)
def test_batch_norm_is_recognised_as_users_write_it(name):
    node = only(BATCH_NORMS[name], IMAGE, *[CHANNELS] * 4)
    assert node.op == "batch_norm"
    assert node.params == {"axis": 3, "epsilon": 1e-5, "scale": True, "shift": True}
    assert [v.shape for v in node.inputs] == [IMAGE.shape] + [(4,)] * 4


def test_batch_norm_is_recognised_with_channels_second_and_without_scale_and_shift():
    def fun(x, mean, variance):
        return (x - mean[:, None, None]) * lax.rsqrt(jnp.abs(variance) + 1e-3)[:, None, None]

    image = jax.ShapeDtypeStruct((2, 4, 8, 8), np.float32)
    node = only(fun, image, CHANNELS, CHANNELS)
    assert node.params == {"axis": 1, "epsilon": 1e-3, "scale": False, "shift": False}


def test_batch_norm_needs_all_vectors_along_one_axis():
    def askew(x, mean, variance):
        return (x - mean) * lax.rsqrt(jnp.abs(variance) + 1e-3)[:, None]

    assert not composites(askew, jax.ShapeDtypeStruct((4, 4, 4), np.float32), CHANNELS, CHANNELS)


def test_a_batch_of_one_that_shifts_itself_is_normalised_without_shift():
    def fun(x, mean, variance):
        return x + (x - mean) / jnp.sqrt(jnp.abs(variance) + 1e-3)

    row = jax.ShapeDtypeStruct((1, 4), np.float32)
    (node,) = composites(fun, row, CHANNELS, CHANNELS)
    assert node.params == {"axis": 1, "epsilon": 1e-3, "scale": False, "shift": False}
    assert node.inputs.count(node.inputs[0]) == 1


def window(x, size=(1, 3, 3, 1), strides=(1, 2, 2, 1), padding=((0, 0), (1, 1), (1, 1), (0, 0)), **options):
    return lax.reduce_window(x, np.array(0, x.dtype), lax.add, size, strides, padding, **options)


WINDOW = {
    "window_dimensions": (1, 3, 3, 1),
    "window_strides": (1, 2, 2, 1),
    "padding": ((0, 0), (1, 1), (1, 1), (0, 0)),
}


@pytest.mark.parametrize(
    ("fun", "count_include_pad"),
    [
        (lambda x: window(x) / 9, True),
        (lambda x: window(x) * (1 / 9), True),
        (lambda x: window(x) / window(jnp.ones((1, 8, 8, 1))), False),
        (lambda x: window(x) / window(jnp.ones_like(x)), False),
    ],
)
def test_average_pooling_is_recognised(fun, count_include_pad):
    node = only(fun, IMAGE)
    assert (node.op, node.params) == ("avg_pool", {**WINDOW, "count_include_pad": count_include_pad})


@pytest.mark.parametrize(
    "fun",
    [
        lambda x: window(x) / 8,
        lambda x: window(x) / window(2 * jnp.ones_like(x)),
        lambda x: window(x) / window(jnp.ones_like(x), padding=((0, 0), (0, 2), (0, 2), (0, 0))),
        lambda x: window(x, window_dilation=(1, 2, 2, 1)) / 9,
        lambda x: window(x) / jnp.sin(x)[:, ::2, ::2],
    ],
)
def test_near_miss_is_not_average_pooling(fun):
    assert "avg_pool" not in [node.op for node in composites(fun, IMAGE)]


def test_max_pooling_is_recognised():
    def fun(x, **options):
        return lax.reduce_window(x, -np.inf, lax.max, *WINDOW.values(), **options)

    assert only(fun, IMAGE).params == {**WINDOW, "window_dilation": (1, 1, 1, 1)}
    dilated = only(lambda x: fun(x, window_dilation=(1, 2, 2, 1)), IMAGE)
    assert dilated.op == "max_pool"
    assert dilated.params["window_dilation"] == (1, 2, 2, 1)


@pytest.mark.parametrize("keepdims", [False, True])
@pytest.mark.parametrize(("axes", "dtype"), [((1, 2), np.float32), ((0,), np.float32), ((1, 2), jnp.bfloat16)])
def test_mean_is_recognised_over_any_axes(axes, keepdims, dtype):
    node = only(lambda x: x.mean(axes, keepdims=keepdims), jax.ShapeDtypeStruct(IMAGE.shape, dtype))
    assert (node.op, node.params) == ("mean", {"axes": axes, "keepdims": keepdims})
    assert node.inputs[0].dtype == dtype


def test_sum_over_another_number_is_not_a_mean():
    assert not composites(lambda x: x.sum((1, 2)) / 63, IMAGE)


@pytest.mark.parametrize("keepdims", [False, True])
def test_global_max_pooling_is_recognised_over_spatial_dimensions_only(keepdims):
    node = only(lambda x: x.max((1, 2), keepdims=keepdims), IMAGE)
    assert (node.op, node.params) == ("global_max_pool", {"axes": (1, 2), "keepdims": keepdims})
    assert not composites(lambda x: x.max((0, 1), keepdims=keepdims), IMAGE)


def broadcast_form(x):
    b, h, w, c = x.shape
    return jnp.broadcast_to(x[:, :, None, :, None, :], (b, h, 2, w, 2, c)).reshape(b, 2 * h, 2 * w, c)


UPSAMPLINGS = {
    "broadcast": (broadcast_form, (1, 2, 2, 1)),
    "repeat": (lambda x: jnp.repeat(x, 3, axis=1), (1, 3, 1, 1)),
    "repeat twice": (lambda x: jnp.repeat(jnp.repeat(x, 2, axis=1), 2, axis=2), (1, 2, 2, 1)),
    "resize": (lambda x: jax.image.resize(x, (2, 16, 24, 4), "nearest"), (1, 2, 3, 1)),
}


@pytest.mark.parametrize("name", UPSAMPLINGS)
def test_nearest_upsampling_is_recognised(name):
    fun, factors = UPSAMPLINGS[name]
    node = only(fun, IMAGE)
    assert (node.op, node.params) == ("upsample_nearest", {"factors": factors})


@pytest.mark.parametrize(
    "fun",
    [
        lambda x: jnp.tile(x, (1, 2, 2, 1)),
        lambda x: jnp.broadcast_to(x[:, None], (2, 3, 8, 8, 4)).reshape(6, 8, 8, 4)[:, :4],
        lambda x: jax.image.resize(x, (2, 12, 8, 4), "nearest"),
        lambda x: jax.image.resize(x, (2, 4, 4, 4), "nearest"),
        lambda x: x.reshape(2, 64, 4),
    ],
)
def test_near_miss_is_not_upsampling(fun):
    found = composites(fun, IMAGE)
    assert all(node.params["factors"][1:] == (1, 1, 1) for node in found)


def attend(q, k, v, bias=None, mask=None):
    scores = jnp.einsum("bhqd,bhkd->bhqk", q, k) / np.sqrt(q.shape[-1])
    if bias is not None:
        scores = scores + bias
    if mask is not None:
        scores = jnp.where(mask, scores, -1e9)
    return jnp.einsum("bhqk,bhkd->bhqd", jax.nn.softmax(scores), v)


def test_attention_is_one_composite_only_when_asked_for():
    assert [node.op for node in composites(attend, *[HEADS] * 3)] == ["softmax"]
    node = only(attend, *[HEADS] * 3, attention=True)
    assert (node.op, node.params["scale"], node.params["mask"]) == ("attention", 0.25, "none")
    assert (node.params["q_operand"], node.params["v_operand"], node.params["axis"]) == (0, 1, 3)


def test_attention_is_one_composite_in_narrow_numbers():
    def mixed(q, k, v):
        scores = jnp.einsum("bhqd,bhkd->bhqk", q, k).astype(jnp.float32) * 0.25
        return jnp.einsum("bhqk,bhkd->bhqd", jax.nn.softmax(scores).astype(q.dtype), v)

    def all_narrow(q, k, v):
        return jnp.einsum("bhqk,bhkd->bhqd", jax.nn.softmax(jnp.einsum("bhqd,bhkd->bhqk", q, k) * 0.25), v)

    narrow = [jax.ShapeDtypeStruct(HEADS.shape, jnp.bfloat16)] * 3
    for fun in (mixed, all_narrow):
        assert [node.op for node in composites(fun, *narrow, attention=True)] == ["attention"]


def test_attention_takes_bias_and_mask():
    bias, mask = jax.ShapeDtypeStruct((4, 8, 8), np.float32), jax.ShapeDtypeStruct((2, 1, 8, 8), bool)
    with_bias = only(lambda q, k, v, b: attend(q, k, v, bias=b), *[HEADS] * 3, bias, attention=True)
    assert with_bias.params["mask"] == "bias"
    assert with_bias.params["mask_dims"] == (1, 2, 3)
    with_mask = only(lambda q, k, v, m: attend(q, k, v, mask=m), *[HEADS] * 3, mask, attention=True)
    assert with_mask.params["mask"] == "keep"
    assert with_mask.params["fill"] == -1e9


def test_attention_roles_are_read_from_the_products():
    def keys_first(q, k, v):
        return jnp.einsum("bkhd,bhkq->bhqd", v, jax.nn.softmax(jnp.einsum("bhkd,bhqd->bhkq", k, q), axis=2))

    v = jax.ShapeDtypeStruct((2, 8, 4, 16), np.float32)
    graph = recognise(trace_function(keys_first, HEADS, HEADS, v), attention=True)
    (node,) = (n for n in graph.nodes if n.op == "attention")
    assert node.inputs[:2] == graph.inputs[:2]
    assert node.params["q_operand"] == 1


def test_scores_that_are_returned_too_are_no_attention():
    def fun(q, k, v):
        weights = jax.nn.softmax(q @ k.swapaxes(-1, -2))
        return weights @ v, weights

    assert [node.op for node in composites(fun, *[HEADS] * 3, attention=True)] == ["softmax"]


@hypothesis.settings(deadline=None, max_examples=5)
@hypothesis.given(shape=st.lists(st.integers(1, 4), min_size=1, max_size=4), data=st.data())
def test_any_shape_and_axis_keep_their_meaning(shape, data):
    axis = data.draw(st.integers(0, len(shape) - 1))
    x = jax.ShapeDtypeStruct(tuple(shape), np.float32)

    def fun(x):
        upsampled = jnp.repeat(jax.nn.standardize(x, axis=axis), 2, axis=axis)
        return jax.nn.softmax(upsampled, axis=axis), x.mean(axis), jax.nn.gelu(x)

    assert {"softmax", "gelu"} <= {node.op for node in composites(fun, x)}


def test_recognition_is_repeatable_and_idempotent():
    graph = trace_function(jnp_form, X, VECTOR, VECTOR)
    once, again = recognise(graph), recognise(graph)
    assert [n.op for n in once.nodes] == [n.op for n in again.nodes] == [n.op for n in recognise(once).nodes]


def test_a_thousand_nodes_are_recognised_in_half_a_second():
    def deep(x, scale, shift):
        for _ in range(40):
            x = x + jax.nn.gelu(jnp_form(jax.nn.softmax(x), scale, shift))
        return x

    graph = trace_function(deep, X, VECTOR, VECTOR)
    assert len(graph.nodes) > 1000
    recognise(trace_function(jax.nn.relu, X))
    start = time.process_time()
    assert [n.op for n in recognise(graph).nodes] == ["softmax", "layer_norm", "gelu", "add"] * 40
    assert time.process_time() - start < 2.0  # half a second when the machine is quiet


def test_poolings_that_share_the_count_of_their_windows_are_all_recognised():
    def fun(x, y):
        count = window(jnp.ones((1, 8, 8, 1)))
        return window(x) / count + window(y) / count, count

    assert [node.op for node in composites(fun, IMAGE, IMAGE)] == ["avg_pool"] * 2


def test_resizes_that_share_their_indices_are_all_recognised():
    def fun(x, y):
        return [jax.image.resize(z, (2, 16, 16, 4), "nearest") for z in (x, y)]

    graph = recognise(trace_function(fun, IMAGE, IMAGE))
    assert [node.op for node in graph.nodes if node.op != "copy"] == ["upsample_nearest"] * 2


def test_control_flow_stays_as_it_is():
    def fun(x):
        return lax.scan(lambda carry, y: (carry + jax.nn.relu(y), jax.nn.silu(y)), x[0], jax.nn.relu(x))

    assert [node.op for node in composites(fun, X)] == ["relu"]


# --- gradients --------------------------------------------------------------------------------------------------------


def gelu_by_hand(x):
    return 0.5 * x * (1 + jnp.tanh(SQRT_2_PI.astype(x.dtype) * (x + 0.044715 * x * x * x)))


def gelu_factored(x):
    return x * (0.5 * (1.0 + jnp.tanh(0.7978845608 * x * (1.0 + 0.044715 * x * x))))


GELUS = {"jax": lambda x: jax.nn.gelu(x, approximate=True), "by hand": gelu_by_hand, "factored": gelu_factored}


def step(gelu, layers=1):
    def loss(w, x):
        for _ in range(layers):
            x = gelu(x @ w)
        return jnp.sum(x * x)

    return jax.value_and_grad(loss)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
@pytest.mark.parametrize("gelu", GELUS.values(), ids=GELUS)
def test_the_gradient_of_a_gelu_is_one_operation_and_so_is_the_gelu(gelu, dtype):
    w, x = jax.ShapeDtypeStruct((8, 8), dtype), jax.ShapeDtypeStruct((5, 8), dtype)
    graph = recognise(trace_function(step(gelu, layers=2), w, x))
    found = [node for node in graph.nodes if node.op in ("gelu", "gelu_gradient")]
    assert [node.op for node in found] == ["gelu", "gelu", "gelu_gradient", "gelu_gradient"]
    assert [node.inputs[0] for node in found[2:]] == [node.inputs[0] for node in found[1::-1]]
    assert not any(node.op in ("tanh", "integer_pow") for node in graph.nodes)
    made = [v for node in graph.nodes for part in node.primitives for v in part.outputs]
    assert len(made) == len(set(made))
    values = arrays([w, x])
    got, wanted = evaluate(graph, *values), jax.tree.leaves(jax.jit(step(gelu, layers=2))(*values))
    for a, b in zip(got, wanted, strict=True):
        np.testing.assert_allclose(
            np.float32(a), np.float32(b), rtol=5e-2 if dtype == jnp.bfloat16 else 1e-5, atol=1e-4
        )


@pytest.mark.parametrize(
    "fun",
    [
        step(lambda x: jax.nn.gelu(x, approximate=False)),
        step(jnp.tanh),
        step(lambda x: 0.5 * x * (1 + jnp.tanh(0.79 * (x + 0.044715 * x**3)))),
        lambda w, x: jax.jvp(lambda w: jax.nn.gelu(x @ w), (w,), (w,)),  # the same slope, in other operations
    ],
)
def test_what_is_no_gradient_of_a_gelu_by_tanh(fun):
    w, x = jax.ShapeDtypeStruct((8, 8), np.float32), jax.ShapeDtypeStruct((5, 8), np.float32)
    graph = recognise(trace_function(fun, w, x))
    values = arrays([w, x])
    for a, b in zip(evaluate(graph, *values), jax.tree.leaves(fun(*values)), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)
    assert "gelu_gradient" not in {node.op for node in graph.nodes}


def test_a_gradient_of_a_gelu_that_is_added_to_another():
    fun = jax.value_and_grad(lambda w, x: jnp.sum(jax.nn.gelu(x @ w) + x @ w))
    w, x = jax.ShapeDtypeStruct((8, 8), np.float32), jax.ShapeDtypeStruct((5, 8), np.float32)
    graph = recognise(trace_function(fun, w, x))
    assert [node.op for node in graph.nodes].count("gelu_gradient") == 1
    values = arrays([w, x])
    for a, b in zip(evaluate(graph, *values), jax.tree.leaves(fun(*values)), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)


def test_a_norm_is_not_shifted_by_what_it_makes_itself():
    def fun(x):
        centred = x - jnp.mean(x, axis=-1, keepdims=True)
        return centred * lax.rsqrt(jnp.mean(centred * centred, axis=-1, keepdims=True) + 1e-5) + centred

    assert "layer_norm" not in [node.op for node in composites(fun, X)]


@pytest.mark.parametrize("narrow", ["float8_e4m3fn", "float8_e5m2", "int4"])
def test_conversions_from_numbers_that_jax_promotes_to_nothing_are_no_obstacle(narrow):
    narrow_values = jax.ShapeDtypeStruct((4, 8), narrow)
    found = only(lambda x: jax.nn.silu(x.astype(jnp.bfloat16)), narrow_values)
    assert found.op == "silu"
