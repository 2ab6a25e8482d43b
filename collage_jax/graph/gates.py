"""Gates: what the gradient of a ReLU does, where(x > 0, dy, 0).

A gate asks for the sign of the ReLU's operand, which keeps that in memory beside the ReLU's result, and keeps the ReLU
out of the kernel that makes it. The result tells the same: relu(x) > 0 where x > 0, for every x, NaN included.
"""

from __future__ import annotations

from dataclasses import replace
from math import copysign

import jax.numpy as jnp
import numpy as np

from .ir import Constant, Graph, Node, Value
from .origins import Inside, number


def ask_the_relu(graph: Graph) -> Graph:
    """``graph`` with comparisons x > 0 as relu(x) > 0 where the ReLU is there before."""
    relus: dict[Value, Value] = {}
    nodes: list[Node] = []
    for node in graph.nodes:
        if node.op == "max" and (x := _rectified(node)) is not None:
            relus.setdefault(x, node.out)
        elif node.op == "gt" and node.inputs[0] in relus and _is_zero(node.inputs[1]):
            node = replace(node, inputs=(relus[node.inputs[0]], node.inputs[1]))
        nodes.append(node)
    return replace(graph, nodes=tuple(nodes))


def gate(graph: Graph, node: Node, value: Value, inside: Inside) -> tuple[Value, tuple[Node, ...]] | None:
    """Of ``node``, where(y > 0, ``value``, 0), the array y, and the nodes that serve it alone; None for any other."""
    if node.op != "select_n" or len(node.inputs) != 3 or node.inputs[2] is not value or node.inputs[1] is value:
        return None
    compare = graph.producer.get(node.inputs[0])
    if compare is None or compare.op != "gt" or not inside(compare) or graph.only_user(compare.out) is not node:
        return None
    y, bound = compare.inputs
    if isinstance(y, Constant) or y is value or y.shape != value.shape or y.dtype != value.dtype:
        return None
    limit, instead = number(graph, bound, compare, inside), number(graph, node.inputs[1], node, inside)
    if limit is None or instead is None or limit[0] != 0 or instead[0] != 0 or copysign(1.0, instead[0]) < 0:
        return None
    return y, (*limit[1], compare, *instead[1])


def _rectified(node: Node) -> Value | None:
    """x of max(x, 0)."""
    for x, other in (node.inputs, node.inputs[::-1]):
        if _is_zero(other) and not isinstance(x, Constant) and jnp.issubdtype(x.dtype, jnp.floating):
            return x
    return None


def _is_zero(value: Value) -> bool:
    return isinstance(value, Constant) and np.ndim(value.val) == 0 and bool(value.val == 0)
