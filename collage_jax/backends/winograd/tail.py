"""What follows a convolution and is done before its result is stored: bias, another tensor, ReLU, in this order."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from math import prod

import numpy as np

from ...graph.ir import Constant, Graph, Node, Value
from .convolution import Convolution

Inside = Callable[[Node], bool]

_ADDS = ("add", "add_any")
_RESHAPES = ("reshape", "squeeze", "expand_dims")


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
        *_, (origin, nodes) = _origins(graph, other, node, inside)
        is_zero = isinstance(origin, Constant) and np.asarray(origin.val) == 0
        return conv.followed_by("relu", (*nodes, node), relu=True) if is_zero else None
    if conv.summand is not None or other.dtype != conv.result.dtype:
        return None
    if conv.bias is None:
        *_, (origin, nodes) = _origins(graph, other, node, inside)
        if _is_vector(graph, other, origin, nodes):
            return conv.followed_by("bias", (*nodes, node), bias=origin)
    if other.shape == conv.result.shape and not isinstance(other, Constant):
        return conv.followed_by("sum", (node,), summand=other)
    return None


def _origins(graph: Graph, value: Value, user: Node, inside: Inside) -> Iterator[tuple[Value, tuple[Node, ...]]]:
    """``value`` and what it is a broadcast or reshape of, nearest first, each with the nodes between."""
    nodes: tuple[Node, ...] = ()
    while True:
        yield value, nodes
        node = graph.producer.get(value)
        if node is None or not inside(node) or graph.only_user(value) is not user:
            return
        if node.op not in ("broadcast_in_dim", *_RESHAPES) or len(node.inputs) != 1:
            return
        if node.op == "reshape" and node.params.get("dimensions") is not None:
            return
        value, user, nodes = node.inputs[0], node, (node, *nodes)


def _is_vector(graph: Graph, value: Value, origin: Value, nodes: tuple[Node, ...]) -> bool:
    """Whether ``origin`` is one number per index of ``value``'s last axis, repeated by ``nodes`` over the others."""
    size = value.shape[-1] if value.shape else 0
    if isinstance(origin, Constant) or origin.size != size or prod(origin.shape) != max(origin.shape, default=0):
        return False
    axis = origin.shape.index(size)
    for node in nodes:
        if node.op == "broadcast_in_dim":
            axis = int(node.params["broadcast_dimensions"][axis])
        elif node.out.size == size and size in node.out.shape:
            axis = node.out.shape.index(size)
        else:
            return False
    return axis == value.ndim - 1
