"""Replacing the primitives of softmax, layer norm, GELU, ... by one composite node each.

*free node*: depends on no input of the graph (the window sum of ones under an average pooling, the indices of a
resize). Tracing merges equal ones, so several composites may need the same: each gets a copy in its body.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from ..graph.ir import Constant, Graph, Node, Value
from ..graph.region import Region
from ..graph.simplify import drop_dead, with_inputs
from .composites import RECOGNISERS, Found, find_attention
from .folding import fold_scalars
from .gelu_gradient import with_gelu_gradients
from .matcher import Matcher


def recognise(graph: Graph, *, attention: bool = False) -> Graph:
    """``graph`` with every recognised set of primitives as one composite, which keeps them as its body.

    Where two overlap, the larger wins (GELU over a part of it). ``attention`` also makes one composite of a whole
    attention, for backends that take it so. The bodies of control flow are graphs of their own and stay as they are.
    """
    graph = with_gelu_gradients(fold_scalars(graph))
    free = _free_nodes(graph)
    matcher = Matcher(graph, free)
    recognisers = (*RECOGNISERS, find_attention) if attention else RECOGNISERS
    found = [each for recognise_kind in recognisers for each in recognise_kind(matcher)]
    return _replace(graph, _chosen(graph, found, free), free)


def _free_nodes(graph: Graph) -> frozenset[Node]:
    free: set[Node] = set()
    made: set[Value] = set()
    for node in graph.nodes:
        pure = not (node.barrier or node.subgraphs or node.body or (node.eqn is not None and node.eqn.effects))
        if pure and all(isinstance(v, Constant) or v in made for v in node.inputs):
            free.add(node)
            made.update(node.outputs)
    return frozenset(free)


def _chosen(graph: Graph, found: Iterable[Found], free: frozenset[Node]) -> list[Found]:
    """The largest of ``found`` that do not overlap, each complete in itself."""
    taken: set[Node] = set()
    chosen: list[Found] = []
    for each in sorted(found, key=lambda f: (-len(f.nodes), graph.position[f.root])):
        own = {node for node in each.nodes if node not in free}
        if each.root in own and taken.isdisjoint(own) and _is_complete(graph, each, free):
            taken.update(own)
            chosen.append(each)
    return chosen


def _is_complete(graph: Graph, found: Found, free: frozenset[Node]) -> bool:
    """True if the nodes read only the composite's inputs, make none of them, and only the root is read outside."""
    exits = {v for v in Region.of(graph, found.nodes).exits if graph.producer[v] not in free}
    barrier = any(node.barrier for node in found.nodes)
    return found.reads_its_inputs_alone(graph, free) and exits <= set(found.root.outputs) and not barrier


def _replace(graph: Graph, chosen: Iterable[Found], free: frozenset[Node]) -> Graph:
    at_root = {found.root: found for found in chosen}
    inside = {node for found in at_root.values() for node in found.nodes if node not in free}
    nodes: list[Node] = []
    for node in graph.nodes:
        if node in at_root:
            nodes.append(_composite(at_root[node], free))
        elif node not in inside:
            nodes.append(node)
    return drop_dead(Graph(graph.inputs, graph.constants, tuple(nodes), graph.outputs))


def _composite(found: Found, free: frozenset[Node]) -> Node:
    copies: dict[Value, Value] = {}
    body: list[Node] = []
    for node in found.nodes:
        part = with_inputs(node, copies)
        if node in free:
            part = replace(part, outputs=tuple(Value(v.aval) for v in node.outputs))
            copies.update(zip(node.outputs, part.outputs, strict=True))
        body.append(part)
    return Node(found.op, dict(found.params), found.inputs, found.root.outputs, body=tuple(body))
