"""The example networks against their published sizes and against NumPy in float64."""

import math
import sys
from collections import Counter
from functools import cache
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.extend.core import ClosedJaxpr, Jaxpr
from numpy.lib.stride_tricks import sliding_window_view

sys.path.append(str(Path(__file__).parents[1] / "examples"))

from networks import NETWORKS, bert, dcgan, layers, nasnet, resnet

# name: parameters, tensors, convolutions, matrix products, GFLOP at batch 1, input, output (without the batch)
PUBLISHED = {
    "bert": (6_318_080, 128, 0, 64, 0.839, (64, 256), (64, 256)),
    "dcgan": (53_306_404, 18, 7, 2, 14.954, (100,), (1,)),
    "nasnet_a": (7_387_584, 238, 204, 0, 6.962, (56, 56, 64), (14, 14, 1280)),
    "resnet3d50": (46_080_000, 52, 52, 0, 25.099, (3, 56, 56, 64), (1, 7, 7, 2048)),
    "resnext50": (22_902_272, 52, 52, 0, 8.221, (56, 56, 64), (7, 7, 2048)),
    "resnet50": (23_445_504, 52, 52, 0, 7.938, (56, 56, 64), (7, 7, 2048)),
}
each_network = pytest.mark.parametrize("name", PUBLISHED)


@cache
def weights_of(name):
    return NETWORKS[name].init(seed=0)


def shapes_of(network, batch):
    params = [jax.ShapeDtypeStruct(weight.shape, jnp.float32) for weight in network.weights]
    return params, jax.ShapeDtypeStruct(network.input_shape(batch), jnp.float32)


def primitives(jaxpr):
    """The equations of `jaxpr` with every call replaced by its body."""
    for eqn in jaxpr.eqns:
        inner = [leaf for leaf in jax.tree.leaves(list(eqn.params.values())) if isinstance(leaf, ClosedJaxpr | Jaxpr)]
        if not inner:
            yield eqn
        for body in inner:
            yield from primitives(body.jaxpr if isinstance(body, ClosedJaxpr) else body)


@cache
def equations_of(name):
    network = NETWORKS[name]
    return list(primitives(jax.make_jaxpr(network.apply)(*shapes_of(network, batch=1)).jaxpr))


def operations_of(name):
    return Counter(eqn.primitive.name for eqn in equations_of(name))


def flops(eqn):
    """2 per multiply-add, padding taps included; 0 for what is neither a convolution nor a matrix product."""
    outputs = math.prod(eqn.outvars[0].aval.shape)
    if eqn.primitive.name == "conv_general_dilated":
        return 2 * outputs * math.prod(eqn.invars[1].aval.shape[:-1])
    if eqn.primitive.name == "dot_general":
        (contracted, _), _ = eqn.params["dimension_numbers"]
        return 2 * outputs * math.prod(eqn.invars[0].aval.shape[axis] for axis in contracted)
    return 0


def test_registry_lists_the_six_networks_in_order():
    assert list(NETWORKS) == list(PUBLISHED)
    assert all(network.name == name for name, network in NETWORKS.items())


@each_network
def test_parameter_count_is_as_published(name):
    parameters, tensors, *_ = PUBLISHED[name]
    assert NETWORKS[name].parameter_count == parameters
    assert len(NETWORKS[name].weights) == tensors


@each_network
@pytest.mark.parametrize("batch", [1, 8, 16])
def test_output_shape_is_as_published(name, batch):
    network, (*_, input_dims, output_dims) = NETWORKS[name], PUBLISHED[name]
    out = jax.eval_shape(network.apply, *shapes_of(network, batch))
    assert network.input_shape(batch) == (batch, *input_dims)
    assert out.shape == network.output_shape(batch) == (batch, *output_dims)
    assert out.dtype == jnp.float32


@each_network
def test_traced_program_has_the_published_convolutions_products_and_flops(name):
    _, _, convs, products, gflops, *_ = PUBLISHED[name]
    found = operations_of(name)
    assert (found["conv_general_dilated"], found["dot_general"]) == (convs, products)
    assert sum(map(flops, equations_of(name))) / 1e9 == pytest.approx(gflops, abs=6e-4)
    assert NETWORKS[name].gflops == gflops


def test_bert_has_one_softmax_and_relu_a_block_and_two_layer_norms():
    found = operations_of("bert")
    assert (found["exp"], found["max"] - found["exp"], found["sqrt"]) == (8, 8, 16)  # softmax has its own max


