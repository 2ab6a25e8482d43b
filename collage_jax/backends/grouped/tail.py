"""What is done in the same call: ReLU before a convolution; then a pointwise one, bias, a tensor, bounds, a gate."""

from __future__ import annotations

from dataclasses import replace

from ...graph.gates import gate
from ...graph.ir import Constant, Graph, Node, Value
from ...graph.origins import Inside, vector
from ..own_kernels import bounds
from .convolution import Convolution, pointwise

_ADDS = ("add", "add_any")


def preceded(graph: Graph, conv: Convolution, inside: Inside) -> Convolution | None:
    """``conv`` with the ReLU that makes its source for it alone, or None. ``inside`` bounds the region."""
    node = graph.producer.get(conv.source)
    if node is None or node.op != "relu" or node.barrier or not inside(node):
        return None
    # Weights that are the source too would need the ReLU as well.
    if graph.only_user(conv.source) is not conv.nodes[0] or conv.weights is conv.source:
        return None
    return replace(conv, nodes=(node, *conv.nodes), labels=("relu", *conv.labels), source=node.inputs[0], relu=True)


def extend(graph: Graph, conv: Convolution, inside: Inside) -> Convolution | None:
    """``conv`` with the one node that reads its result, or None if it cannot be. ``inside`` bounds the region."""
    node = graph.only_user(conv.result)
    if node is None or node.barrier or not inside(node) or len(node.outputs) != 1 or conv.gate is not None:
        return None
    if node.op == "conv_general_dilated":
        return None if conv.is_bounded else _separable(conv, node)
    if node.out.shape != conv.result.shape or node.out.dtype != conv.result.dtype:
        return None
    if conv.pointwise is None and (gated := gate(graph, node, conv.result, inside)) is not None:
        return conv.followed_by("gate", (*gated[1], node), gate=gated[0])
    if conv.is_bounded:
        return None
    if (found := bounds(node, conv.result)) is not None:
        label, low, high = found
        return conv.followed_by(label, (node,), low=low, high=high)
    if node.op not in _ADDS or node.inputs.count(conv.result) != 1:
        return None
    return _plus(graph, conv, node, node.inputs[1 if node.inputs[0] is conv.result else 0], inside)


def _separable(conv: Convolution, node: Node) -> Convolution | None:
    if conv.group != 1 or conv.pointwise is not None or conv.bias is not None or conv.summand is not None:
        return None
    found = pointwise(node, conv)
    if found is None or found.weights in (conv.source, conv.weights, conv.result):
        return None
    return conv.followed_by("pointwise", (node,), pointwise=found)


def _plus(graph: Graph, conv: Convolution, node: Node, other: Value, inside: Inside) -> Convolution | None:
    if conv.summand is not None or other.dtype != conv.result.dtype:
        return None
    if conv.bias is None:
        found = vector(graph, other, node, inside)
        if found is not None and found[0].size == conv.result.shape[-1]:
            return conv.followed_by("bias", (*found[1], node), bias=found[0])
    if other.shape != conv.result.shape or isinstance(other, Constant):
        return None
    return conv.followed_by("sum", (node,), summand=other)
