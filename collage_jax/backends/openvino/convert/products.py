"""Products of matrices, with any dimensions in common."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

from ....graph.ir import Node, Value
from ..tensors import Model, Tensor


def _dot_general(model: Model, node: Node, inputs: Sequence[Tensor]) -> list[Tensor]:
    (contracting_l, contracting_r), (batch_l, batch_r) = node.params["dimension_numbers"]
    left, right = node.inputs
    free_l = _others(left, contracting_l, batch_l)
    free_r = _others(right, contracting_r, batch_r)
    if not batch_l and len(contracting_r) == 1 and right.ndim == 2:
        # A layer of weights: the left side may have any number of dimensions.
        x = model.ordered(model.full(inputs[0], left), (*free_l, *contracting_l)).output
        w = model.as_written(inputs[1], right)
        return [model.plain(model.node("matmul", x, w, False, int(contracting_r[0]) == 1))]
    x = _matrices(model, inputs[0], left, batch_l, free_l, contracting_l)
    y = _matrices(model, inputs[1], right, batch_r, contracting_r, free_r)
    return [model.plain(model.reshaped(model.node("matmul", x, y, False, False), node.out.shape))]


def _others(value: Value, *taken: Sequence[int]) -> tuple[int, ...]:
    held = {int(axis) for axes in taken for axis in axes}
    return tuple(axis for axis in range(value.ndim) if axis not in held)


def _matrices(
    model: Model, tensor: Tensor, value: Value, batch: Sequence[int], rows: Sequence[int], columns: Sequence[int]
) -> Any:
    """``value`` with one dimension each for ``rows`` and ``columns``."""
    ordered = model.ordered(model.full(tensor, value), (*map(int, batch), *map(int, rows), *map(int, columns)))
    sizes = [value.shape[axis] for axis in batch]
    return model.reshaped(
        ordered.output, [*sizes, prod(value.shape[a] for a in rows), prod(value.shape[a] for a in columns)]
    )


CONVERTERS = {"dot_general": _dot_general}
