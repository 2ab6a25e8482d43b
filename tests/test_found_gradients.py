"""Axes of size 1 taken out of attention, and gradients of attention found in training steps: with no GPU, no CUDA."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from batch_norms import flax_batch_norm
from jax import lax

from collage_jax.graph.evaluate import evaluate
from collage_jax.graph.trace import trace_function
from collage_jax.graph.unit_axes import without_unit_axes
from collage_jax.patterns.composites import find_attention
from collage_jax.patterns.gradients import with_gradients
from collage_jax.patterns.matcher import Matcher
from collage_jax.patterns.recognise import recognise


def arrays(*shape, count=3, dtype=jnp.bfloat16):
    return [jax.random.normal(jax.random.key(i), shape, dtype) for i in range(count)]


def step_of(attention):
    """A training step around ``attention``, whose results something else computes from, too."""

    def loss(q, k, v):
        return (jnp.tanh(attention(jnp.sin(q), k, v).astype(jnp.float32)) ** 2).sum()

    return jax.value_and_grad(loss, (0, 1, 2))


def own(q, k, v):
    scores = jnp.einsum("bqhd,bkhd->bhqk", q, k, preferred_element_type=jnp.float32) / 4
    powers = jnp.exp(scores - scores.max(-1, keepdims=True))
    return jnp.einsum("bhqk,bkhd->bqhd", (powers / powers.sum(-1, keepdims=True)).astype(q.dtype), v)


def with_softmax(q, k, v):
    mask = jnp.tril(jnp.ones((q.shape[1], k.shape[1]), bool))
    scores = jnp.where(mask, jnp.einsum("bqhd,bkhd->bhqk", q, k) / 4, -1e4)
    return jnp.einsum("bhqk,bkhd->bqhd", jax.nn.softmax(scores), v)


def causal(q, k, v):
    return jax.nn.dot_product_attention(q, k, v, is_causal=True)


FORMS = [own, with_softmax, jax.nn.dot_product_attention, causal, jax.jit(causal)]


def same(graph, other, args):
    for a, b in zip(evaluate(graph, *args), evaluate(other, *args), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("form", FORMS[2:])
def test_jax_attention_is_one_attention_without_axes_of_size_1(form, batch):
    args = arrays(batch, 8, 2, 16)
    graph = trace_function(form, *args)
    assert not list(find_attention(Matcher(graph)))
    smaller = without_unit_axes(graph)
    same(graph, smaller, args)
    (found,) = find_attention(Matcher(smaller))
    assert found.root.out.ndim == 4


def test_of_rows_and_axes_of_size_1_none_is_taken_out():
    """Which of them are the rows is not to be seen."""
    graph = trace_function(jax.nn.dot_product_attention, *arrays(2, 1, 1, 16))
    assert without_unit_axes(graph) is graph


def test_nothing_else_is_touched():
    graph = trace_function(
        lambda q, k, v: (jnp.einsum("bqhd,bkhd->bhqk", q, k) @ v.swapaxes(1, 2))[:1] * 2, *arrays(2, 8, 2, 16)
    )
    assert without_unit_axes(graph) is graph


def test_an_axis_of_size_1_that_meets_a_longer_one_is_kept():
    def normalised(q, k):
        scores = lax.dot_general(q, k, (((3,), (1,)), ((0,), (0,))))
        total = lax.reshape(jnp.sum(scores * scores, axis=0), (1, 1, 5))
        return scores * lax.rsqrt(total)

    args = [*arrays(3, 1, 5, 4, count=1, dtype=jnp.float32), *arrays(3, 4, count=1, dtype=jnp.float32)]
    graph = trace_function(normalised, *args)
    smaller = without_unit_axes(graph)
    assert smaller is not graph
    same(graph, smaller, args)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("form", FORMS)
def test_the_gradient_is_found_and_set_apart(form, batch, dtype):
    args = arrays(batch, 8, 2, 16, dtype=dtype)
    graph = without_unit_axes(trace_function(step_of(form), *args))
    apart = with_gradients(graph)
    (gradient,) = apart.wholes
    region = gradient.region(apart)
    assert region.is_convex and len(region.exits) == 3
    given = {gradient.cotangent, *gradient.inputs}
    assert set(region.entries) <= given
    # The forward pass keeps nothing for it.
    (forward,) = find_attention(Matcher(apart))
    assert not set(forward.nodes) & set(region.nodes)
    if dtype == jnp.bfloat16:  # XLA's CPU compiler has no products in float16 as jax.nn wants them
        same(graph, apart, args)


def test_gradients_of_several_layers_are_found_each():
    def model(w, x):
        for each in w:
            q, k, v = (jnp.einsum("bsd,dhe->bshe", x, m) for m in each)
            x = x + jax.nn.dot_product_attention(q, k, v).reshape(x.shape)
        return (x.astype(jnp.float32) ** 2).sum()

    args = [jnp.ones((3, 3, 32, 2, 16), jnp.bfloat16), jnp.ones((2, 8, 32), jnp.bfloat16)]
    graph = with_gradients(without_unit_axes(trace_function(jax.grad(model), *args)))
    regions = [gradient.region(graph) for gradient in graph.wholes]
    assert len(regions) == 3 and not set.intersection(*(set(r.nodes) for r in regions))


def flax_layer_norm(x, scale, shift):
    x, scale, shift = (a.astype(jnp.float32) for a in (x, scale, shift))
    mean, square = x.mean(-1), (x * x).mean(-1)
    factor = jax.lax.rsqrt(jnp.maximum(0.0, square - mean * mean)[..., None] + 1e-6) * scale
    return (x - mean[..., None]) * factor + shift


def rms_norm(x, scale):
    x = x.astype(jnp.float32)
    return x * jax.lax.rsqrt((x * x).mean(-1, keepdims=True) + 1e-6) * scale


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
@pytest.mark.parametrize("norm", [flax_layer_norm, rms_norm])
def test_the_gradient_of_a_norm_is_found(norm, dtype):
    (x,), vectors = arrays(2, 8, 16, count=1, dtype=dtype), arrays(16, count=norm.__code__.co_argcount - 1, dtype=dtype)

    def loss(x, *vectors):
        return (jnp.tanh(norm(jnp.sin(x), *vectors).astype(x.dtype)).astype(jnp.float32) ** 2).sum()

    graph = trace_function(jax.value_and_grad(loss, tuple(range(1 + len(vectors)))), x, *vectors)
    apart = with_gradients(graph)
    (gradient,) = apart.wholes
    assert gradient.op == norm.__name__.removeprefix("flax_")
    assert gradient.region(apart).is_convex and len(gradient.results) == 1 + len(vectors)
    same(graph, apart, [x, *vectors])
    assert any(node.op == gradient.op for node in recognise(apart).nodes)  # the forward pass is a norm again


def test_what_is_no_gradient_of_attention_is_left_alone():
    def penalised(q, k, v):
        weights = jax.nn.softmax(jnp.einsum("bqhd,bkhd->bhqk", q, k) / 4)
        return jnp.einsum("bhqk,bkhd->bqhd", weights, v) * weights.sum()  # the weights have another reader

    args = arrays(2, 8, 2, 16)
    for function in (step_of(penalised), lambda q, k, v: own(q, k, v) + 1):
        graph = trace_function(function, *args)
        assert not with_gradients(graph).wholes
    assert not with_gradients(trace_function(step_of(own), *arrays(2, 8, 2, 16, dtype=jnp.float32))).wholes


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_a_batch_norm_is_found_with_the_statistics_that_it_gives_out(dtype):
    """And its gradient, which reads them; of two that are added the second has one result from the first."""

    def loss(x, z, vectors):
        first, *given_out = flax_batch_norm(jnp.sin(x), *vectors[:2])
        second, mean, variance = flax_batch_norm(jnp.cos(z), *vectors[2:])
        return (jnp.tanh((first + second).astype(jnp.float32)) ** 2).sum(), (given_out, mean, variance)

    images, vectors = arrays(2, 4, 4, 8, count=2, dtype=dtype), arrays(8, count=4, dtype=jnp.float32)
    graph = trace_function(jax.value_and_grad(loss, (0, 1, 2), has_aux=True), *images, vectors)
    apart = with_gradients(graph)
    assert sorted(w.title for w in apart.wholes) == sorted(["batch_norm_with_statistics"] * 2 + GRADIENTS)
    assert sorted(len(w.made) for w in apart.wholes) == [2, 3, 3, 3]
    for whole in apart.wholes:
        region = whole.region(apart)
        assert region.is_convex and set(region.entries) <= set(whole.given)
    same(graph, apart, [*images, *vectors])


GRADIENTS = ["batch_norm_with_statistics_gradient"] * 2


def test_a_norm_by_other_axes_is_no_batch_norm():
    def loss(x):
        mean = x.mean((1, 2), keepdims=True)
        return jnp.tanh((x - mean) * lax.rsqrt(((x - mean) ** 2).mean((1, 2), keepdims=True) + 1e-5)).sum(), mean

    (x,) = arrays(2, 4, 4, 8, count=1, dtype=jnp.float32)
    assert not with_gradients(trace_function(jax.grad(loss, has_aux=True), x)).wholes


def flax_layer_norm_in_16_bits(x, scale, shift):
    """As Flax writes it: x converted for the statistics, and once more where the mean is subtracted."""
    wide = x.astype(jnp.float32)
    mean, square = wide.mean(-1, keepdims=True), lax.square(wide).mean(-1, keepdims=True)
    variance = jnp.maximum(0.0, square - lax.square(mean))
    return ((x - mean) * (lax.rsqrt(variance + 1e-5) * scale) + shift).astype(x.dtype)


def test_the_gradient_of_a_norm_that_converts_twice_is_found():
    (x,), vectors = arrays(2, 8, 16, count=1), arrays(16, count=2, dtype=jnp.float32)

    def loss(x, *vectors):
        return (jnp.tanh(flax_layer_norm_in_16_bits(jnp.sin(x), *vectors)).astype(jnp.float32) ** 2).sum()

    graph = trace_function(jax.grad(loss, (0, 1, 2)), x, *vectors)
    apart = with_gradients(graph)
    (gradient,) = apart.wholes
    assert gradient.title == "layer_norm_gradient" and gradient.region(apart).is_convex
    same(graph, apart, [x, *vectors])
