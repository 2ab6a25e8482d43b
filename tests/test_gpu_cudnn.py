"""cuDNN for GPUs that are not here: what graphs mean, what cuDNN itself says of them, what XLA compiles.

No kernel runs. Graphs are interpreted (``cudnn_graphs``); supports and plans are cuDNN's own answers for a GPU that is
described to it.
"""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path

import cudnn_graphs
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from batch_norms import flax_batch_norm
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import collage_jax
from collage_jax import problem, target
from collage_jax.backends import cudnn
from collage_jax.backends.base import Unsupported
from collage_jax.backends.cudnn.shipped import written
from collage_jax.backends.cudnn.tensors import strides_of
from collage_jax.candidates import refusal
from collage_jax.gpu.device import known
from collage_jax.gpu.xla_target import sharding_on
from collage_jax.graph.evaluate import callable_of
from collage_jax.graph.region import Region
from collage_jax.problem import problem_of

_loaded = cudnn.library.load()
needs_cudnn = pytest.mark.skipif(
    isinstance(_loaded, Unsupported), reason=_loaded.reason if isinstance(_loaded, Unsupported) else ""
)


needs_compiler = pytest.mark.xla_gpu

A100 = known("sm_80")


def regions_of(fun, *args):
    """All regions that the backend would like of ``fun``."""
    with target.aiming_at(A100):
        graph = problem_of(jax.make_jaxpr(fun)(*args), ()).split.each
    proposals = list(cudnn.BACKEND.propose(graph))
    return [Region.of(graph, p.nodes) for p in proposals if p.refused is None]


def random(shape, dtype=np.float32, seed=0):
    normal = np.random.default_rng([seed, *shape]).standard_normal(shape)
    return normal > -0.5 if np.dtype(dtype) == np.bool_ else normal.astype(dtype)


def meaning(work, region, arrays):
    """What the graphs of ``work`` for ``region`` give by their own JSON, one array for each exit."""
    env = dict(zip(region.entries, arrays, strict=True))
    operands = [np.asarray(o.make(*(env[v] for v in o.values)) if o.make else env[o.values[0]]) for o in work.operands]
    for operand, array in zip(work.operands, operands, strict=True):
        assert array.size == math.prod(operand.tensor.dims)
    spec, texts = json.loads(work.spec()), _loaded.describe(work.spec(), A100.cudnn_properties(), A100.sm)
    memory = cudnn_graphs.interpreted(texts, dict(zip(spec["operands"], operands, strict=True)))
    made = {}
    for output, uid in zip(work.outputs, spec["results"], strict=True):
        array = memory[uid].reshape(output.stored)
        made[output.value] = output.finish(array) if output.finish else array
    return [made[value] for value in region.exits]


def check(fun, *args, tolerance=2e-5, drawn=random):
    """Every region means what it is, in all its forms; returns their labels."""
    regions = regions_of(fun, *args)
    for region in regions:
        arrays = [drawn(v.shape, v.dtype, i) for i, v in enumerate(region.entries)]
        wanted = callable_of(region.nodes, region.entries, region.exits)(*arrays)
        for form in written(cudnn.BACKEND.read(region)):
            for made, want in zip(meaning(form, region, arrays), wanted, strict=True):
                atol = tolerance * float(np.abs(want).max() or 1)
                np.testing.assert_allclose(made, np.asarray(want, np.float64), rtol=5 * tolerance, atol=atol)
    return {cudnn.BACKEND.read(region).label for region in regions}


