"""How the library sees an array: dimensions in its own logical order, and strides in the array's row-major buffer.

*logical dimension*: a dimension of the library's operation, such as batch, channels, height, width.
*groups*: for each logical dimension, the array's axes that make it up; several axes become one dimension if they lie
next to each other in memory, and none stand for a dimension of size 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from math import prod
from typing import Any, TypeAlias

import numpy as np

Groups: TypeAlias = tuple[tuple[int, ...], ...]

#: Data types that the library is used with, by JAX's name.
DTYPES = {"float32": "f32", "bfloat16": "bf16"}


@dataclass(frozen=True)
class Memory:
    """A strided tensor, in elements. A dimension of size 1 that is repeated over the operation keeps its own size."""

    dtype: str
    dims: tuple[int, ...]
    strides: tuple[int, ...]

    def text(self) -> str:
        return f"{self.shape_text()}:{times(self.strides)}"

    def shape_text(self) -> str:
        """Data type and dimensions, without the layout."""
        return f"{self.dtype}:{times(self.dims)}"

    def split_first(self, count: int) -> Memory:
        """The same tensor with its first dimension split into (count, rest), as weights in groups are."""
        (dim, *dims), (stride, *strides) = self.dims, self.strides
        rest = dim // count
        return replace(self, dims=(count, rest, *dims), strides=(rest * stride, stride, *strides))

    def swap_last(self) -> Memory:
        """The same tensor with its last two dimensions exchanged."""
        return replace(self, dims=swap_last(self.dims), strides=swap_last(self.strides))

    def same_layout(self, other: Memory) -> bool:
        """True if both have the same dimensions and place elements alike; strides of size-1 dimensions do not count."""
        return self.dims == other.dims and all(
            a == b for n, a, b in zip(self.dims, self.strides, other.strides, strict=True) if n > 1
        )


def swap_last(items: tuple[Any, ...]) -> tuple[Any, ...]:
    return (*items[:-2], items[-1], items[-2])


def times(numbers: Sequence[Any]) -> str:
    """Numbers as the spec writes them: 3x3."""
    return "x".join(str(n) for n in numbers)


def dtype_name(dtype: Any) -> str | None:
    """The library's name of a JAX dtype, None if it is not used with it."""
    return DTYPES.get(np.dtype(dtype).name) if isinstance(dtype, np.dtype) else None


def merge(sizes: Sequence[int], strides: Sequence[int], axes: Sequence[int]) -> tuple[int, int | None] | None:
    """Size and stride of ``axes`` seen as one dimension; None if they do not lie in one row.

    Stride 0 marks a repeated axis: alone it becomes size 1. The stride is None where nothing fixes it.
    """
    long = [a for a in axes if sizes[a] > 1]
    real = [a for a in long if strides[a] > 0]
    if len(real) < len(long):
        return None if real else (1, None)
    if not real:
        return 1, (strides[axes[-1]] or None) if axes else None
    for outer, inner in pairwise(real):
        if strides[outer] != strides[inner] * sizes[inner]:
            return None
    return prod(sizes[a] for a in real), strides[real[-1]]


def fill_strides(dims: Sequence[int], strides: Sequence[int | None], order: Sequence[int]) -> tuple[int, ...]:
    """``strides`` with those that nothing fixes set as in a dense tensor whose dimensions lie in ``order``."""
    filled = [0] * len(dims)
    running = 1
    for d in reversed(order):
        given = strides[d]
        filled[d] = running if given is None else given
        running = filled[d] * dims[d]
    return tuple(filled)
