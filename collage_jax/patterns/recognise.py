"""Replacing the primitives of softmax, layer norm, GELU, ... by one composite node each."""

from __future__ import annotations

from collections.abc import Iterable

from ..graph.ir import Graph, Node
from ..graph.region import Region
from .composites import RECOGNISERS, Found, find_attention
from .folding import fold_scalars
from .matcher import Matcher


def recognise(graph: Graph, *, attention: bool = False) -> Graph:
    """``graph`` with every recognised set of primitives as one composite, which keeps them as its body.

    Where two overlap, the larger wins (GELU over a part of it). ``attention`` also makes one composite of a whole
    attention, for backends that take it so. The bodies of control flow are graphs of their own and stay as they are.
    """
    graph = fold_scalars(graph)
    matcher = Matcher(graph)
    recognisers = (*RECOGNISERS, find_attention) if attention else RECOGNISERS
    found = [each for recognise_kind in recognisers for each in recognise_kind(matcher)]
    return _replace(graph, _chosen(graph, found))


def _chosen(graph: Graph, found: Iterable[Found]) -> list[Found]:
    """The largest of ``found`` that do not overlap, each complete in itself."""
    taken: set[Node] = set()
    chosen: list[Found] = []
    for each in sorted(found, key=lambda f: (-len(f.nodes), graph.position[f.root])):
        if taken.isdisjoint(each.nodes) and _is_complete(graph, each):
            taken.update(each.nodes)
            chosen.append(each)
    return chosen


def _is_complete(graph: Graph, found: Found) -> bool:
    """True if the nodes read nothing but the composite's inputs, and only the root is read outside."""
    region = Region.of(graph, found.nodes)
    barrier = any(node.barrier for node in found.nodes)
    return not barrier and set(region.entries) <= set(found.inputs) and set(region.exits) <= set(found.root.outputs)


def _replace(graph: Graph, chosen: Iterable[Found]) -> Graph:
    at_root = {found.root: found for found in chosen}
    inside = {node for found in at_root.values() for node in found.nodes}
    nodes: list[Node] = []
    for node in graph.nodes:
        if node in at_root:
            nodes.append(_composite(at_root[node]))
        elif node not in inside:
            nodes.append(node)
    return Graph(graph.inputs, graph.constants, tuple(nodes), graph.outputs)


def _composite(found: Found) -> Node:
    return Node(found.op, dict(found.params), found.inputs, found.root.outputs, body=found.nodes)
