"""Channels-first programs are turned, their numbers stay; zeros around an array become a convolution's padding."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import placing
import pytest
from jax import lax

from collage_jax.graph.channels_last import channels_last
from collage_jax.graph.evaluate import evaluate
from collage_jax.graph.padding import fold_padding
from collage_jax.graph.trace import trace_function

FIRST = ("NCHW", "OIHW", "NCHW")


def normal(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape, np.float32)


def conv(x, w, stride=1, padding=1, **options):
    return lax.conv_general_dilated(x, w, (stride,) * 2, [(padding,) * 2] * 2, dimension_numbers=FIRST, **options)


def affine(y, v):
    return y * v[None, :, None, None] + v[:, None, None]


def residual(x, w, v):
    y = jax.nn.relu(affine(conv(x, w), v))
    return jax.nn.relu(affine(conv(y, w), v) + conv(x, w, padding=1)).mean((2, 3))


def pooled(x, w, v):
    y = lax.reduce_window(conv(x, w), -jnp.inf, lax.max, (1, 1, 3, 3), (1, 1, 2, 2), ((0, 0), (0, 0), (1, 1), (1, 0)))
    return jnp.pad(conv(y, w, 2), ((0, 0), (1, 2), (0, 1), (3, 0)), constant_values=2.0)


def squeezed(x, w, v):
    y = conv(x, w)
    gate = jax.nn.sigmoid(y.mean((2, 3)) @ normal(8, 8, seed=7))
    return jnp.concatenate([conv(y * gate[:, :, None, None], w), y], 1)


def grouped(x, w, v):
    y = conv(x, normal(8, 1, 3, 3, seed=5), feature_group_count=8)
    return jnp.argmax(jax.nn.gelu(y), 1).astype(jnp.float32) + y.sum(1) + y.sum((0, 3)).max(0)


def mixed(x, w, v):
    """Some of it is read in the program's own order too."""
    y = conv(x, w)
    return y.reshape(2, -1)[:, ::3].sum(1), y.transpose(0, 2, 3, 1), jnp.where(y > 0, y, jnp.cos(x))


def by_image(x, w, v):
    def one(image):
        y = jax.nn.relu(conv(image[None], w)[0] + v[:, None, None])
        return conv(y[None], w)[0]

    return jax.vmap(one)(x)


def gradients(x, w, v):
    def loss(x, w, v):
        return jnp.sum(residual(x, w, v) ** 2)

    return jax.grad(loss, (0, 1, 2))(x, w, v)


PROGRAMS = [residual, pooled, squeezed, grouped, mixed, by_image, gradients]


def results(graph, *arguments):
    return [np.asarray(r) for r in evaluate(graph, *arguments)]


@pytest.mark.parametrize("fun", PROGRAMS)
def test_turned_programs_have_the_same_numbers(fun):
    x, w, v = normal(2, 8, 9, 9), normal(8, 8, 3, 3, seed=1), normal(8, seed=2)
    graph = trace_function(fun, x, w, v)
    turned = channels_last(graph)
    wanted, got = results(graph, x, w, v), results(turned, x, w, v)
    for a, b in zip(got, wanted, strict=True):
        assert a.shape == b.shape and a.dtype == b.dtype
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4 * np.abs(b).max())
    convs = [node for node in turned.nodes if node.op == "conv_general_dilated"]
    assert convs and all(1 not in map(int, node.params["dimension_numbers"].out_spec[:2]) for node in convs)


@pytest.mark.parametrize("fun", [residual, by_image])
def test_nothing_but_the_ends_is_transposed(fun):
    shapes = [jax.ShapeDtypeStruct(s, jnp.float32) for s in ((2, 8, 9, 9), (8, 8, 3, 3), (8,))]
    turned = channels_last(trace_function(fun, *shapes))
    transposed = [node for node in turned.nodes if node.op == "transpose" and node.out.size > 8]
    assert len(transposed) <= 3  # the image, the kernel, and the result where it keeps its pixels
    assert not [node for node in turned.nodes if node.op in ("reshape", "squeeze")]


def test_programs_without_channels_first_stay_as_they_are():
    def last(x, w):
        return lax.conv_general_dilated(x, w, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))

    for fun, arguments in (
        (last, (normal(1, 8, 8, 4), normal(3, 3, 4, 4))),
        (jnp.matmul, (normal(3, 4), normal(4, 5))),
    ):
        graph = trace_function(fun, *arguments)
        assert channels_last(graph) is graph


def test_channels_first_convolutions_get_kernels_with_what_follows_them():
    x, w, v = normal(2, 32, 12, 12), normal(32, 32, 3, 3, seed=1), normal(32, seed=2)
    got, convs, left = placing.placed(residual, x, w, v)
    wanted = np.asarray(jax.jit(residual)(x, w, v))
    np.testing.assert_allclose(np.asarray(got[0]), wanted, rtol=1e-4, atol=1e-4 * np.abs(wanted).max())
    assert left == 0 and convs.total() == 2  # the first serves twice


def padded(x, w, **options):
    y = jnp.pad(x, ((0, 0), (1, 2), (0, 3), (0, 0)), **options)
    return lax.conv_general_dilated(y, w, (2, 1), ((1, 0), (0, 2)), dimension_numbers=("NHWC", "HWIO", "NHWC"))


def test_zeros_around_an_array_become_the_padding_of_its_convolution():
    x, w = normal(2, 7, 8, 3), normal(3, 3, 3, 5)
    graph = trace_function(padded, x, w)
    folded = fold_padding(graph)
    assert [node.op for node in folded.nodes] == ["conv_general_dilated"]
    assert [tuple(map(int, p)) for p in folded.nodes[0].params["padding"]] == [(2, 2), (0, 5)]
    np.testing.assert_allclose(*results(folded, x, w), *results(graph, x, w), rtol=1e-5, atol=1e-5)


def ones_around(x, w):
    return padded(x, w, constant_values=1.0)


def more_channels(x, w):
    y = lax.pad(x[..., :2], np.float32(0), ((0, 0, 0), (0, 0, 0), (0, 0, 0), (1, 0, 0)))
    return lax.conv_general_dilated(y, w, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))


def gaps(x, w):
    y = lax.pad(x, np.float32(0), ((0, 0, 0), (0, 0, 1), (0, 0, 0), (0, 0, 0)))
    return lax.conv_general_dilated(y, w, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))


def cut(x, w):
    y = lax.pad(x, np.float32(0), ((0, 0, 0), (-1, 2, 0), (0, 0, 0), (0, 0, 0)))
    return lax.conv_general_dilated(y, w, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))


@pytest.mark.parametrize("fun", [ones_around, more_channels, gaps, cut])
def test_other_padding_stays(fun):
    graph = trace_function(fun, normal(2, 7, 8, 3), normal(3, 3, 3, 5))
    assert fold_padding(graph) is graph
