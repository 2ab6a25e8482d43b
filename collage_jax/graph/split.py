"""Splitting a graph by what changes from call to call.

Everything that depends on frozen inputs alone is computed once, ahead of the calls; its results are inputs of what is
left.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from .ir import Constant, Graph, Node, Value
from .simplify import drop_dead


@dataclass(frozen=True, eq=False)
class Split:
    """``once``: from frozen inputs to ``kept``. ``each``: from ``kept`` and the other inputs to the graph's outputs.

    ``kept`` are the values handed from the first to the second; ``each.inputs`` begin with them.
    """

    once: Graph
    each: Graph
    kept: tuple[Value, ...]


def split(graph: Graph, frozen: Collection[Value]) -> Split:
    """Split ``graph`` by its ``frozen`` inputs; constants the program closed over are frozen too.

    What only spreads frozen arrays, or depends on no array at all, stays with the calls: keeping its large result would
    cost memory and traffic for nothing. Where frozen results need it, it is computed ahead as well.
    """
    held = set(frozen) | {v for v, _ in graph.constants}
    fixed, light = set(held), set[Value]()
    once: set[Node] = set()
    each: set[Node] = set()
    for node in graph.nodes:
        arrays = [v for v in node.inputs if not isinstance(v, Constant)]
        if node.barrier or not all(v in fixed or v in light for v in arrays):
            each.add(node)
        elif all(v in light for v in arrays) or _grows(node):
            light.update(node.outputs)
        else:
            once.add(node)
            fixed.update(node.outputs)
    later = _with_light(graph, each, light, graph.outputs)
    read = dict.fromkeys(v for node in later for v in node.inputs if v in fixed)
    read.update(dict.fromkeys(v for v in graph.outputs if v in fixed))
    kept = tuple(read)
    others = tuple(v for v in graph.inputs if v not in held)
    first = _with_light(graph, once, light, ())
    ahead = drop_dead(Graph(tuple(v for v in graph.inputs if v in held), graph.constants, first, kept))
    return Split(ahead, Graph(kept + others, (), later, graph.outputs), kept)


def _grows(node: Node) -> bool:
    return node.op == "broadcast_in_dim" and node.inputs[0].size < node.out.size


def _with_light(graph: Graph, chosen: set[Node], light: set[Value], wanted: Iterable[Value]) -> tuple[Node, ...]:
    """``chosen`` and those nodes making ``light`` values that they, or ``wanted``, need."""
    needed = set(wanted)
    kept: list[Node] = []
    for node in reversed(graph.nodes):
        if node in chosen or any(v in needed and v in light for v in node.outputs):
            kept.append(node)
            needed.update(node.inputs)
    return tuple(reversed(kept))
