"""BERT: eight pre-norm transformer blocks on an embedded sequence of 64 positions, hidden size 256, 8 heads."""

import math

import jax
import jax.numpy as jnp

from .layers import dense
from .network import Network, bias, dense_weight, scale

BLOCKS, HEADS, SEQUENCE, HIDDEN, FEED_FORWARD = 8, 8, 64, 256, 1024


def _block_weights():
    sizes = [(HIDDEN, HIDDEN)] * 4 + [(HIDDEN, FEED_FORWARD), (FEED_FORWARD, HIDDEN)]
    for inputs, outputs in sizes:  # q, k, v, o, f1, f2
        yield from (dense_weight(inputs, outputs), bias(outputs))
    for _ in range(2):
        yield from (scale(HIDDEN), bias(HIDDEN))


def layer_norm(x: jax.Array, scale: jax.Array, shift: jax.Array) -> jax.Array:
    """Normalizes the last axis by its *unbiased* standard deviation, with epsilon outside the square root."""
    centred = x - jnp.mean(x, axis=-1, keepdims=True)
    variance = jnp.sum(jnp.square(centred), axis=-1, keepdims=True) / (x.shape[-1] - 1)
    return scale * centred / (jnp.sqrt(variance) + 1e-6) + shift


def attention(q: jax.Array, k: jax.Array, v: jax.Array) -> jax.Array:
    """Multi-head attention without a mask; all `(batch, sequence, hidden)`."""
    b, s, hidden = q.shape
    q, k, v = (t.reshape(b, s, HEADS, hidden // HEADS).transpose(0, 2, 1, 3) for t in (q, k, v))
    scores = jnp.einsum("bhqd,bhkd->bhqk", q, k) / math.sqrt(hidden // HEADS)
    out = jnp.einsum("bhqk,bhkd->bhqd", jax.nn.softmax(scores, axis=-1), v)
    return out.transpose(0, 2, 1, 3).reshape(b, s, hidden)


def block(params, x):
    """One transformer block: attention, then the feed-forward pair, each added to what it read."""
    wq, bq, wk, bk, wv, bv, wo, bo, w1, b1, w2, b2, scale1, shift1, scale2, shift2 = params
    n = layer_norm(x, scale1, shift1)
    x = x + dense(attention(dense(n, wq, bq), dense(n, wk, bk), dense(n, wv, bv)), wo, bo)
    n = layer_norm(x, scale2, shift2)
    return x + dense(jax.nn.relu(dense(n, w1, b1)), w2, b2)


def apply(params, x):
    """`x`: `(batch, 64, 256)`, the result likewise; `params`: 16 tensors a block."""
    for first in range(0, len(params), 16):
        x = block(params[first : first + 16], x)
    return x


BERT = Network(
    name="bert",
    title="BERT",
    apply=apply,
    weights=tuple(weight for _ in range(BLOCKS) for weight in _block_weights()),
    input_dims=(SEQUENCE, HIDDEN),
    output_dims=(SEQUENCE, HIDDEN),
    gflops=0.839,
)
