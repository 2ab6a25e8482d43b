"""Matrix products, with what may follow them, in several dtypes and with odd sizes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from ..case import Case
from .shapes import f32, of, program


def cases() -> Iterator[Case]:
    """Products by themselves and with tails."""
    yield program("product", jnp.dot, f32(8, 16), f32(16, 24))
    yield program("product with odd sizes", jnp.dot, f32(7, 33), f32(33, 17))
    yield program("product of long rows", jnp.dot, f32(3, 515), f32(515, 5))
    yield program("product of vectors", jnp.dot, f32(31), f32(31))
    yield program("product with a vector", jnp.dot, f32(9, 20), f32(20))
    yield program("product of empty arrays", jnp.dot, f32(0, 8), f32(8, 4))
    yield program("product over nothing", jnp.dot, f32(4, 0), f32(0, 3))
    yield program("transposed product", lambda x, w: x @ w.T, f32(6, 12), f32(10, 12))
    yield program(
        "product of first dimensions",
        lambda x, w: lax.dot_general(x, w, (((0,), (0,)), ((), ()))),
        f32(12, 6),
        f32(12, 10),
    )
    yield program("batched product", lambda x, w: jnp.einsum("bij,bjk->bik", x, w), f32(3, 5, 7), f32(3, 7, 4))
    yield program(
        "product of many axes", lambda x, w: jnp.einsum("bsij,ijhd->bshd", x, w), f32(2, 5, 3, 4), f32(3, 4, 2, 6)
    )
    yield program("outer product", jnp.outer, f32(5), f32(7))
    yield program("exact product", lambda x, w: jnp.dot(x, w, precision="highest"), f32(6, 40), f32(40, 9))
    yield program("product of an array with itself", lambda x: x @ x, f32(12, 12))
    for dtype in ("bfloat16", "float16"):
        yield program(f"product in {dtype}", jnp.dot, of(dtype, 8, 16), of(dtype, 16, 24))
        yield program(
            f"product in {dtype} with a tail", _dense_relu, of(dtype, 8, 16), of(dtype, 16, 24), of(dtype, 24)
        )
    yield program("product of mixed dtypes", _into_float32, of("bfloat16", 8, 16), of("bfloat16", 16, 8))
    yield program("product of a float and a half", lambda x, w: x @ w, f32(8, 16), of("bfloat16", 16, 8))
    yield program("product of int8", _into_int32, of("int8", 8, 40), of("int8", 40, 12))
    yield program("product of int8, scaled", _scaled, of("int8", 8, 40), of("int8", 40, 12), f32(12))
    yield program("product of int32", jnp.dot, of("int32", 5, 6), of("int32", 6, 7))
    yield from _tails()


def _tails() -> Iterator[Case]:
    x, w, bias, residual = f32(9, 20), f32(20, 33), f32(33), f32(9, 33)
    yield program("product + bias", lambda x, w, b: x @ w + b, x, w, bias)
    yield program("product + bias + relu", _dense_relu, x, w, bias)
    yield program("product + bias + gelu", lambda x, w, b: jax.nn.gelu(x @ w + b), x, w, bias)
    yield program("product + bias + exact gelu", lambda x, w, b: jax.nn.gelu(x @ w + b, approximate=False), x, w, bias)
    yield program("product + bias + silu", lambda x, w, b: jax.nn.silu(x @ w + b), x, w, bias)
    yield program("product + bias + tanh", lambda x, w, b: jnp.tanh(x @ w + b), x, w, bias)
    yield program("product + residual", lambda x, w, r: r + x @ w, x, w, residual)
    yield program("product + bias + residual + relu", _residual, x, w, bias, residual)
    yield program("product, scaled and clipped", lambda x, w: jnp.clip(x @ w * 0.25, -1.0, 1.0), x, w)
    yield program("product + column bias", lambda x, w, b: x @ w + b[:, None], x, w, f32(9))
    yield program("product used twice", _used_twice, x, w)
    yield program("two products of one array", lambda x, v, w: jax.nn.silu(x @ v) * (x @ w), x, w, w)
    yield program("two layers", lambda x, v, w: jax.nn.relu(x @ v) @ w, x, w, f32(33, 10))


def _dense_relu(x: Any, w: Any, b: Any) -> Any:
    return jax.nn.relu(x @ w + b)


def _residual(x: Any, w: Any, b: Any, r: Any) -> Any:
    return jax.nn.relu(x @ w + b + r)


def _used_twice(x: Any, w: Any) -> Any:
    y = x @ w
    return y, jax.nn.relu(y)


def _into_float32(x: Any, w: Any) -> Any:
    return jnp.dot(x, w, preferred_element_type=jnp.float32)


def _into_int32(x: Any, w: Any) -> Any:
    return jnp.dot(x, w, preferred_element_type=jnp.int32)


def _scaled(x: Any, w: Any, scale: Any) -> Any:
    return _into_int32(x, w).astype(jnp.float32) * scale
