"""Running operations as loops.

XLA has none of its own: JAX makes a tree of slices and additions, each of which goes over the array again. A loop goes
over it once, if each step has enough to do. Where the values beside the axis are few, the axis is cut into blocks: the
loop goes through all blocks at once, and what comes before each block is added afterwards.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import isqrt
from typing import Any

import jax.numpy as jnp
from jax import lax

#: What each operation does with two values.
OPERATIONS: Mapping[str, Callable[[Any, Any], Any]] = {"cumsum": lax.add, "cummax": lax.max, "cummin": lax.min}

#: A step of the loop should have so many values to work on.
WIDE = 256


def running(operation: str, x: Any, axis: int, reverse: bool = False) -> Any:
    """``x`` with each value joined by ``operation`` to all before it along ``axis`` (after it, if ``reverse``)."""
    combine, start = OPERATIONS[operation], neutral(operation, x.dtype)
    if reverse:
        return jnp.flip(running(operation, jnp.flip(x, axis), axis), axis)
    inner = x.size // max(1, x.shape[axis] * _before(x, axis))
    return _loop(combine, x, axis) if inner >= WIDE else _blocks(combine, start, x, axis)


def neutral(operation: str, dtype: Any) -> Any:
    """What changes no value that it is joined to."""
    if operation == "cumsum":
        return jnp.zeros((), dtype)
    least = operation == "cummax"
    if jnp.issubdtype(dtype, jnp.floating):
        return jnp.asarray(-jnp.inf if least else jnp.inf, dtype)
    return jnp.asarray(jnp.iinfo(dtype).min if least else jnp.iinfo(dtype).max, dtype)


def _loop(combine: Callable[[Any, Any], Any], x: Any, axis: int) -> Any:
    """One step for each place along ``axis``, written where it belongs."""

    def step(i: Any, state: tuple[Any, Any]) -> tuple[Any, Any]:
        carried, result = state
        carried = combine(carried, lax.dynamic_index_in_dim(x, i, axis, keepdims=True))
        return carried, lax.dynamic_update_slice_in_dim(result, carried, i, axis)

    first = lax.slice_in_dim(x, 0, 1, axis=axis)
    started = lax.dynamic_update_slice_in_dim(jnp.zeros_like(x), first, 0, axis)
    return lax.fori_loop(1, x.shape[axis], step, (first, started))[1]


def _blocks(combine: Callable[[Any, Any], Any], start: Any, x: Any, axis: int) -> Any:
    """The loop over blocks side by side, then over their last values."""
    length = x.shape[axis]
    size = max(1, isqrt(length))
    count = -(-length // size)
    rows = jnp.moveaxis(x, axis, -1).reshape(-1, length)
    padded = jnp.pad(rows, ((0, 0), (0, count * size - length)), constant_values=start)
    # [place in the block, row, block]: what a step works on lies together.
    inside = _loop(combine, jnp.transpose(padded.reshape(-1, count, size), (2, 0, 1)), 0)
    ends = jnp.transpose(inside[-1])
    before = jnp.concatenate([jnp.full_like(ends[:1], start), _loop(combine, ends, 0)[:-1]])
    joined = jnp.transpose(combine(inside, jnp.transpose(before)[None]), (1, 2, 0))
    beside = jnp.moveaxis(x, axis, -1).shape
    return jnp.moveaxis(joined.reshape(-1, count * size)[:, :length].reshape(beside), -1, axis)


def _before(x: Any, axis: int) -> int:
    """How many values lie beside each other along the axes before ``axis``."""
    count = 1
    for n in x.shape[:axis]:
        count *= n
    return count
