"""Folding the arithmetic on scalars of the program, so that patterns meet numbers.

``jnp.var`` divides by ``16 - convert(0)`` and guards with ``where(16 - convert(0) > 0, ..., nan)``; users write
``jnp.sqrt(2 / jnp.pi)``. Only scalars are folded: arrays stay as the program has them.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ..graph.ir import Constant, Graph, Node, Value
from .arithmetic import compute_scalar


def fold_scalars(graph: Graph) -> Graph:
    """``graph`` with arithmetic on its scalars computed, choices by a scalar taken, and what that frees dropped."""
    alias: dict[Value, Value] = {}
    nodes: list[Node] = []
    for old in graph.nodes:
        node = replace(old, inputs=tuple(alias.get(v, v) for v in old.inputs)) if alias else old
        folded = _folded(node) if not node.barrier and len(node.outputs) == 1 else None
        if folded is None:
            nodes.append(node)
        else:
            alias[node.out] = folded
    if not alias:
        return graph
    outputs = tuple(alias.get(v, v) for v in graph.outputs)
    return _without_freed(Graph(graph.inputs, graph.constants, tuple(nodes), outputs), graph)


def _folded(node: Node) -> Value | None:
    """What the node's output is, if that needs no computing at run time."""
    if node.op == "select_n" and isinstance(node.inputs[0], Constant) and len(node.inputs) == 3:
        chosen = node.inputs[2 if bool(np.asarray(node.inputs[0].val)) else 1]
        return chosen if not isinstance(chosen, Constant) else None
    if node.out.shape != () or node.params.get("sharding") is not None:
        return None
    number = compute_scalar(node)
    return None if number is None else Constant(node.out.aval, number)


def _without_freed(folded: Graph, original: Graph) -> Graph:
    """Drop nodes whose last reader was folded away."""
    live: set[Value] = set(folded.outputs)
    kept: list[Node] = []
    for node in reversed(folded.nodes):
        unread = all(v not in live and original.users.get(v) for v in node.outputs)
        if node.barrier or node.subgraphs or not unread:
            kept.append(node)
            live.update(node.inputs)
    return replace(folded, nodes=tuple(reversed(kept)))