@pytest.mark.parametrize("name", ["resnet50", "resnext50", "resnet3d50"])
def test_resnets_have_48_relus_and_16_additions(name):
    found = operations_of(name)
    assert (found["max"], found["add"]) == (48, 16)


def test_nasnet_has_the_published_poolings_and_concatenations():
    found = operations_of("nasnet_a")
    assert found["reduce_window_sum"] == 2 * 49  # each average pooling also counts its window positions
    assert (found["reduce_window_max"], found["concatenate"], found["max"]) == (4, 17, 34)
    assert found["add"] == 34 + 85  # biases, and one for each of five branches in seventeen cells


@pytest.mark.parametrize(
    ("name", "groups", "kernels"), [("resnext50", 32, {3: 16}), ("nasnet_a", None, {3: 77, 5: 4, 7: 4})]
)
def test_grouped_convolutions_are_where_they_should_be(name, groups, kernels):
    found = Counter()
    for eqn in equations_of(name):
        if eqn.params.get("feature_group_count", 1) > 1:
            channels = eqn.invars[0].aval.shape[-1]
            assert eqn.params["feature_group_count"] == (groups or channels)
            found[eqn.invars[1].aval.shape[0]] += 1
    assert found == kernels


def test_weights_follow_the_scheme_and_the_seed():
    params = weights_of("bert")
    wq, bq, w2, b2, scale1, shift1 = params[0], params[1], params[10], params[11], params[12], params[13]
    assert [np.std(w) for w in (wq, w2)] == pytest.approx([256**-0.5, 1024**-0.5], rel=0.02)
    assert [np.std(b) for b in (bq, b2, shift1)] == pytest.approx([0.1] * 3, rel=0.2)
    assert np.all(scale1 == 1) and all(p.dtype == jnp.float32 for p in params)
    grouped = weights_of("resnext50")[1]
    assert grouped.shape == (3, 3, 4, 128) and np.std(grouped) == pytest.approx(0.7 * math.sqrt(2 / 36), rel=0.05)
    assert all(np.array_equal(a, b) for a, b in zip(params, NETWORKS["bert"].init(0), strict=True))
    assert not np.array_equal(wq, NETWORKS["bert"].init(1)[0])


@each_network
def test_input_is_uniform_between_minus_one_and_one(name):
    x = np.asarray(NETWORKS[name].input(batch=2, seed=3))
    assert x.dtype == np.float32 and x.shape == NETWORKS[name].input_shape(2)
    assert -1 <= x.min() < -0.9 and 0.9 < x.max() < 1
    assert not np.array_equal(x, NETWORKS[name].input(batch=2, seed=4))


@pytest.mark.parametrize("name", ["bert", "nasnet_a", "resnext50", "resnet50"])
def test_output_is_finite_and_not_constant(name):
    network = NETWORKS[name]
    y = np.asarray(jax.jit(network.apply)(weights_of(name), network.input(1, seed=0)))
    assert np.isfinite(y).all() and 0.1 < np.abs(y).max() < 100 and y.std() > 0.01


# The same networks in NumPy, in float64, written from their descriptions.


