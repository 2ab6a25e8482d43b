"""Where an element of a value lies that an element of another is made of, through operations that only move."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import TypeAlias

from ...graph.ir import Node, Value


@dataclass(frozen=True)
class Axis:
    """The index along one axis: ``start + step * index``, the index of the result along its axis ``of``.

    Without ``of`` it is ``start``.
    """

    of: int | None
    step: int
    start: int


#: For each axis of a value; the result is always the same.
Map: TypeAlias = tuple[Axis, ...]


def identity(ndim: int) -> Map:
    return tuple(Axis(axis, 1, 0) for axis in range(ndim))


def through(node: Node, result: Value, of_result: Map) -> Map | None:
    """The map of what ``node`` reads, given that of ``result``, which it makes; None if it does more than move."""
    if not node.inputs:
        return None
    shape, params = node.inputs[0].shape, node.params
    if node.op == "split":
        before = sum(params["sizes"][: node.outputs.index(result)])
        return tuple(
            Axis(a.of, a.step, a.start + before * (axis == params["axis"])) for axis, a in enumerate(of_result)
        )
    if node.op == "slice":
        strides = params["strides"] or (1,) * len(shape)
        moved = zip(of_result, params["start_indices"], strides, strict=True)
        return tuple(Axis(a.of, a.step * int(by), int(start) + int(by) * a.start) for a, start, by in moved)
    if node.op == "rev":
        turned = params["dimensions"]
        return tuple(
            Axis(a.of, -a.step, shape[axis] - 1 - a.start) if axis in turned else a for axis, a in enumerate(of_result)
        )
    if node.op == "transpose":
        return tuple(of_result[params["permutation"].index(axis)] for axis in range(len(shape)))
    if node.op == "broadcast_in_dim":
        wide = [node.out.shape[int(axis)] for axis in params["broadcast_dimensions"]]
        chosen = [of_result[int(axis)] for axis in params["broadcast_dimensions"]]
        return tuple(a if n == m else Axis(None, 0, 0) for a, n, m in zip(chosen, shape, wide, strict=True))
    if node.op == "convert_element_type" and node.out.dtype == node.inputs[0].dtype:  # of weak types
        return of_result
    if node.op in ("reshape", "squeeze", "expand_dims"):
        return _without_ones(node, of_result)
    return None


def _without_ones(node: Node, of_result: Map) -> Map | None:
    """As ``through``, for a reshape that only adds or takes away axes of size 1."""
    before, after = node.inputs[0].shape, node.out.shape
    if node.params.get("dimensions") is not None and node.op == "reshape":
        return None
    kept = [a for a, n in zip(of_result, after, strict=True) if n != 1]
    if [n for n in before if n != 1] != [n for n in after if n != 1]:
        return None
    rest = iter(kept)
    return tuple(Axis(None, 0, 0) if n == 1 else next(rest) for n in before)


def linear(of_value: Map, shape: Sequence[int], ndim: int) -> tuple[int, tuple[int, ...]]:
    """The element of a dense array of ``shape`` at the result's first index, and how it moves along each axis."""
    offset, strides = 0, [0] * ndim
    for axis, a in enumerate(of_value):
        distance = prod(shape[axis + 1 :])
        offset += a.start * distance
        if a.of is not None:
            strides[a.of] += a.step * distance
    return offset, tuple(strides)
