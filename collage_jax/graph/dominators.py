"""Post-dominators: what every path from a node goes through.

*end*: stands after whatever the graph returns and whatever nothing follows. *post-dominator* of a node: another node on
every path from it to the end. What is made between a node and its post-dominator is read nowhere else, so that the two
and all between them can be one region with one exit.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from .ir import Graph, Node


def successors(graph: Graph) -> tuple[tuple[int, ...], ...]:
    """Places of the nodes that must follow each node, by place: its readers and, for an effect, the effect after."""
    found: list[list[int]] = [[] for _ in graph.nodes]
    for i, before in graph.predecessors.items():
        for p in before:
            found[p].append(i)
    return tuple(map(tuple, found))


@dataclass(frozen=True, eq=False)
class PostDominators:
    """The post-dominators of all nodes of ``graph``; barriers and effects are nodes like any other."""

    graph: Graph

    @cached_property
    def immediate(self) -> dict[Node, Node | None]:
        """The nearest post-dominator of each node; None if that is the end."""
        nodes, end = self.graph.nodes, len(self.graph.nodes)
        return {node: nodes[p] if p < end else None for node, p in zip(nodes, self._places, strict=True)}

    def chain(self, node: Node) -> Iterator[Node]:
        """All post-dominators of ``node``, the nearest first."""
        following = self.immediate[node]
        while following is not None:
            yield following
            following = self.immediate[following]

    def between(self, node: Node) -> tuple[Node, ...]:
        """The nodes on the paths from ``node`` to its nearest post-dominator, both left out, in order."""
        start = self.graph.position[node]
        stop = self._places[start]
        found: set[int] = set()
        pending = [start]
        while pending:
            # All that is met before the post-dominator leads to it, so no walk back from there is needed.
            fresh = [i for i in self._following[pending.pop()] if i != stop and i not in found]
            found.update(fresh)
            pending += fresh
        return tuple(self.graph.nodes[i] for i in sorted(found))

    @cached_property
    def _following(self) -> tuple[tuple[int, ...], ...]:
        return successors(self.graph)

    @cached_property
    def _places(self) -> tuple[int, ...]:
        """The place of each node's nearest post-dominator, the number of nodes standing for the end.

        Where the chains of all that follows a node meet (the intersection of Cooper, Harvey and Kennedy, "A Simple,
        Fast Dominance Algorithm", 2001). Without cycles one pass backwards is enough, and places can stand for the
        numbers of a traversal: a post-dominator has a later place than what it post-dominates.
        """
        end = len(self.graph.nodes)
        nearest = [end] * (end + 1)
        for i in reversed(range(end)):
            returned = any(v in self.graph.output_set for v in self.graph.nodes[i].outputs)
            first, *others = (end,) if returned or not self._following[i] else self._following[i]
            for other in others:
                while first != other:
                    if first < other:
                        first = nearest[first]
                    else:
                        other = nearest[other]
            nearest[i] = first
        return tuple(nearest[:end])
