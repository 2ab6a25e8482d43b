"""Regions: sets of nodes that run as one unit.

*entry*: a value read inside the region and made outside it. *exit*: a value made inside and read outside, or returned
by the graph. *convex*: no path leaves the region and comes back, so that the region can run as one step.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

from .ir import Constant, Graph, Node, Value


@dataclass(frozen=True, eq=False)
class Region:
    """A set of nodes of ``graph``, kept in topological order.

    Two regions are the same when they hold the same nodes: compare ``nodes``.
    """

    graph: Graph
    nodes: tuple[Node, ...]

    @staticmethod
    def of(graph: Graph, nodes: Iterable[Node]) -> Region:
        """The region holding ``nodes``, put in order."""
        return Region(graph, tuple(sorted(set(nodes), key=graph.position.__getitem__)))

    @cached_property
    def indices(self) -> tuple[int, ...]:
        """Places of the nodes in the graph, ascending."""
        return tuple(self.graph.position[node] for node in self.nodes)

    @cached_property
    def made(self) -> frozenset[Value]:
        """Values made inside."""
        return frozenset(v for node in self.nodes for v in node.outputs)

    @cached_property
    def entries(self) -> tuple[Value, ...]:
        """Values read inside and made outside, in the order they are first read; scalars of the program excepted."""
        seen = dict.fromkeys(v for node in self.nodes for v in node.inputs if not isinstance(v, Constant))
        return tuple(v for v in seen if v not in self.made)

    @cached_property
    def exits(self) -> tuple[Value, ...]:
        """Values made inside that are read outside or returned, in the order they are made."""
        inside = set(self.nodes)
        graph = self.graph
        return tuple(
            v
            for node in self.nodes
            for v in node.outputs
            if v in graph.output_set or any(u not in inside for u in graph.users.get(v, ()))
        )

    @property
    def ops(self) -> tuple[str, ...]:
        return tuple(node.op for node in self.nodes)

    @cached_property
    def is_convex(self) -> bool:
        """True if no path between two nodes of the region passes outside it; effects in order are a path.

        Walks outside nodes between the region's first and last place: one that depends on the region must not feed it.
        """
        first, last = self.indices[0], self.indices[-1]
        if last - first + 1 == len(self.nodes):
            return True
        inside = set(self.indices)
        tainted: set[int] = set()
        for i in range(first, last + 1):
            before = self.graph.predecessors[i]
            if i not in inside:
                if not before.isdisjoint(inside) or not before.isdisjoint(tainted):
                    tainted.add(i)
            elif not before.isdisjoint(tainted):
                return False
        return True

    def __repr__(self) -> str:
        return f"Region({'+'.join(self.ops)})"
