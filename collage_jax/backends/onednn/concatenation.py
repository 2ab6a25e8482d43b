"""Joining arrays along an axis."""

from __future__ import annotations

from math import prod

from ...graph.ir import Constant, Graph, Node
from ..base import Unsupported
from .call import Call, Operand
from .memory import Groups, dtype_name
from .views import View


def plan(graph: Graph, node: Node, absorbed: frozenset[Node]) -> Call | Unsupported:
    """The call for a ``concatenate``: the axes before and after the joined one are one dimension each."""
    if any(isinstance(v, Constant) for v in node.inputs) or dtype_name(node.out.dtype) is None:
        return Unsupported(f"oneDNN joins float32 or bfloat16 arrays, got {node.out.dtype}")
    if any(v.size == 0 for v in node.inputs):
        return Unsupported(f"an array is empty: {', '.join(map(repr, node.inputs))}")
    axis, ndim = int(node.params["dimension"]), node.out.ndim
    groups: Groups = (tuple(range(axis)), (axis,), tuple(range(axis + 1, ndim)))
    memories = [View.of(v).memory(groups) for v in node.inputs]
    dst = View.of(node.out).memory(groups)
    known = [m for m in memories if m is not None]
    assert dst is not None and len(known) == len(memories)  # neighbouring axes of whole arrays
    return Call(
        op="concat",
        labels=("concatenate",),
        nodes=(node,),
        result=node.out,
        sources=tuple(("srcs", Operand(m, (v,))) for m, v in zip(known, node.inputs, strict=True)),
        dst=dst,
        groups=groups,
        keys=(("axis", "1"),),
        joins=tuple(prod(v.shape[axis:]) for v in node.inputs),
    )


ANCHORS = {"concatenate": plan}
