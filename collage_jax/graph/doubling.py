"""x + x as 2 x: the same number exactly, and a factor can be part of the kernel that makes x."""

from __future__ import annotations

import jax.numpy as jnp

from .ir import Graph, Node, Value
from .simplify import with_inputs
from .splice import traced_nodes

_ADDS = ("add", "add_any")


def double(graph: Graph) -> Graph:
    """``graph`` with every sum of a floating-point array and itself as a multiplication by 2.

    Two poolings of one array that are added to each other have become one by then, as equal nodes do.
    """
    nodes: list[Node] = []
    alias: dict[Value, Value] = {}
    for old in graph.nodes:
        node = with_inputs(old, alias)
        if node.op in _ADDS and node.inputs[0] is node.inputs[1] and _is_array(node.inputs[0]) and not node.barrier:
            doubled, alias[node.out] = traced_nodes(lambda x: x * 2, node.inputs[:1])
            nodes += doubled
        else:
            nodes.append(node)
    return Graph(graph.inputs, graph.constants, tuple(nodes), tuple(alias.get(v, v) for v in graph.outputs))


def _is_array(value: Value) -> bool:
    return value.ndim > 0 and jnp.issubdtype(value.dtype, jnp.floating)
