"""Values of a program as they stand in a model: OpenVINO wants channels second, JAX's programs have them anywhere.

A value keeps the order of dimensions that the last operation left it in, and is brought to another only where
something needs that. So between convolutions nothing is transposed, and what is broadcast stays small.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...graph.ir import Value


class Refused(Exception):
    """What a model cannot do, in words for the placement report."""


@dataclass(frozen=True, eq=False)
class Tensor:
    """``output`` holds the axes of a value in the order ``order``; a dimension of 1 may stand for a larger one."""

    output: Any
    order: tuple[int, ...]

    def place(self, axis: int) -> int:
        """The dimension of ``output`` that is the value's ``axis``."""
        return self.order.index(axis)


class Model:
    """What operations are made with: ``ops`` is one of OpenVINO's operation sets.

    ``spelled`` counts the reshapes into groups, by what is reshaped and its new sizes.
    """

    def __init__(self, ops: Any) -> None:
        self.ops = ops
        self.spelled: Counter[tuple[str | int, ...]] = Counter()

    def constant(self, value: Any, dtype: Any = np.float32) -> Any:
        """A constant of numbers written in the program."""
        return self.ops.constant(np.asarray(value, dtype)).output(0)

    def plain(self, output: Any) -> Tensor:
        """``output`` as a tensor with its axes in their own order."""
        return Tensor(output, tuple(range(len(output.get_partial_shape()))))

    def node(self, name: str, *arguments: Any, **attributes: Any) -> Any:
        """The only result of an operation."""
        return getattr(self.ops, name)(*arguments, **attributes).output(0)

    def ordered(self, tensor: Tensor, order: Sequence[int]) -> Tensor:
        """``tensor`` with its axes in ``order``."""
        order = tuple(order)
        if tensor.order == order:
            return tensor
        permutation = self.constant([tensor.place(axis) for axis in order], np.int32)
        return Tensor(self.node("transpose", tensor.output, permutation), order)

    def full(self, tensor: Tensor, value: Value) -> Tensor:
        """``tensor`` of ``value`` with all dimensions as large as the value's."""
        wanted = [value.shape[axis] for axis in tensor.order]
        if shape_of(tensor.output) == wanted:
            return tensor
        return Tensor(self.node("broadcast", tensor.output, self.constant(wanted, np.int32)), tensor.order)

    def reshaped(self, output: Any, shape: Sequence[int]) -> Any:
        """``output`` with another shape."""
        if shape_of(output) == list(shape):
            return output
        if not shape:  # a reshape to a scalar crashes the library after a product (2026.4.1)
            return self.node("squeeze", output, self.constant(list(range(len(shape_of(output)))), np.int32))
        return self.node("reshape", output, self.constant(list(shape), np.int32), special_zero=False)

    def as_written(self, tensor: Tensor, value: Value) -> Any:
        """``tensor`` as ``value`` itself is: all its elements, in its own order."""
        return self.ordered(self.full(tensor, value), range(value.ndim)).output


def shape_of(output: Any) -> list[int]:
    return [int(d.get_length()) for d in output.get_partial_shape()]


def common_order(tensors: Sequence[Tensor]) -> tuple[int, ...]:
    """The order that most of ``tensors``, counted by their elements, are in."""
    weights: dict[tuple[int, ...], float] = {}
    for tensor in tensors:
        weights[tensor.order] = weights.get(tensor.order, 0.0) + float(np.prod(shape_of(tensor.output)))
    return max(weights, key=weights.__getitem__)
