"""Loops and conditions, whose bodies are graphs of their own, and what must keep its place."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from ..case import Case
from .shapes import f32, of, program


def cases() -> Iterator[Case]:
    """Bodies, then barriers."""
    x, w = f32(4, 8), f32(8, 8)
    yield program("recurrent network", _recurrent, f32(5, 4, 8), f32(4, 8), w, w)
    yield program("loop", lambda x, w: lax.fori_loop(0, 3, lambda _, c: jnp.tanh(c @ w), x), x, w)
    yield program("while", _until, x, w)
    yield program("condition", lambda x, w: lax.cond(jnp.sum(x) > 0, lambda: x @ w, lambda: jax.nn.relu(x)), x, w)
    yield program("checkpoint", jax.grad(lambda x, w: jnp.sum(jax.checkpoint(_layer)(x, w))), x, w)
    yield program("random numbers", lambda key, x: x + jax.random.normal(key, x.shape), of("uint32", 2), x)
    yield program("dropout", _dropout, of("uint32", 2), x, w)
    yield program("a call to Python", _calls_python, x, w)
    yield program("a printed value", _prints, x, w)
    yield program("a barrier to optimisation", lambda x, w: lax.optimization_barrier(x @ w) + 1.0, x, w)


def _layer(x: Any, w: Any) -> Any:
    return jax.nn.gelu(x @ w)


def _recurrent(xs: Any, state: Any, w: Any, u: Any) -> Any:
    def step(state: Any, x: Any) -> tuple[Any, Any]:
        state = jnp.tanh(x @ w + state @ u)
        return state, jax.nn.softmax(state)

    return lax.scan(step, state, xs)


def _until(x: Any, w: Any) -> Any:
    done = lax.while_loop(lambda c: c[0] < 3, lambda c: (c[0] + 1, jax.nn.relu(c[1] @ w)), (0, x))
    return done[1]


def _dropout(key: Any, x: Any, w: Any) -> Any:
    y = x @ w
    return jnp.where(jax.random.bernoulli(key, 0.5, y.shape), y * 2.0, 0.0)


def _calls_python(x: Any, w: Any) -> Any:
    y = x @ w
    return jax.pure_callback(np.sin, jax.ShapeDtypeStruct(y.shape, y.dtype), y) @ w


def _prints(x: Any, w: Any) -> Any:
    y = x @ w
    jax.debug.print("{}", y[0, 0])
    return y + 1.0
