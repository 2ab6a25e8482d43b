"""Splitting a graph by what changes from call to call.

Everything that depends on frozen inputs alone is computed once, ahead of the calls; its results are inputs of what is
left.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from .ir import Constant, Graph, Node, Value
from .simplify import drop_dead, is_cheap_broadcast


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

    A broadcast of a frozen array stays with the calls: keeping its large result would cost memory and traffic for nothing.
    """
    constants = {v for v, _ in graph.constants}
    fixed: set[Value] = set(frozen) | constants
    once: list[Node] = []
    each: list[Node] = []
    for node in graph.nodes:
        arrays = [v for v in node.inputs if not isinstance(v, Constant)]
        if arrays and all(v in fixed for v in arrays) and not node.barrier and not is_cheap_broadcast(node):
            once.append(node)
            fixed.update(node.outputs)
        else:
            each.append(node)
    read = dict.fromkeys(v for node in each for v in node.inputs if v in fixed)
    read.update(dict.fromkeys(v for v in graph.outputs if v in fixed))
    kept = tuple(read)
    others = tuple(v for v in graph.inputs if v not in fixed)
    first = Graph(tuple(v for v in graph.inputs if v in fixed), graph.constants, tuple(once), kept)
    return Split(drop_dead(first), Graph(kept + others, (), tuple(each), graph.outputs), kept)
