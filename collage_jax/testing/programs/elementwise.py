"""Elementwise chains, reductions and pooling."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from ..case import Case
from .shapes import f32, of, program


def cases() -> Iterator[Case]:
    """Chains, then reductions, then windows."""
    x, y = f32(13, 29), f32(13, 29)
    yield program("sum of arrays", lambda x, y: x + y, x, y)
    yield program("chain", lambda x, y: jnp.tanh(x * y + 1.0) - jnp.exp(-jnp.abs(x)) / 3.0, x, y)
    yield program("chain with broadcasts", lambda x, a, b: (x - a) * b[:, None] + 0.5, x, f32(29), f32(13))
    yield program("comparisons", lambda x, y: jnp.where((x > y) & (x < 1.0), x, jnp.minimum(y, 0.0)), x, y)
    yield program("activations", _activations, x)
    yield program("scalars", lambda x, y: jnp.maximum(x * 2.0 + y, 0.0), f32(), f32())
    yield program("one element", lambda x: jax.nn.sigmoid(x) + 1.0, f32(1, 1))
    yield program("nothing", lambda x: jnp.exp(x) * 2.0, f32(4, 0))
    yield program("integers", lambda a, b: (a * b + 7) // 3 - (a << 1), of("int32", 9, 5), of("int32", 9, 5))
    yield program("truth values", lambda a, b: a & ~b | (a ^ b), of("bool", 17), of("bool", 17))
    yield program("complex numbers", lambda z: jnp.exp(z) * jnp.conj(z), of("complex64", 3, 8))
    for dtype in ("bfloat16", "float16", "int8"):
        yield program(f"chain in {dtype}", lambda x, y: jnp.maximum(x + y, 0) * x, of(dtype, 12, 20), of(dtype, 12, 20))
    yield program("conversions", lambda x: (x * 4.0).astype(jnp.int32).astype(jnp.bfloat16) + 1, x)
    yield from _reductions()
    yield from _windows()


def _activations(x: Any) -> Any:
    functions = (
        jax.nn.relu,
        jax.nn.elu,
        jax.nn.softplus,
        jax.nn.silu,
        jax.nn.hard_swish,
        jax.nn.leaky_relu,
        jax.nn.mish,
    )
    return [function(x) for function in functions]


def _reductions() -> Iterator[Case]:
    yield program("sum", lambda x: jnp.sum(x), f32(7, 65))
    yield program("sum of rows", lambda x: jnp.sum(x, 1), f32(7, 65))
    yield program("mean of columns", lambda x: jnp.mean(x, 0, keepdims=True), f32(33, 6))
    yield program("largest and smallest", lambda x: (jnp.max(x, -1), jnp.min(x, 0)), f32(5, 6, 7))
    yield program("sum over nothing", lambda x: jnp.sum(x, 0), f32(0, 5))
    yield program("places of the largest", lambda x: jnp.argmax(x, -1), f32(6, 31))
    yield program("products and truth", lambda x: (jnp.prod(x, 1), jnp.any(x > 1.0), jnp.all(x < 9.0, 0)), f32(4, 5))
    yield program("variance", lambda x: jnp.var(x, -1), f32(6, 40))
    yield program("running sums", lambda x: (jnp.cumsum(x, 0), jnp.cumsum(x, 1)), f32(9, 14))
    yield program("running extremes", lambda x: (lax.cummax(x, 0), lax.cummin(x, 1, reverse=True)), f32(9, 14))
    yield program("sum in bfloat16", lambda x: jnp.sum(x, -1), of("bfloat16", 6, 70))
    yield program("sum of int8", lambda x: jnp.sum(x, 0, dtype=jnp.int32), of("int8", 30, 4))


def _windows() -> Iterator[Case]:
    x = f32(1, 9, 10, 6)
    yield program("largest of windows", partial(_window, lax.max, -jnp.inf, 2, 2, "VALID"), x)
    yield program("largest of padded windows", partial(_window, lax.max, -jnp.inf, 3, 2, "SAME"), x)
    yield program("sum of windows", partial(_window, lax.add, 0.0, 3, 1, "SAME"), x)
    yield program("mean of windows", lambda x: _window(lax.add, 0.0, 2, 2, "VALID", x) / 4.0, x)
    yield program("mean of an image", lambda x: jnp.mean(x, (1, 2)), x)
    yield program(
        "largest of windows in bfloat16", partial(_window, lax.max, -jnp.inf, 3, 2, "SAME"), of("bfloat16", 1, 9, 9, 8)
    )
    yield program(
        "gradient of the largest of windows",
        jax.grad(lambda x: jnp.sum(_window(lax.max, -jnp.inf, 2, 2, "VALID", x))),
        x,
    )


def _window(reduce: Any, start: float, size: int, stride: int, padding: str, x: Any) -> Any:
    return lax.reduce_window(x, start, reduce, (1, size, size, 1), (1, stride, stride, 1), padding)
