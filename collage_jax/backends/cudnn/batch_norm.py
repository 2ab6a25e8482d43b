"""Batch norm with given statistics, alone or after a convolution: a factor and an offset for each channel."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from ...graph.ir import Constant, Node
from ..base import Unsupported
from ..channel_affine import factor_and_offset
from .fusion import LAST, Fusion, Step
from .tensors import UP_TO_SINGLE, Kind, Operand, Tensor, strides_of, type_name


def plan(node: Node) -> Fusion | Unsupported:
    """``node`` alone."""
    x, name = node.inputs[0], type_name(node.out.dtype)
    if isinstance(x, Constant) or name not in UP_TO_SINGLE or x.dtype != node.out.dtype:
        return Unsupported(f"float32, float16 or bfloat16 is needed, got {x.dtype} giving {node.out.dtype}")
    if int(node.params["axis"]) != x.ndim - 1 or 0 in x.shape:
        return Unsupported(f"the channels must come last, got axis {node.params['axis']} of {x.shape}")
    dims = (prod(x.shape[:-1]), x.shape[-1], 1, 1)
    made, axes = Tensor(dims, strides_of(dims, "last"), name), (None, x.ndim - 1, None, None)
    vectors = _vectors(node, axes, "last")
    if vectors is None:
        return Unsupported(f"the statistics must be vectors, got {[v.shape for v in node.inputs[1:]]}")
    factor, offset = vectors
    scaled = Fusion(
        nodes=(),
        labels=(),
        result=x,
        axes=axes,
        operands=(Operand(made, (x,)), factor),
        steps=(Step("pointwise", {"a": 1, "b": 2}, "y", made, {"mode": "MUL"}),),
        stored=x.shape,
    )
    return scaled.followed_by("batch_norm", (node,), "ADD", {"a": LAST, "b": 3}, (offset,))


def normalized(fusion: Fusion, node: Node) -> Fusion | None:
    """``fusion`` with ``node``, which normalizes its result; None if it cannot be."""
    vectors = _vectors(node, fusion.axes, fusion.kind)
    if vectors is None or node.inputs[0] is not fusion.result:
        return None
    factor, offset = vectors
    place = len(fusion.operands) + 1
    scaled = fusion.then("MUL", {"a": LAST, "b": place}, (factor,))
    return scaled.followed_by("batch_norm", (node,), "ADD", {"a": LAST, "b": place + 1}, (offset,))


def _vectors(node: Node, axes: Sequence[int | None], kind: Kind) -> tuple[Operand, Operand] | None:
    """The factors and the offsets of ``node``, in single precision, for a tensor with those axes."""
    x, *vectors = node.inputs
    axis = int(node.params["axis"])
    if axis not in axes or any(isinstance(v, Constant) or v.size != x.shape[axis] for v in vectors):
        return None
    dims = tuple(x.shape[axis] if a == axis else 1 for a in axes)
    tensor = Tensor(dims, strides_of(dims, kind), "FLOAT")
    factor, offset = factor_and_offset(node)
    return Operand(tensor, factor.values, factor.make), Operand(tensor, offset.values, offset.make)


ANCHORS = {"batch_norm": plan}
