"""What a value is a repeated or reshaped form of: the way a kernel sees the bias or bound behind a broadcast."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from math import prod

import numpy as np

from .ir import Constant, Graph, Node, Value

#: Whether a node may be taken into the region at hand.
Inside = Callable[[Node], bool]

_RESHAPES = ("reshape", "squeeze", "expand_dims")


def origins(graph: Graph, value: Value, user: Node, inside: Inside) -> Iterator[tuple[Value, tuple[Node, ...]]]:
    """``value`` and what it is a broadcast or reshape of for ``user`` alone, nearest first, with the nodes between."""
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


def along(graph: Graph, value: Value, user: Node, inside: Inside) -> tuple[Value, tuple[Node, ...], int] | None:
    """The array of one number per index of one of ``value``'s axes that ``value`` repeats over the others, if it does.

    With it the nodes between, and the axis.
    """
    *_, (origin, nodes) = origins(graph, value, user, inside)
    if isinstance(origin, Constant) or not origin.shape or prod(origin.shape) != max(origin.shape):
        return None
    size = origin.size
    axis = origin.shape.index(size)
    for node in nodes:
        if node.op == "broadcast_in_dim":
            axis = int(node.params["broadcast_dimensions"][axis])
        elif node.out.size == size and size in node.out.shape:
            axis = node.out.shape.index(size)
        else:
            return None
    return (origin, nodes, axis) if value.shape[axis] == size else None


def vector(graph: Graph, value: Value, user: Node, inside: Inside) -> tuple[Value, tuple[Node, ...]] | None:
    """The same if it is ``value``'s last axis."""
    found = along(graph, value, user, inside)
    if found is None or found[2] != value.ndim - 1:
        return None
    return found[0], found[1]


def number(graph: Graph, value: Value, user: Node, inside: Inside) -> tuple[float, tuple[Node, ...]] | None:
    """The number of the program that ``value`` holds everywhere, if it does, with the nodes that spread it."""
    *_, (origin, nodes) = origins(graph, value, user, inside)
    return (float(np.asarray(origin.val)), nodes) if isinstance(origin, Constant) else None