@st.composite
def convolutions(draw):
    """A convolution of any attributes with its arguments."""
    spatial = draw(st.integers(1, 3))
    each = lambda lo, hi: tuple(draw(st.integers(lo, hi)) for _ in range(spatial))  # noqa: E731
    groups = draw(st.sampled_from([1, 1, 2, 3]))
    x_features, out_features = groups * draw(st.integers(1, 3)), groups * draw(st.integers(1, 3))
    kernel, sizes = each(1, 3), each(3, 6)
    names = "DHW"[-spatial:]
    layouts = draw(
        st.sampled_from([(f"N{names}C", f"{names}IO"), (f"NC{names}", f"OI{names}"), (f"N{names}C", f"O{names}I")])
    )
    attributes = {
        "window_strides": each(1, 2),
        "padding": [(draw(st.integers(0, 2)), draw(st.integers(0, 2))) for _ in range(spatial)],
        "rhs_dilation": each(1, 2),
        "feature_group_count": groups,
        "dimension_numbers": (layouts[0], layouts[1], draw(st.sampled_from([layouts[0], layouts[0], f"NC{names}"]))),
    }
    where = {"N": draw(st.integers(1, 2)), "C": x_features, "I": x_features // groups, "O": out_features}
    x = random([where.get(a) or sizes[names.index(a)] for a in layouts[0]])
    w = random([where.get(a) or kernel[names.index(a)] for a in layouts[1]])

    def conv(x, w):
        return jax.lax.conv_general_dilated(x, w, **attributes)

    assume(0 not in jax.eval_shape(conv, x, w).shape)
    return conv, x, w


@needs_cudnn
@settings(deadline=None)
@given(convolutions())
def test_convolutions_and_their_gradients_mean_what_jax_means(drawn):
    conv, x, w = drawn
    assert "conv" in check(conv, x, w)
    y = jax.eval_shape(conv, x, w)
    check(lambda x, w, dy: jax.vjp(conv, x, w)[1](dy), x, w, jnp.ones(y.shape))


@needs_cudnn
@settings(deadline=None)
@given(convolutions(), st.integers(1, 3))
def test_transposed_convolutions(drawn, factor):
    conv, x, w = drawn
    y = jax.eval_shape(conv, x, w)
    # The gradient by the source is a transposed convolution.
    check(lambda w, dy: jax.linear_transpose(lambda x: conv(x, w), x)(dy)[0], w, jnp.ones(y.shape))


def nhwc(x, w, **attributes):
    return jax.lax.conv_general_dilated(x, w, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"), **attributes)


X, W, B = random((2, 5, 4, 6)), random((3, 3, 6, 8)), random((8,))
R = random((2, 5, 4, 8))
TAILS = {
    "conv+bias": lambda y, b, r: y + b,
    "conv+bias+relu": lambda y, b, r: jax.nn.relu(y + b),
    "conv+relu": lambda y, b, r: jax.nn.relu(y),
    "conv+sum+relu": lambda y, b, r: jax.nn.relu(r + y),
    "conv+bias+sum+relu": lambda y, b, r: jax.nn.relu(y + b + r),
    "conv+sum+bias": lambda y, b, r: r + y + b,
    "conv+mul+bias": lambda y, b, r: b + y * 0.25,
    "conv+bias+relu6": lambda y, b, r: jax.nn.relu6(y + b),
    "conv+clip": lambda y, b, r: jnp.clip(y, -0.5, 0.75),
    "conv+bias+leaky_relu": lambda y, b, r: jax.nn.leaky_relu(y + b, 0.2),
    "conv+elu": lambda y, b, r: jax.nn.elu(y),
    "conv+bias+gelu": lambda y, b, r: jax.nn.gelu(y + b),
    "conv+sigmoid": lambda y, b, r: jax.nn.sigmoid(y),
    "conv+bias+silu": lambda y, b, r: jax.nn.silu(y + b),
    "conv+tanh": lambda y, b, r: jnp.tanh(y),
    "conv+sub": lambda y, b, r: r - y,
    "conv+div": lambda y, b, r: y / 3.0,
    "conv+mul": lambda y, b, r: y * b,
    "conv+neg": lambda y, b, r: -y,
}


@needs_cudnn
@pytest.mark.parametrize("label", TAILS)
def test_what_follows_is_in_the_same_graph(label):
    labels = check(lambda x, w, b, r: TAILS[label](nhwc(x, w), b, r), X, W, B, R)
    assert any(set(label.split("+")) <= set(found.split("+")) for found in labels), labels


@needs_cudnn
@pytest.mark.parametrize("strides", [(1, 1), (2, 1)])
def test_a_gate_is_in_the_graph_of_the_gradient_by_the_source(strides):
    def conv(x, w):
        return jax.lax.conv_general_dilated(x, w, strides, "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))

    def loss(x, w, v):
        y = jax.nn.relu(nhwc(x, w))
        return (conv(y, v) ** 2).sum() + (y**3).sum()

    labels = check(jax.grad(loss), X, W, random((3, 3, 8, 5)))
    assert {"deconv", "deconv+sum", "deconv+sum+gate"} <= labels, labels


@needs_cudnn
def test_infinity_is_no_number_of_a_graph():
    assert check(lambda x, w: nhwc(x, w) * jnp.inf, X, W) == {"conv"}


@needs_cudnn
def test_a_bias_of_channels_that_come_second():
    def layer(x, w, b):
        y = jax.lax.conv_general_dilated(x, w, (1, 1), "SAME", dimension_numbers=("NCHW", "OIHW", "NCHW"))
        return jax.nn.relu(y + b[None, :, None, None])

    labels = check(layer, random((2, 6, 5, 4)), random((8, 6, 3, 3)), B)
    assert "conv+bias+relu" in labels


@needs_cudnn
@pytest.mark.parametrize("unbiased", [False, True])
@pytest.mark.parametrize("affine", ["both", "scale", "none"])
def test_layer_norm(affine, unbiased):
    def norm(x, scale, shift):
        y = (x - x.mean(-1, keepdims=True)) / jnp.sqrt(x.var(-1, keepdims=True, ddof=int(unbiased)) + 1e-3)
        y = y if affine == "none" else y * scale
        return y + shift if affine == "both" else y

    assert "layer_norm" in check(norm, random((3, 4, 16)), random((16,)), random((16,), seed=1))


@needs_cudnn
@pytest.mark.parametrize("layout", [("NHWC", "HWIO"), ("NCHW", "OIHW")])
@pytest.mark.parametrize("affine", ["both", "scale", "shift", "none"])
def test_batch_norm_with_given_statistics(affine, layout):
    source, weights = layout
    shapes = {"N": 2, "H": 5, "W": 4, "C": 6}, {"H": 3, "W": 3, "I": 6, "O": 8}
    x, w = (random([sizes[a] for a in names]) for sizes, names in zip(shapes, layout, strict=True))

    def layer(x, w, mean, variance, scale, shift):
        y = jax.lax.conv_general_dilated(x, w, (1, 1), "SAME", dimension_numbers=(source, weights, source))
        along = (1, 1, 1, -1) if source == "NHWC" else (1, -1, 1, 1)
        mean, variance, scale, shift = (v.reshape(along) for v in (mean, variance, scale, shift))
        y = (y - mean) * jax.lax.rsqrt(variance + 1e-3)
        y = y * scale if affine in ("both", "scale") else y
        return jax.nn.relu(y + shift if affine in ("both", "shift") else y)

    vectors = (random((8,), seed=seed) for seed in range(4))
    labels = check(layer, x, w, *vectors, drawn=lambda *how: np.abs(random(*how)))
    assert "conv+batch_norm+relu" in labels
    assert "batch_norm+relu" in labels, labels  # channels first are turned


def softmax_graph(dtype, dims, sums, kind):
    """Softmax along an axis as cuDNN's operations: of ``dims``, with maxima and sums of the shape ``sums``."""
    shapes = {1: (dims, dtype), 2: (sums, "FLOAT"), 3: (dims, "FLOAT"), 4: (dims, "FLOAT"), 5: (sums, "FLOAT")}
    shapes[6] = (dims, dtype)
    nodes = [
        {"op": "reduction", "mode": "MAX", "in": {"x": 1}, "out": {"y": 2}},
        {"op": "pointwise", "mode": "SUB", "in": {"a": 1, "b": 2}, "out": {"y": 3}},
        {"op": "pointwise", "mode": "EXP", "in": {"a": 3}, "out": {"y": 4}},
        {"op": "reduction", "mode": "ADD", "in": {"x": 4}, "out": {"y": 5}},
        {"op": "pointwise", "mode": "DIV", "in": {"a": 4, "b": 5}, "out": {"y": 6}},
    ]
    tensors = [{"uid": u, "dim": d, "stride": strides_of(d, kind), "type": t} for u, (d, t) in shapes.items()]
    return json.dumps({"compute": "FLOAT", "tensors": tensors, "nodes": nodes, "operands": [1], "results": [6]})


@needs_cudnn
@pytest.mark.parametrize("device", ["sm_75", "sm_80", "sm_86", "sm_89", "sm_90"])
@pytest.mark.parametrize("dtype", ["HALF", "BFLOAT16", "FLOAT"])
def test_cudnn_has_no_engine_for_softmax_by_itself(dtype, device):
    gpu = known(device)
    for dims, sums, kind in (
        ((64, 256, 1, 1), (64, 1, 1, 1), "last"),
        ((1, 64, 256), (1, 64, 1), "first"),
        ((2, 3, 64, 256), (2, 3, 64, 1), "first"),
        ((1, 256, 64, 1), (1, 1, 64, 1), "last"),
    ):
        with pytest.raises(ValueError, match="No valid engine configs"):
            _loaded.engines(softmax_graph(dtype, dims, sums, kind), gpu.cudnn_properties(), gpu.sm)


@needs_cudnn
@pytest.mark.parametrize("function", [jax.nn.softmax, jax.nn.log_softmax])
def test_softmax_stays_with_xla(function):
    graph = problem_of(jax.make_jaxpr(function)(random((3, 16))), ()).split.each
    (proposal,) = cudnn.BACKEND.propose(graph)
    assert proposal.refused.reason == "cuDNN's graphs have softmax within attention alone"


@needs_cudnn
def test_rms_norm():
    def norm(x, scale):
        return x * jax.lax.rsqrt(jnp.mean(x * x, -1, keepdims=True) + 1e-3) * scale

    assert "rms_norm" in check(norm, random((3, 4, 16)), random((16,)))


def flax_layer_norm(x, scale, shift):
    """As Flax writes it: the variance by the mean square, the scale in the root's factor."""
    mean, square = x.mean(-1), (x * x).mean(-1)
    factor = jax.lax.rsqrt(jnp.maximum(0.0, square - mean * mean)[..., None] + 1e-2) * scale
    return (x - mean[..., None]) * factor + shift


def layer_norm_by_hand(x, scale, shift):
    centred = x - x.mean(-1, keepdims=True)
    return centred / jnp.sqrt((centred**2).mean(-1, keepdims=True) + 1e-2) * scale + shift


def rms_norm_by_hand(x, scale, shift):
    return x * jax.lax.rsqrt((x * x).mean(-1, keepdims=True) + 1e-2) * scale


@needs_cudnn
@pytest.mark.parametrize("rounded", [False, True])
@pytest.mark.parametrize("norm", [flax_layer_norm, layer_norm_by_hand, rms_norm_by_hand])
def test_the_gradient_of_a_norm(norm, rounded):
    """In single precision, or in half with single inside; against the gradient in double precision."""
    dtype = jnp.float16 if rounded else jnp.float32
    x, dy = random((3, 4, 16), dtype), random((3, 4, 16), dtype, 1)
    scale, shift = random((16,), dtype, 2), random((16,), dtype, 3)

    def step(x, scale, shift, dy):
        wide = lambda a: a.astype(jnp.promote_types(a.dtype, jnp.float32))  # noqa: E731
        used = (scale,) if norm is rms_norm_by_hand else (scale, shift)
        of = lambda x, *v: norm(wide(x), *map(wide, (*v, shift)[:2])).astype(x.dtype)  # noqa: E731
        y, pull_back = jax.vjp(of, x, *used)
        return y, *pull_back(dy)

    args = (x, scale, shift, dy)
    regions = regions_of(step, *args)
    works = {cudnn.BACKEND.read(region).label: region for region in regions}
    op = "rms_norm" if norm is rms_norm_by_hand else "layer_norm"
    assert set(works) == {op, op + "_gradient"}
    gradient = works[op + "_gradient"]
    given = dict(zip(gradient.graph.inputs, args, strict=True))
    work = cudnn.BACKEND.read(gradient)
    made = dict(zip(gradient.exits, meaning(work, gradient, [given[v] for v in gradient.entries]), strict=True))
    with jax.enable_x64(True):
        wanted = step(*(jnp.asarray(a, jnp.float64) for a in args))
    for value, want in list(zip(gradient.graph.outputs, wanted, strict=True))[1:]:
        np.testing.assert_allclose(made[value], want, rtol=1e-5, atol=1e-5)
    for device in ("sm_80", "sm_90"):
        with target.aiming_at(known(device)):
            assert refusal(cudnn.BACKEND, gradient) is None


def batch_norm_by_hand(x, scale, shift):
    pixels = tuple(range(x.ndim - 1))
    wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    mean = wide.mean(pixels)
    centred = wide - mean
    variance = (centred * centred).mean(pixels)
    return (centred / jnp.sqrt(variance + 1e-2) * scale + shift).astype(x.dtype), mean, variance


@needs_cudnn
@pytest.mark.parametrize("shape", [(3, 4, 5, 8), (12, 16)])
@pytest.mark.parametrize("rounded", [False, True])
@pytest.mark.parametrize("norm", [flax_batch_norm, batch_norm_by_hand])
def test_batch_norm_with_the_statistics_of_the_batch_and_its_gradient(norm, rounded, shape):
    """Both passes, the first with the statistics that it gives out; against both in double precision."""
    dtype = jnp.float16 if rounded else jnp.float32
    x, dy = random(shape, dtype), random(shape, dtype, 1)
    scale, shift = random(shape[-1:], seed=2), random(shape[-1:], seed=3)

    def step(x, scale, shift, dy):
        y, pull_back, statistics = jax.vjp(lambda *args: _first_apart(norm(*args)), x, scale, shift, has_aux=True)
        return y, *statistics, *pull_back(dy)

    args = (x, scale, shift, dy)
    works = {cudnn.BACKEND.read(region).label: region for region in regions_of(step, *args)}
    names = "batch_norm_with_statistics", "batch_norm_with_statistics_gradient"
    assert set(names) <= set(works)
    with jax.enable_x64(True):
        wanted = step(*(jnp.asarray(a, jnp.float64) for a in args))
    for name in names:
        region = works[name]
        known_values = dict(zip(region.graph.inputs, args, strict=True))
        known_values |= dict(zip(region.graph.outputs, wanted, strict=True))
        arrays = [known_values[v] for v in region.entries]
        made = dict(zip(region.exits, meaning(cudnn.BACKEND.read(region), region, arrays), strict=True))
        for value, want in zip(region.graph.outputs, wanted, strict=True):
            if value in made:
                np.testing.assert_allclose(made.pop(value).reshape(want.shape), want, rtol=1e-5, atol=1e-5)
        assert not made
        for device in ("sm_80", "sm_90"):
            with target.aiming_at(known(device)):
                assert refusal(cudnn.BACKEND, region) is None


def _first_apart(results):
    first, *others = results
    return first, others


@needs_cudnn
@pytest.mark.parametrize("channels", ["last", "first"])
@pytest.mark.parametrize("kind", ["max", "average", "average inside"])
def test_pooling(kind, channels):
    shape, window = ((2, 7, 6, 3), (1, 3, 2, 1)) if channels == "last" else ((2, 3, 7, 6), (1, 1, 3, 2))
    strides = tuple(2 if n == 3 else 1 for n in window)
    padding = [(1, 1) if n == 3 else (0, 0) for n in window]

    def pool(x):
        if kind == "max":
            return jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, window, strides, padding)
        total = jax.lax.reduce_window(x, 0.0, jax.lax.add, window, strides, padding)
        if kind == "average":
            return total / math.prod(window)
        return total / jax.lax.reduce_window(jnp.ones_like(x), 0.0, jax.lax.add, window, strides, padding)

    assert check(pool, random(shape)) == {"max_pool" if kind == "max" else "avg_pool"}


def attend(q, k, v, mask=None, kind="none"):
    scores = jnp.einsum("bqhd,bkhd->bhqk", q, k) / math.sqrt(q.shape[-1])
    if kind == "bias":
        scores = scores + mask
    if kind == "keep":
        scores = jnp.where(mask, scores, -1e4)
    return jnp.einsum("bhqk,bkhd->bqhd", jax.nn.softmax(scores), v)


@needs_cudnn
@pytest.mark.parametrize("kind", ["none", "bias", "keep"])
def test_attention(kind):
    q, k, v = (random((2, n, 3, 8), np.float16, i) for i, n in enumerate((5, 7, 7)))
    mask = {"none": None, "bias": random((5, 7), np.float16), "keep": random((2, 1, 5, 7), bool)}[kind]
    labels = check(lambda q, k, v, m: attend(q, k, v, m, kind), q, k, v, mask, tolerance=3e-3)
    assert ("attention" if kind == "none" else "attention+mask") in labels


def by_hand(q, k, v, mask, kind):
    """Heads split and joined as a model does it, softmax in single precision, spelt out."""
    scores = (q.swapaxes(1, 2) @ k.transpose(0, 2, 3, 1)).astype(jnp.promote_types(q.dtype, np.float32)) * 0.25
    scores = scores + mask if kind == "bias" else jnp.where(mask, scores, -1e9) if kind == "keep" else scores
    powers = jnp.exp(scores - scores.max(-1, keepdims=True))
    weights = (powers / powers.sum(-1, keepdims=True)).astype(q.dtype)
    return (weights @ v.swapaxes(1, 2)).swapaxes(1, 2)


def jax_nn(q, k, v, mask, kind):
    named = {"none": {}, "bias": {"bias": mask}, "keep": {"mask": mask}}[kind]
    return jax.nn.dot_product_attention(q, k, v, **named)


@needs_cudnn
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("kind", ["none", "bias", "keep"])
@pytest.mark.parametrize("fun", [attend, by_hand, jax_nn])
def test_the_gradient_of_attention(fun, kind, dtype):
    """The two graphs are the gradient to the accuracy of their scale, which is of single precision."""
    dtype = jnp.dtype(dtype)
    q, k, v, do = (random((2, n, 3, 16), dtype, i) for i, n in enumerate((5, 7, 7, 5)))
    mask = {"none": None, "bias": random((2, 1, 5, 7), dtype), "keep": random((2, 1, 5, 7), bool)}[kind]

    def step(q, k, v, do, mask):
        o, pull_back = jax.vjp(lambda q, k, v: fun(q, k, v, mask, kind), q, k, v)
        return o, *pull_back(do)

    args = (q, k, v, do, mask)
    regions = regions_of(step, *args)
    gradient = max(regions, key=lambda region: len(region.nodes))
    works = {region: cudnn.BACKEND.read(region) for region in regions}
    suffix = "" if kind == "none" else "+mask"
    assert {work.label for work in works.values()} == {"attention" + suffix, "attention_gradient" + suffix}
    given = dict(zip(gradient.graph.inputs, (a for a in args if a is not None), strict=True))
    # jax.nn's has the mask repeated first.
    arrays = [given[v] if v in given else np.broadcast_to(mask, v.shape) for v in gradient.entries]
    made = dict(zip(gradient.exits, meaning(works[gradient], gradient, arrays), strict=True))
    with jax.enable_x64(True):
        wide = [None if a is None else jnp.asarray(a, a.dtype if a.dtype == bool else jnp.float64) for a in args]
        wanted = step(*wide)
    for value, want in list(zip(gradient.graph.outputs, wanted, strict=True))[1:]:
        np.testing.assert_allclose(made[value], want, rtol=1e-5, atol=1e-6)


@needs_cudnn
def test_the_gradient_of_attention_in_the_numbers_of_the_program():
    """In float16, with and without what splits and joins heads."""

    def block(*args):
        q, k, v = (x.reshape(*x.shape[:2], 3, 16).swapaxes(1, 2) for x in args)
        return (jax.nn.softmax(q @ k.mT / 4) @ v).swapaxes(1, 2).reshape(2, -1, 48)

    def step(q, k, v, do):
        o, pull_back = jax.vjp(block, q, k, v)
        return o, *pull_back(do)

    args = [random((2, n, 48), np.float16, i) for i, n in enumerate((5, 7, 7, 5))]
    assert check(step, *args, tolerance=1e-2) == {"attention", "attention_gradient"}
    gradients = [region for region in regions_of(step, *args) if len(region.exits) == 3]
    assert sorted(region.exits[0].ndim for region in gradients) == [3, 4]


@needs_cudnn
def test_the_gradient_of_attention_is_refused_before_sm_80_and_for_odd_widths():
    def step(*args):
        o, pull_back = jax.vjp(lambda *x: attend(*x), *args[:3])
        return o, *pull_back(args[3])

    for width, device, reason in ((16, "sm_75", "requires SM80"), (17, "sm_80", "multiple of 8"), (16, "sm_80", None)):
        regions = regions_of(step, *(random((2, 5, 3, width), np.float16, i) for i in range(4)))
        (gradient,) = (region for region in regions if len(region.exits) == 3)
        with target.aiming_at(known(device)):
            found = refusal(cudnn.BACKEND, gradient)
        assert (found is None) if reason is None else (reason in found.reason), found


@needs_cudnn
@needs_compiler
@pytest.mark.parametrize("device", ["sm_80", "sm_90"])
def test_a_step_through_jax_nn_attention_has_both_passes_as_calls(device):
    """Of two layers; XLA, left alone, merges what the gradients compute anew."""

    def loss(w, x):
        for each in w:
            q, k, v = (jnp.einsum("bsd,dhe->bshe", x, m) for m in each)
            x = x + jax.nn.dot_product_attention(q, k, v).reshape(x.shape)
        return (x.astype(jnp.float32) ** 2).mean()

    w, x = jnp.ones((2, 3, 64, 4, 16), jnp.bfloat16), jnp.ones((2, 128, 64), jnp.bfloat16)
    lowered = collage_jax.lower_for(jax.value_and_grad(loss), w, x, device=device, backends=["cudnn"])
    assert lowered.placement.counts()["cudnn"] == 4
    assert lowered.custom_calls()["collage_cudnn_v1"] == 4
    alone = collage_jax.lower_for(jax.value_and_grad(loss), w, x, device=device, backends=["xla"])
    on_it = sharding_on(known(device))
    shapes = [jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=on_it) for a in (w, x)]
    whole = jax.jit(jax.value_and_grad(loss)).lower(*shapes).compile().as_text()
    assert alone.as_text().count(" dot(") == whole.count(" dot(")


@needs_cudnn
def test_attention_in_single_precision_stays_with_xla():
    q = random((1, 5, 2, 8))
    graph = problem_of(jax.make_jaxpr(attend)(q, q, q), ()).split.each
    reasons = [p.refused.reason for p in cudnn.BACKEND.propose(graph) if p.refused is not None]
    assert any("float16 or bfloat16" in reason for reason in reasons)


@needs_cudnn
@pytest.mark.slow
@pytest.mark.parametrize("device", ["sm_75", "sm_80", "sm_90"])
def test_what_the_backend_says_is_what_cudnn_does(device):
    """125 cases for each GPU, in a process of its own: cuDNN keeps kernels of one architecture for another."""
    script = Path(__file__).with_name("cudnn_verdicts.py")
    done = subprocess.run([sys.executable, str(script), device, "125"], capture_output=True, text=True)
    counts, *wrong = done.stdout.strip().splitlines() or [done.stderr[-2000:]]
    assert not wrong and done.returncode == 0, done.stdout[-3000:] + done.stderr[-2000:]
    counts = json.loads(counts)
    assert sum(counts.values()) == 125 and min(counts["supported"], counts["refused"], counts["not expressible"]) > 1


def compiled_for(device, fun, *args):
    """The text that XLA makes of the largest region of ``fun`` for a GPU that is not here."""
    gpu = known(device)
    with target.aiming_at(gpu):
        region = max(regions_of(fun, *args), key=lambda region: len(region.nodes))
        assert cudnn.BACKEND.supports(region) is None, cudnn.BACKEND.supports(region)
        run, on_it = cudnn.BACKEND.emit(region), sharding_on(gpu)
    given = [jax.ShapeDtypeStruct(v.shape, v.dtype, sharding=on_it) for v in region.entries]
    return jax.jit(run).lower(*given).compile().as_text()


def half(*shape):
    return jnp.ones(shape, jnp.float16)


@needs_cudnn
@needs_compiler
@pytest.mark.parametrize("device", ["sm_75", "sm_80", "sm_90"])
def test_xla_compiles_the_call_for_a_gpu_that_is_not_here(device):
    def block(x, w, b, r):
        return jax.nn.relu(nhwc(x, w) + b + r)

    text = compiled_for(device, block, half(2, 8, 8, 32), half(3, 3, 32, 32), half(32), half(2, 8, 8, 32))
    assert text.count('custom_call_target="collage_cudnn_v1"') == 1
    assert "__cudnn$" not in text  # XLA's own calls


@needs_cudnn
@needs_compiler
@pytest.mark.parametrize("device", ["sm_80", "sm_90"])
def test_xla_compiles_both_passes_of_a_batch_norm(device):
    def step(x, scale, shift):
        loss = lambda *args: (lambda y, *given_out: (jnp.tanh(y).sum(), given_out))(*flax_batch_norm(*args))  # noqa: E731
        return jax.value_and_grad(loss, (0, 1, 2), has_aux=True)(x, scale, shift)

    args = jnp.ones((2, 8, 8, 32)), jnp.ones(32), jnp.ones(32)
    text = collage_jax.lower_for(step, *args, device=device, backends=["cudnn"]).compile().as_text()
    assert text.count('custom_call_target="collage_cudnn_v1"') == 2


def volume(x, w):
    y = jax.lax.conv_general_dilated(x, w, (1,) * 3, "SAME", dimension_numbers=("NDHWC", "DHWIO", "NDHWC"))
    return jax.nn.relu(y)


@needs_cudnn
@needs_compiler
def test_xla_compiles_the_call_with_a_bias_of_zeros():
    text = compiled_for("sm_75", volume, jnp.ones((1, 4, 8, 8, 32)), jnp.ones((3, 3, 3, 32, 64)))
    assert text.count('custom_call_target="collage_cudnn_v1"') == 1


@needs_cudnn
def test_the_bias_of_zeros_is_made_once_with_frozen_weights():
    (_, region) = regions_of(volume, jnp.ones((1, 4, 8, 8, 32)), jnp.ones((3, 3, 3, 32, 64)))
    x, w = region.entries
    with target.aiming_at(known("sm_75")):
        made = cudnn.BACKEND.emit_frozen(region, frozenset({w}))
    prepared = jax.eval_shape(made.prepare, jax.ShapeDtypeStruct(w.shape, w.dtype))
    assert [a.shape for a in prepared] == [(64, 3, 3, 3, 32), (64,)]
    (result,) = jax.eval_shape(made.run, *prepared, jax.ShapeDtypeStruct(x.shape, x.dtype))
    assert result.shape == region.exits[0].shape


@needs_cudnn
@needs_compiler
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version": "1"}, "made for cuDNN 1 and this is"),
        ({"spec": "{}"}, "key 'tensors' not found"),
        (
            {"spec": '{"compute": "FLOAT", "tensors": [], "nodes": [{"op": "sort"}], "operands": [], "results": []}'},
            "sort",
        ),
        ({"device": "{}"}, "maxGridSize"),
    ],
)
def test_xla_refuses_attributes_that_make_no_sense(change, message, monkeypatch):
    invoke = jax.ffi.ffi_call
    monkeypatch.setattr(
        jax.ffi, "ffi_call", lambda *a, **k: lambda *xs, **attributes: invoke(*a, **k)(*xs, **attributes | change)
    )
    with pytest.raises(jax.errors.JaxRuntimeError, match=message):
        compiled_for("sm_80", nhwc, half(2, 8, 8, 32), half(3, 3, 32, 32))


