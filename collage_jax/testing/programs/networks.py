"""What networks are made of: normalisation, softmax, attention, embeddings, layers and their gradients."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from ..case import Case
from .shapes import f32, of, program


def cases() -> Iterator[Case]:
    """Layers by themselves, then together."""
    x = f32(6, 37)
    yield program("softmax", jax.nn.softmax, x)
    yield program("softmax of columns", lambda x: jax.nn.softmax(x, 0), x)
    yield program("log softmax", jax.nn.log_softmax, x)
    yield program("masked softmax", lambda x, keep: jax.nn.softmax(jnp.where(keep, x, -1e9)), x, of("bool", 6, 37))
    yield program("softmax in bfloat16", jax.nn.softmax, of("bfloat16", 5, 24))
    yield program("sum of exponentials", lambda x: jax.nn.logsumexp(x, -1), x)
    yield program("layer norm", layer_norm, x, f32(37), f32(37))
    yield program("layer norm in bfloat16", layer_norm, of("bfloat16", 4, 32), of("bfloat16", 32), of("bfloat16", 32))
    yield program(
        "rms norm", lambda x, scale: x * lax.rsqrt(jnp.mean(x * x, -1, keepdims=True) + 1e-6) * scale, x, f32(37)
    )
    yield program("layer norm of a residual", lambda x, y, s, b: layer_norm(x + y, s, b), x, x, f32(37), f32(37))
    yield program("gelu", jax.nn.gelu, x)
    yield program("exact gelu", lambda x: jax.nn.gelu(x, approximate=False), x)
    yield program("attention", attention, *[f32(2, 3, 10, 8)] * 3)
    yield program("attention with a mask", attention, *[f32(2, 3, 10, 8)] * 3, of("bool", 10, 10))
    yield program("attention in bfloat16", attention, *[of("bfloat16", 1, 2, 9, 16)] * 3)
    yield program("embedding", lambda table, i: table[i] * 2.0, f32(11, 6), of("int32", 5))
    yield program("gradient of an embedding", jax.grad(_embedding_loss), f32(11, 6), of("int32", 5))
    yield program("one-hot labels", _cross_entropy, f32(5, 4), of("int32", 5))
    yield program("gradient of a perceptron", jax.value_and_grad(_perceptron_loss), _weights(), f32(5, 8))
    yield program(
        "gradient of a layer norm",
        jax.grad(lambda x, s, b: jnp.sum(jnp.sin(layer_norm(x, s, b))), (0, 1)),
        x,
        f32(37),
        f32(37),
    )
    yield program(
        "transformer block", transformer_block, f32(1, 7, 16), f32(16, 48), f32(16, 16), f32(16, 32), f32(32, 16)
    )


def layer_norm(x: Any, scale: Any, shift: Any) -> Any:
    """Rows of mean 0 and variance 1, scaled and shifted."""
    mean = jnp.mean(x, -1, keepdims=True)
    variance = jnp.mean(jnp.square(x - mean), -1, keepdims=True)
    return (x - mean) * lax.rsqrt(variance + 1e-5) * scale + shift


def attention(q: Any, k: Any, v: Any, mask: Any = None) -> Any:
    """Scaled products of ``[batch, heads, length, depth]``."""
    scores = jnp.einsum("bhqd,bhkd->bhqk", q, k) / q.shape[-1] ** 0.5
    if mask is not None:
        scores = jnp.where(mask, scores, jnp.finfo(scores.dtype).min)
    return jnp.einsum("bhqk,bhkd->bhqd", jax.nn.softmax(scores), v)


def transformer_block(x: Any, qkv: Any, out: Any, up: Any, down: Any) -> Any:
    """Attention with two heads, then a perceptron, each added to what came in."""
    batch, length, width = x.shape
    split = jnp.moveaxis((x @ qkv).reshape(batch, length, 3, 2, width // 2), 2, 0)
    q, k, v = (jnp.swapaxes(each, 1, 2) for each in split)
    x = x + jnp.swapaxes(attention(q, k, v), 1, 2).reshape(batch, length, width) @ out
    return x + jax.nn.gelu(x @ up) @ down


def _weights() -> list[tuple[Any, Any]]:
    return [(f32(8, 12), f32(12)), (f32(12, 3), f32(3))]


def _perceptron_loss(weights: Any, x: Any) -> Any:
    for w, b in weights:
        x = jnp.tanh(x @ w + b)
    return jnp.mean(jnp.square(x))


def _embedding_loss(table: Any, i: Any) -> Any:
    return jnp.sum(jnp.square(table[i]))


def _cross_entropy(logits: Any, labels: Any) -> Any:
    return -jnp.mean(jnp.sum(jax.nn.log_softmax(logits) * jax.nn.one_hot(labels, logits.shape[-1]), -1))
