"""What is done to the sums before they are stored: bias, then bounds."""

from __future__ import annotations

from ...graph.ir import Graph
from ...graph.origins import Inside, vector
from ..own_kernels import bounds
from .convolution import Convolution


def extend(graph: Graph, conv: Convolution, inside: Inside) -> Convolution | None:
    """``conv`` with the one node that reads its result, or None if it cannot be. ``inside`` bounds the region."""
    node = graph.only_user(conv.result)
    if node is None or node.barrier or not inside(node) or len(node.outputs) != 1 or conv.is_bounded:
        return None
    if node.out.shape != conv.result.shape or node.out.dtype != conv.result.dtype:
        return None
    if node.op in ("add", "add_any") and conv.bias is None and node.inputs.count(conv.result) == 1:
        other = node.inputs[1 if node.inputs[0] is conv.result else 0]
        bias = vector(graph, other, node, inside)
        if bias is None or bias[0].size != conv.result.shape[-1] or bias[0].dtype != conv.result.dtype:
            return None
        return conv.followed_by("bias", (*bias[1], node), bias=bias[0])
    found = bounds(node, conv.result)
    if found is None:
        return None
    label, low, high = found
    return conv.followed_by(label, (node,), low=low, high=high)
