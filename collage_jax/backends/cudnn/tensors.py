"""Arrays as cuDNN takes them: dimensions in its own order, strides that say how they lie in memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from ...graph.ir import Value
from ...graph.strides import row_major

#: Where the channels lie: after all spatial dimensions, or before them.
Kind = Literal["last", "first"]

_TYPES = {"float32": "FLOAT", "float16": "HALF", "bfloat16": "BFLOAT16", "float64": "DOUBLE", "bool": "BOOLEAN"}

#: What norms and poolings take.
UP_TO_SINGLE = ("FLOAT", "HALF", "BFLOAT16")

#: cuDNN's convolutions have at least two spatial dimensions.
_FEWEST = 4


def type_name(dtype: Any) -> str | None:
    """cuDNN's name of a dtype, or None."""
    return _TYPES.get(np.dtype(dtype).name)


@dataclass(frozen=True)
class Tensor:
    """Sizes and strides in elements, batch and channels first; ``dtype`` by cuDNN's name."""

    dims: tuple[int, ...]
    strides: tuple[int, ...]
    dtype: str


@dataclass(frozen=True, eq=False)
class Operand:
    """One array handed to the library: ``make(*arrays of values)``, or the only value itself."""

    tensor: Tensor
    values: tuple[Value, ...]
    make: Callable[..., Any] | None = None


def strides_of(dims: Sequence[int], kind: Kind) -> tuple[int, ...]:
    """Strides of a dense array with the channels, the second dimension, in that place."""
    order = (0, *range(2, len(dims)), 1) if kind == "last" else tuple(range(len(dims)))
    dense = row_major([dims[d] for d in order])
    found = [0] * len(dims)
    for d, stride in zip(order, dense, strict=True):
        found[d] = stride
    return tuple(found)


def widened(numbers: Sequence[int], fill: int, lead: int = 2) -> tuple[int, ...]:
    """With ``fill`` for the spatial dimensions that are missing, after the first ``lead`` numbers."""
    missing = _FEWEST - 2 + lead - len(numbers)
    return (*numbers[:lead], *(fill,) * max(0, missing), *numbers[lead:])


def kind_of(value: Value, axes: Sequence[int]) -> Kind | None:
    """Where the channels of ``value`` lie, its axes being batch, channels, space in that order; None: elsewhere."""
    dims = tuple(value.shape[a] for a in axes)
    actual = [row_major(value.shape)[a] for a in axes]
    for kind in ("last", "first"):
        wanted = strides_of(dims, kind)
        if all(n == 1 or have == want for n, have, want in zip(dims, actual, wanted, strict=True)):
            return kind
    return None


def arranged(value: Value, axes: Sequence[int], kind: Kind) -> Operand:
    """``value`` with its axes in that order as cuDNN sees it; JAX rearranges it where it lies otherwise."""
    dims = widened([value.shape[a] for a in axes], 1)
    tensor = Tensor(dims, strides_of(dims, kind), type_name(value.dtype) or "")
    if kind_of(value, axes) == kind or _is_both(value, axes):
        return Operand(tensor, (value,))
    order = in_memory(axes, kind)
    return Operand(tensor, (value,), lambda array: array.transpose(order))


def in_memory(axes: Sequence[int], kind: Kind) -> tuple[int, ...]:
    """``axes``, those of batch, channels and space, in the order in which a dense array of that kind has them."""
    return (axes[0], *axes[2:], axes[1]) if kind == "last" else tuple(axes)


def _is_both(value: Value, axes: Sequence[int]) -> bool:
    """True if one array is of both kinds, since its channels or its space are of size 1."""
    dims = tuple(value.shape[a] for a in axes)
    actual = [row_major(value.shape)[a] for a in axes]
    both = [strides_of(dims, kind) for kind in ("last", "first")]
    return all(
        all(n == 1 or have == want for n, have, want in zip(dims, actual, wanted, strict=True)) for wanted in both
    )
