"""Arrays moved, cut, joined, sorted and looked up."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import jax.numpy as jnp
from jax import lax

from ..case import Case
from .shapes import f32, of, program


def cases() -> Iterator[Case]:
    """One program for each kind of movement."""
    x = f32(6, 10)
    yield program("transpositions", lambda x: (x.T + 1.0, jnp.moveaxis(x.reshape(2, 3, 10), 0, 2)), x)
    yield program("pieces", lambda x: x[1:5:2, ::-1] + x[:2], x)
    yield program("joined arrays", lambda x, y: jnp.concatenate([x, y, x * 2.0], 1), x, f32(6, 3))
    yield program("padded array", lambda x: jnp.pad(x, ((1, 2), (0, 3)), constant_values=0.5), x)
    yield program("rows looked up", lambda x, i: jnp.take(x, i, axis=0, mode="clip"), x, of("int32", 4))
    yield program("columns looked up", lambda x, i: x[:, i], x, of("int32", 7))
    yield program("rows added to", lambda x, i, y: x.at[i].add(y), x, of("int32", 4), f32(4, 10))
    yield program("piece at a place", lambda x, i: lax.dynamic_slice(x, (i, 0), (2, 10)), x, of("int32"))
    yield program(
        "piece put in a place", lambda x, y, i: lax.dynamic_update_slice(x, y, (i, 1)), x, f32(2, 3), of("int32")
    )
    yield program("sorted array", lambda x: jnp.sort(x, -1), x)
    yield program("largest few", lambda x: lax.top_k(x, 3), x)
    yield program("numbers counted up", lambda x: x + jnp.arange(10.0) * jnp.ones((6, 1)), x)
    yield program("images enlarged", lambda x: jnp.repeat(jnp.repeat(x, 2, 1), 2, 2), f32(1, 4, 5, 3))
    yield program("arguments returned", lambda x, y: (x, y * 2.0, x), x, f32(3))
    yield program("an array of the program", lambda x: x @ _constant() + 1.0, x)


def _constant() -> Any:
    return jnp.linspace(-1.0, 1.0, 40).reshape(10, 4)
