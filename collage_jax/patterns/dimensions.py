"""Where the dimensions of a value go when it is broadcast.

*spreader*: a node that only repeats its input along new or size-1 dimensions, or adds and removes size-1 dimensions.
*frame*: for each dimension of a value, the dimension it becomes in the value being looked at; None if that does not
matter (size 1) or it was summed away.
"""

from __future__ import annotations

from typing import TypeAlias

from ..graph.ir import Node, Value

Frame: TypeAlias = tuple[int | None, ...]


def identity(value: Value) -> Frame:
    return tuple(range(value.ndim))


def is_spreader(node: Node) -> bool:
    """True for ``broadcast_in_dim``, and for what moves size-1 dimensions only."""
    if len(node.inputs) != 1 or len(node.outputs) != 1:
        return False
    if node.op == "transpose":
        return sum(n != 1 for n in node.out.shape) <= 1
    return node.op == "broadcast_in_dim" or (node.op in ("reshape", "squeeze") and _keeps_long_dims(node))


def frame_before(node: Node, frame: Frame) -> Frame:
    """The frame of a spreader's input, given that of its output."""
    source = node.inputs[0]
    found: list[int | None] = [None] * source.ndim
    for dim, origin in enumerate(_origins(node)):
        if origin is not None:
            found[origin] = frame[dim]
    return tuple(found)


def frame_before_reduction(node: Node, frame: Frame) -> Frame:
    """The frame of a reduction's operand: the dimensions it reduces have no place in the output."""
    kept = iter(frame)
    axes = {int(a) for a in node.params["axes"]}
    return tuple(None if d in axes else next(kept) for d in range(node.inputs[0].ndim))


def _keeps_long_dims(node: Node) -> bool:
    return [n for n in node.inputs[0].shape if n != 1] == [n for n in node.out.shape if n != 1]


def _origins(node: Node) -> list[int | None]:
    """For each dimension of a spreader's output, the input's dimension it is; None if new or repeated."""
    source, out = node.inputs[0].shape, node.out.shape
    origins: list[int | None] = [None] * len(out)
    if node.op == "broadcast_in_dim":
        for dim, to in enumerate(node.params["broadcast_dimensions"]):
            if source[dim] == out[int(to)]:
                origins[int(to)] = dim
        return origins
    long = [d for d, n in enumerate(source) if n != 1]
    for dim, origin in zip((d for d, n in enumerate(out) if n != 1), long, strict=True):
        origins[dim] = origin
    return origins
