"""Tidying a traced graph without changing what it computes.

Four steps: forward no-ops, merge equal nodes, drop dead ones, and give each user of a cheap broadcast its own copy (so
that a bias or a scalar can be fused into every kernel that reads it; XLA merges what is left).
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import replace
from typing import Any

from .ir import Constant, Graph, Node, Value

#: Primitives that return their operand unchanged once a program has been differentiated.
NO_OPS = frozenset({"stop_gradient", "copy"})


def simplify(graph: Graph) -> Graph:
    """``graph`` with no-ops, duplicates and dead nodes gone and cheap broadcasts copied for each user."""
    return _copy_broadcasts(drop_dead(_merge_equal(graph)))


def _is_no_op(node: Node) -> bool:
    if node.op in NO_OPS:
        return True
    if node.op == "convert_element_type":
        before, after = node.inputs[0].aval, node.outputs[0].aval
        return before.dtype == after.dtype and before.weak_type == after.weak_type and not _is_sharded(node)
    return False


def _is_sharded(node: Node) -> bool:
    return not is_free(node.params.get("sharding"))


def is_free(sharding: Any) -> bool:
    """True for no sharding, and for one over the empty mesh, which JAX gives the conversions of a gradient."""
    return sharding is None or (hasattr(sharding, "spec") and sharding.mesh.empty)


def _merge_equal(graph: Graph) -> Graph:
    """Forward no-ops and merge nodes with equal operation, parameters and operands."""
    alias: dict[Value, Value] = {}
    seen: dict[Hashable, Node] = {}
    nodes: list[Node] = []
    for old in graph.nodes:
        node = with_inputs(old, alias)
        # A copy that is returned stays: what a caller gets must not be the buffer that it gave.
        returned_copy = node.op == "copy" and node.out in graph.output_set
        if _is_no_op(node) and not returned_copy and not isinstance(node.inputs[0], Constant):
            alias[node.out] = node.inputs[0]
            continue
        key = _key(node)
        twin = seen.get(key) if key is not None else None
        if twin is not None:
            alias.update(zip(node.outputs, twin.outputs, strict=True))
            continue
        if key is not None:
            seen[key] = node
        nodes.append(node)
    outputs = tuple(alias.get(v, v) for v in graph.outputs)
    return Graph(graph.inputs, graph.constants, tuple(nodes), outputs)


def with_inputs(node: Node, alias: dict[Value, Value]) -> Node:
    """``node`` reading ``alias[v]`` where it read ``v``."""
    if not any(v in alias for v in node.inputs):
        return node
    return replace(node, inputs=tuple(alias.get(v, v) for v in node.inputs))


def _key(node: Node) -> Hashable | None:
    """Equal for nodes that compute the same; None for those that must not be merged."""
    if node.eqn is None or node.barrier or node.subgraphs or node.eqn.effects:
        return None
    try:
        params = tuple(sorted(node.params.items(), key=lambda item: item[0]))
        operands = tuple(_constant_key(v) if isinstance(v, Constant) else v for v in node.inputs)
        key = (node.op, params, operands, node.eqn.ctx)
        hash(key)
    except TypeError:
        return None
    return key


def _constant_key(value: Constant) -> Hashable:
    # Not the scalar's text: JAX prints eight digits, which are too few to tell neighbours apart.
    return (value.bits, str(value.dtype), value.aval.weak_type)


def drop_dead(graph: Graph) -> Graph:
    """``graph`` without the nodes that nothing returned depends on; those with effects stay."""
    live: set[Value] = set(graph.outputs)
    kept: list[Node] = []
    for node in reversed(graph.nodes):
        if any(v in live for v in node.outputs) or (node.eqn is not None and node.eqn.effects):
            kept.append(node)
            live.update(node.inputs)
    constants = tuple((v, array) for v, array in graph.constants if v in live)
    if len(kept) == len(graph.nodes) and len(constants) == len(graph.constants):
        return graph
    return Graph(graph.inputs, constants, tuple(reversed(kept)), graph.outputs)


def is_cheap_broadcast(node: Node) -> bool:
    """True for a broadcast: it reads no more than it makes, and one that only adds axes of size 1 costs nothing."""
    return node.op == "broadcast_in_dim"


def _copy_broadcasts(graph: Graph) -> Graph:
    nodes: list[Node] = []
    pending: dict[Value, Node] = {}
    for node in graph.nodes:
        if is_cheap_broadcast(node) and node.out not in graph.output_set:
            pending[node.out] = node
            continue
        nodes.append(_with_own_broadcasts(node, pending, nodes))
    return Graph(graph.inputs, graph.constants, tuple(nodes), graph.outputs)


def _with_own_broadcasts(node: Node, pending: dict[Value, Node], nodes: list[Node]) -> Node:
    alias: dict[Value, Value] = {}
    for value in dict.fromkeys(node.inputs):
        if value in pending:
            alias[value] = _copy(pending[value], pending, nodes)
    return with_inputs(node, alias)


def _copy(broadcast: Node, pending: dict[Value, Node], nodes: list[Node]) -> Value:
    source: Any = broadcast.inputs[0]
    if source in pending:
        source = _copy(pending[source], pending, nodes)
    fresh = replace(broadcast, inputs=(source,), outputs=(Value(broadcast.out.aval),))
    nodes.append(fresh)
    return fresh.out
