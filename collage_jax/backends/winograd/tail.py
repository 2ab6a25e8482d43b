"""What is done in the same call: upsampling before; bias, another tensor, ReLU after it, in this order."""

from __future__ import annotations

from dataclasses import replace

from ...graph.ir import Constant, Graph
from ...graph.origins import Inside, number, vector
from .convolution import Convolution

_ADDS = ("add", "add_any")


def preceded(graph: Graph, conv: Convolution, inside: Inside) -> Convolution | None:
    """``conv`` with the upsampling that makes its source for it alone, or None. ``inside`` bounds the region."""
    node = graph.producer.get(conv.source)
    if node is None or node.op != "upsample_nearest" or node.barrier or not inside(node):
        return None
    factors = [int(f) for f in node.params["factors"]]
    # Weights that are the source too would need the upsampling as well.
    if graph.only_user(conv.source) is not conv.nodes[0] or conv.weights is conv.source:
        return None
    if any(f != 1 for f in (*factors[:-3], factors[-1])) or node.inputs[0].dtype != conv.source.dtype:
        return None
    nodes, labels = (node, *conv.nodes), ("upsample", *conv.labels)
    return replace(conv, nodes=nodes, labels=labels, source=node.inputs[0], up=(factors[-3], factors[-2]))


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
        if found is not None and found[0].size == conv.result.shape[-1]:
            return conv.followed_by("bias", (*found[1], node), bias=found[0])
    if other.shape == conv.result.shape and not isinstance(other, Constant):
        return conv.followed_by("sum", (node,), summand=other)
    return None
