"""Running operations as loops.

XLA has none of its own: JAX makes a tree of slices and additions, each of which goes over the array again. A loop goes
over it once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax.numpy as jnp
from jax import lax

#: What each operation does with two values.
OPERATIONS: Mapping[str, Callable[[Any, Any], Any]] = {"cumsum": lax.add, "cummax": lax.max, "cummin": lax.min}


def running(operation: str, x: Any, axis: int, reverse: bool = False) -> Any:
    """``x`` with each value joined by ``operation`` to all before it along ``axis`` (after it, if ``reverse``)."""
    is_inside = 0 < axis < x.ndim - 1
    return (_in_place if is_inside else _in_front)(OPERATIONS[operation], x, axis, reverse)


def _in_front(combine: Callable[[Any, Any], Any], x: Any, axis: int, reverse: bool) -> Any:
    """With ``axis`` as the first one, so that what a step reads and writes lies together."""

    def step(carried: Any, row: Any) -> tuple[Any, Any]:
        carried = combine(carried, row)
        return carried, carried

    rows = jnp.moveaxis(x, axis, 0)
    rows = jnp.flip(rows, 0) if reverse else rows
    _, others = lax.scan(step, rows[0], rows[1:])
    results = jnp.concatenate([rows[:1], others])
    return jnp.moveaxis(jnp.flip(results, 0) if reverse else results, 0, axis)


def _in_place(combine: Callable[[Any, Any], Any], x: Any, axis: int, reverse: bool) -> Any:
    """Each step writes its result where it belongs: moving an axis that stands inside would cost as much as sums do."""
    length = x.shape[axis]

    def step(i: Any, state: tuple[Any, Any]) -> tuple[Any, Any]:
        carried, result = state
        place = length - 1 - i if reverse else i
        carried = combine(carried, lax.dynamic_index_in_dim(x, place, axis, keepdims=True))
        return carried, lax.dynamic_update_slice_in_dim(result, carried, place, axis)

    start = length - 1 if reverse else 0
    first = lax.slice_in_dim(x, start, start + 1, axis=axis)
    result = lax.dynamic_update_slice_in_dim(jnp.zeros_like(x), first, start, axis)
    return lax.fori_loop(1, length, step, (first, result))[1]
