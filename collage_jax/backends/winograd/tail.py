"""What follows a convolution and is done before its result is stored: bias, another tensor, ReLU, in this order."""

from __future__ import annotations

from ...graph.ir import Constant, Graph
from ...graph.origins import Inside, number, vector
from .convolution import Convolution

_ADDS = ("add", "add_any")


def extend(graph: Graph, conv: Convolution, inside: Inside) -> Convolution | None:
    """``conv`` with the one node that reads its result, or None if it cannot be. ``inside`` bounds the region."""
    node = graph.only_user(conv.result)
    if node is None or node.barrier or not inside(node) or len(node.outputs) != 1 or conv.relu:
        return None
    if node.out.shape != conv.result.shape or node.out.dtype != conv.result.dtype:
        return None
    if node.op == "relu":
        return conv.followed_by("relu", (node,), relu=True)
    if node.op not in (*_ADDS, "max") or node.inputs.count(conv.result) != 1:
        return None
    other = node.inputs[1 if node.inputs[0] is conv.result else 0]
    if node.op == "max":
        found = number(graph, other, node, inside)
        return conv.followed_by("relu", (*found[1], node), relu=True) if found is not None and found[0] == 0 else None
    if conv.summand is not None or other.dtype != conv.result.dtype:
        return None
    if conv.bias is None:
        found = vector(graph, other, node, inside)
        if found is not None:
            return conv.followed_by("bias", (*found[1], node), bias=found[0])
    if other.shape == conv.result.shape and not isinstance(other, Constant):
        return conv.followed_by("sum", (node,), summand=other)
    return None
