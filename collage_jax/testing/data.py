"""What kernels are run on: numbers of several distributions, and arrays with a NaN or an infinity in them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from ..graph.ir import Value, is_array_dtype
from ..measure.inputs import DISTRIBUTIONS, draw

SPECIAL = {"NaN": np.nan, "infinity": np.inf, "minus infinity": -np.inf}

#: Arrays that get a special number are no more than these: regions of whole networks have hundreds.
SPOILED = 6


def inputs(entries: Sequence[Value]) -> Iterator[tuple[str, list[Any]]]:
    """Arrays for ``entries`` again and again, each time with what they are called; equal in any process."""
    for distribution in DISTRIBUTIONS:
        yield f"{distribution} numbers", draw(entries, distribution)
    if any(_is_eight_bit(v) for v in entries):
        yield "integers of all eight bits", _all_bits(entries)
    yield from _spoiled(entries)


def _spoiled(entries: Sequence[Value]) -> Iterator[tuple[str, list[Any]]]:
    arrays = draw(entries)
    floats = [i for i, v in enumerate(entries) if v.size and _is_float(v)]
    for i in floats[:SPOILED]:
        for name, number in SPECIAL.items():
            spoiled = list(arrays)
            held = np.array(arrays[i])
            # Neither the first element nor the last: kernels that cut an array into tiles have their edges there.
            held.flat[held.size * 5 // 8] = number
            spoiled[i] = jnp.asarray(held)
            yield f"{name} in operand {i}", spoiled


def _is_float(value: Value) -> bool:
    return is_array_dtype(value.dtype) and jnp.issubdtype(value.dtype, jnp.floating)


def _is_eight_bit(value: Value) -> bool:
    return is_array_dtype(value.dtype) and jnp.issubdtype(value.dtype, jnp.integer) and value.dtype.itemsize == 1


def _all_bits(entries: Sequence[Value]) -> list[Any]:
    """As drawn, but small integers from their whole range: products of quantised numbers must not saturate."""
    arrays = draw(entries)
    for i, value in enumerate(entries):
        if _is_eight_bit(value):
            info = jnp.iinfo(value.dtype)
            numbers = np.random.default_rng(i).integers(int(info.min), int(info.max) + 1, value.shape)
            arrays[i] = jnp.asarray(numbers, value.dtype)
    return arrays