def np_conv(x, w, stride=1, padding=0, groups=1):
    spatial = w.ndim - 2
    x = np.pad(x, [(0, 0), *[(padding, padding)] * spatial, (0, 0)])
    axes = tuple(range(1, 1 + spatial))
    windows = sliding_window_view(x, w.shape[:spatial], axes)[(slice(None), *[slice(None, None, stride)] * spatial)]
    outer, inner, outputs = windows.shape[: 1 + spatial], w.shape[-2], w.shape[-1]
    windows = np.moveaxis(windows.reshape(math.prod(outer), groups, inner, -1), (1, 2), (0, 3))
    kernel = w.reshape(-1, inner, groups, outputs // groups).transpose(2, 0, 1, 3)
    y = windows.reshape(groups, math.prod(outer), -1) @ kernel.reshape(groups, -1, outputs // groups)
    return y.transpose(1, 0, 2).reshape(*outer, outputs)


def np_pool(x, stride, reduce):
    """`reduce` over the part of each 3x3 window (padding 1) that lies inside the image."""
    b, h, w, c = x.shape
    y = np.empty((b, (h - 1) // stride + 1, (w - 1) // stride + 1, c))
    for i, j in np.ndindex(y.shape[1:3]):
        top, left = i * stride - 1, j * stride - 1
        y[:, i, j] = reduce(x[:, max(top, 0) : top + 3, max(left, 0) : left + 3], axis=(1, 2))
    return y


def np_relu(x):
    return np.maximum(x, 0)


def np_layer_norm(x, scale, shift):
    return scale * (x - x.mean(-1, keepdims=True)) / (x.std(-1, ddof=1, keepdims=True) + 1e-6) + shift


def np_bert(params, x):
    for i in range(0, 128, 16):
        wq, bq, wk, bk, wv, bv, wo, bo, w1, b1, w2, b2, g1, s1, g2, s2 = params[i : i + 16]
        n, joined = np_layer_norm(x, g1, s1), np.empty_like(x)
        for head in range(8):
            part = slice(32 * head, 32 * head + 32)
            q, k, v = (n @ w[:, part] + b[part] for w, b in ((wq, bq), (wk, bk), (wv, bv)))
            e = np.exp(q @ k.swapaxes(1, 2) / 32**0.5)
            joined[..., part] = e / e.sum(-1, keepdims=True) @ v
        x = x + joined @ wo + bo
        x = x + np_relu(np_layer_norm(x, g2, s2) @ w1 + b1) @ w2 + b2
    return x


def np_dcgan(params, z):
    pairs = list(zip(params[::2], params[1::2], strict=True))
    x = (z @ pairs[0][0] + pairs[0][1]).reshape(len(z), 64, 64, -1)
    for (w, b), scale in zip(pairs[1:4], (2, 2, 1), strict=True):
        x = np_conv(x.repeat(scale, 1).repeat(scale, 2), w, 1, 1) + b
        x = np_relu(x) if scale == 2 else np.tanh(x)
    for w, b in pairs[4:8]:
        x = np_relu(np_conv(x, w, 2, 1) + b)
    return 1 / (1 + np.exp(-(x.reshape(len(z), -1) @ pairs[8][0] + pairs[8][1])))


def np_nasnet(params, x):
    cells = [params[i : i + 14] for i in range(0, 238, 14)]

    def cell(params, prev, cur, reduction):
        c, p = np_relu(np_conv(cur, params[0]) + params[1]), np_relu(np_conv(prev, params[2]) + params[3])
        stages = [(params[i], params[i + 1]) for i in range(4, 14, 2)]

        def sep(i, t, stride=1):
            depthwise, pointwise = stages[i]
            return np_conv(np_conv(t, depthwise, stride, len(depthwise) // 2, t.shape[-1]), pointwise)

        if not reduction:
            avg_c, avg_p = np_pool(c, 1, np.mean), np_pool(p, 1, np.mean)
            return [sep(0, c) + c, sep(1, p) + sep(2, c), avg_c + p, avg_p + avg_p, sep(3, p) + sep(4, p)]
        o0 = sep(0, p, 2) + sep(2, c, 2)
        o1 = np_pool(c, 2, np.max) + sep(1, p, 2)
        o2 = np_pool(c, 2, np.mean) + sep(3, p, 2)
        return [o0, o1, o2, np_pool(c, 2, np.max) + sep(4, o0), np_pool(o0, 1, np.mean) + o1]

    order = [0, 1, 2, 3, 4, 15, 5, 6, 7, 8, 9, 16, 10, 11, 12, 13, 14]  # cells as executed, by place in `params`
    outputs = [x, x]  # `prev` and `cur` are the last two, except after a reduction
    for index in order:
        out = np.concatenate(cell(cells[index], outputs[-2], outputs[-1], index >= 15), -1)
        outputs += [out, out] if index >= 15 else [out]
    return outputs[-1]


def np_resnet(params, x, groups=1):
    params = iter(params)
    for stage, blocks in enumerate((3, 4, 6, 3)):
        for i in range(blocks):
            stride = 2 if stage and i == 0 else 1
            w1, w2, w3 = next(params), next(params), next(params)
            identity = np_conv(x, next(params), stride) if i == 0 else x
            y = np_relu(np_conv(np_relu(np_conv(x, w1)), w2, stride, 1, groups))
            x = np_relu(np_conv(y, w3) + identity)
    return x


def assert_same(got, expected):
    got = np.asarray(got)
    assert got.shape == expected.shape
    assert np.abs(got - expected).max() <= 1e-5 * np.abs(expected).max()


def uniform(*shape):
    return np.random.default_rng(7).uniform(-1, 1, shape).astype(np.float32)


def doubles(params):
    return [np.asarray(p, np.float64) for p in params]


@pytest.mark.parametrize("kernel", [3, 5, 7])
def test_strided_convolution_pads_both_sides_equally(kernel):
    x, w = uniform(1, 8, 8, 4), uniform(kernel, kernel, 2, 6)
    expected = np_conv(x.astype(np.float64), w.astype(np.float64), 2, kernel // 2, 2)
    assert_same(layers.conv(x, w, stride=2, padding=kernel // 2, groups=2), expected)
    same = jax.lax.conv_general_dilated(x, w, (2, 2), "SAME", None, None, ("NHWC", "HWIO", "NHWC"), 2)
    assert same.shape == expected.shape and np.abs(same - expected).max() > 0.1


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("size", [(6, 6), (5, 7)])
def test_average_pool_leaves_out_the_padding(stride, size):
    x = uniform(2, *size, 3)
    assert_same(layers.average_pool(x, stride), np_pool(x, stride, np.mean))
    np.testing.assert_allclose(layers.average_pool(np.ones_like(x), stride), 1, rtol=1e-6)


def test_max_pool_never_picks_the_padding():
    x = uniform(2, 6, 6, 3) - 5
    assert_same(layers.max_pool(x), np_pool(x, 2, np.max))


def test_upsample_repeats_rows_and_columns():
    x = uniform(2, 3, 4, 5)
    assert np.array_equal(layers.upsample(x), x.repeat(2, axis=1).repeat(2, axis=2))


def test_layer_norm_divides_by_the_unbiased_deviation():
    x, scale, shift = uniform(2, 3, 256), uniform(256), uniform(256)
    expected = np_layer_norm(x.astype(np.float64), scale.astype(np.float64), shift.astype(np.float64))
    np.testing.assert_allclose(bert.layer_norm(x, scale, shift), expected, rtol=1e-5, atol=1e-6)
    unit = np.asarray(bert.layer_norm(x, np.ones(256, np.float32), np.zeros(256, np.float32)))
    assert unit.std(axis=-1) == pytest.approx(math.sqrt(255 / 256), rel=1e-5)
    constant = bert.layer_norm(np.ones((1, 256), np.float32), scale, shift)
    np.testing.assert_allclose(constant, shift[None], rtol=1e-6)  # no division by zero


def test_bert_equals_numpy():
    params, x = weights_of("bert"), NETWORKS["bert"].input(2, seed=1)
    assert_same(jax.jit(bert.apply)(params, x), np_bert(doubles(params), np.asarray(x, np.float64)))


def test_thin_dcgan_equals_numpy():
    shapes = [(100, 64 * 64 * 2), (3, 3, 2, 3), (3, 3, 3, 4), (3, 3, 4, 3)]
    shapes += [(3, 3, 3, 4), (3, 3, 4, 4), (3, 3, 4, 4), (3, 3, 4, 5), (16 * 16 * 5, 1)]
    rng = np.random.default_rng(0)
    params = []
    for *inputs, outputs in shapes:
        params.append(rng.standard_normal((*inputs, outputs), np.float32) / np.float32(math.prod(inputs) ** 0.5))
        params.append(rng.standard_normal(outputs, np.float32))
    z = uniform(2, 100)
    assert_same(jax.jit(dcgan.apply)(params, z), np_dcgan(doubles(params), z.astype(np.float64)))


def test_small_image_through_nasnet_equals_numpy():
    params, x = weights_of("nasnet_a"), uniform(1, 8, 8, 64)
    assert_same(jax.jit(nasnet.apply)(params, x), np_nasnet(doubles(params), x.astype(np.float64)))


@pytest.mark.parametrize(("name", "groups"), [("resnet50", 1), ("resnext50", 32)])
def test_small_image_through_resnet_equals_numpy(name, groups):
    params, x = weights_of(name), uniform(2, 8, 8, 64)
    assert_same(jax.jit(NETWORKS[name].apply)(params, x), np_resnet(doubles(params), x.astype(np.float64), groups))


def test_strided_block_in_three_dimensions_equals_numpy():
    x = uniform(1, 3, 6, 6, 8)
    params = [uniform(1, 1, 1, 8, 4), uniform(3, 3, 3, 4, 4), uniform(1, 1, 1, 4, 16), uniform(1, 1, 1, 8, 16)]
    w1, w2, w3, projection = doubles(params)
    x64 = x.astype(np.float64)
    y = np_conv(np_relu(np_conv(np_relu(np_conv(x64, w1)), w2, 2, 1)), w3)
    assert_same(resnet.bottleneck(params, x, stride=2), np_relu(y + np_conv(x64, projection, 2)))