@needs_cudnn
def test_a_graph_of_kernels_that_cudnn_ships_has_a_plan():
    """Really built, for a GPU described to it and without a driver: bias and ReLU are in the kernel that it ships."""
    fun, args = lambda x, w, b: jax.nn.relu(nhwc(x, w) + b), (half(2, 8, 8, 32), half(3, 3, 32, 32), half(32))
    work = cudnn.BACKEND.read(max(regions_of(fun, *args), key=lambda region: len(region.nodes)))
    assert work.label == "conv+bias+relu"
    _loaded.build(work.spec(), A100.cudnn_properties(), A100.sm)


@needs_cudnn
@pytest.mark.parametrize("spatial", [2, 3])
@pytest.mark.parametrize("label", ["conv+relu", "conv+tanh", "conv+sum+relu", "conv+bias+sum+relu"])
def test_kernels_that_cudnn_ships_serve_where_it_compiles_none(label, spatial, monkeypatch):
    """In float32, with channels second, on all GPUs: built to the end, with a bias of zeros or in another order."""
    monkeypatch.setattr(problem, "channels_last", lambda graph: graph)
    axes = "DHW"[-spatial:]

    def layer(x, w, b, r):
        names = (f"NC{axes}", f"OI{axes}", f"NC{axes}")
        y = jax.lax.conv_general_dilated(x, w, (1,) * spatial, "SAME", dimension_numbers=names)
        return TAILS[label](y, b.reshape(-1, *(1,) * spatial), r)

    x, r = random((2, 8, *(5,) * spatial)), random((2, 16, *(5,) * spatial))
    largest = max(regions_of(layer, x, random((16, 8, *(3,) * spatial)), random((16,)), r), key=lambda r: len(r.nodes))
    work = cudnn.BACKEND.read(largest)
    assert work.label == label
    with target.aiming_at(known("sm_75")):
        fusion = cudnn.BACKEND.choice(work).work
    assert fusion is not work
    _loaded.build(fusion.spec(), known("sm_75").cudnn_properties(), 75)


@needs_cudnn
def test_bfloat16_is_refused_where_there_is_none():
    args = jnp.ones((2, 8, 8, 32), jnp.bfloat16), jnp.ones((3, 3, 32, 32), jnp.bfloat16)
    (region,) = regions_of(nhwc, *args)
    with target.aiming_at(known("sm_75")):
        assert "cuDNN refuses" in refusal(cudnn.BACKEND, region).reason
    with target.aiming_at(known("sm_80")):
        assert refusal(cudnn.BACKEND, region) is None


def test_on_a_cpu_the_backend_says_what_is_missing():
    (info,) = (info for info in collage_jax.backends() if info.name == "cudnn")
    if jax.default_backend() == "cpu":
        assert not info.available and "runs on gpu" in info.unavailable
    if isinstance(_loaded, Unsupported):
        assert any(words in info.unavailable for words in ("pip install", "nvidia-cudnn-cu13")), info.unavailable
