"""Finding a pattern in a graph: every root, every alternative, in a fixed order."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from ..graph.ir import Graph, Node, Value
from ..graph.region import Region
from .backtrack import Backtracker, Capture, State
from .dimensions import Frame
from .language import Pattern
from .numbering import Numbers, number_values


@dataclass(frozen=True, eq=False)
class Match(Mapping[str, Value]):
    """One place where a pattern fits: a mapping from captured names to values.

    ``nodes`` are in topological order, ``root`` makes the result. ``attributes`` holds what ``same`` captured.
    """

    pattern: Pattern
    graph: Graph
    root: Node
    nodes: tuple[Node, ...]
    captures: Mapping[str, Capture]
    attributes: Mapping[str, Any]

    def __getitem__(self, name: str) -> Value:
        return self._resolved[name][0]

    def __iter__(self) -> Iterator[str]:
        return iter(self.captures)

    def __len__(self) -> int:
        return len(self.captures)

    @cached_property
    def _resolved(self) -> dict[str, tuple[Value, Frame]]:
        inside = frozenset(self.nodes)
        return {name: capture.resolve(inside) for name, capture in self.captures.items()}

    @cached_property
    def params(self) -> dict[str, Mapping[str, Any]]:
        """The parameters of each named operation."""
        return {name: c.node.params for name, c in self.captures.items() if c.node is not None}

    @cached_property
    def numbers(self) -> dict[str, float]:
        """The number of each named constant."""
        return {name: c.number for name, c in self.captures.items() if c.number is not None}

    def dims(self, name: str) -> Frame:
        """For each dimension of ``self[name]``, where it stands in the result.

        None where it is repeated or summed away. Below an operation that does not work element by element (a product, a
        convolution), the dimensions are those of that operation's operand.
        """
        return self._resolved[name][1]

    def node(self, name: str) -> Node:
        """The node of a named operation."""
        found = self.captures[name].node
        if found is None:
            raise KeyError(f"{name!r} names a value, not an operation; use .named({name!r}) on an op(...)")
        return found

    def __repr__(self) -> str:
        return f"Match({self.pattern.name}: {'+'.join(n.op for n in self.nodes)})"


def match(graph: Graph, pattern: Pattern) -> list[Match]:
    """Every place where ``pattern`` fits, by place of the root, then in the pattern's own order of alternatives."""
    return Matcher(graph).find(pattern)


class Matcher:
    """Finds patterns in one graph; the indexes that all of them need are built once.

    ``free`` nodes may be read outside a match: whoever uses it will copy them.
    """

    def __init__(self, graph: Graph, free: frozenset[Node] = frozenset()) -> None:
        self.graph = graph
        self.free = free

    @cached_property
    def numbers(self) -> Numbers:
        return number_values(self.graph)

    @cached_property
    def by_op(self) -> dict[str, list[Node]]:
        found: dict[str, list[Node]] = {}
        for node in self.graph.nodes:
            found.setdefault(node.op, []).append(node)
        return found

    def nodes(self, *ops: str) -> list[Node]:
        """The nodes whose operation is one of ``ops``, in order."""
        found = [node for op in ops for node in self.by_op.get(op, ())]
        return found if len(ops) == 1 else sorted(found, key=self.graph.position.__getitem__)

    def find(self, pattern: Pattern) -> list[Match]:
        """Every match of ``pattern``, in order."""
        tracker = Backtracker(self.graph, self.numbers, pattern.through_casts)
        found: list[Match] = []
        for root in self.nodes(*sorted(pattern.pattern.heads or ())):
            seen: set[Any] = set()
            for state in tracker.at_root(pattern.pattern, root):
                each = self._finish(pattern, root, state)
                if each is None or (key := _key(each)) in seen:
                    continue
                seen.add(key)
                if pattern.where is None or pattern.where(each):
                    found.append(each)
        return found

    def _finish(self, pattern: Pattern, root: Node, state: State) -> Match | None:
        """The match, with those edges that nothing outside reads; None if an inner value is read outside."""
        nodes = set(state.nodes)
        for edge in sorted(state.edges - nodes, key=self.graph.position.__getitem__, reverse=True):
            if self._is_closed(edge, nodes):
                nodes.add(edge)
        if not pattern.multi_exit and not all(node is root or self._is_closed(node, nodes) for node in nodes):
            return None
        region = Region.of(self.graph, nodes)
        if pattern.multi_exit and not region.is_convex:
            return None
        return Match(pattern, self.graph, root, region.nodes, state.captures, state.attributes)

    def _is_closed(self, node: Node, nodes: set[Node]) -> bool:
        """True if ``node`` is free, or what it makes is not returned and read by none but ``nodes``."""
        users, returned = self.graph.users, self.graph.output_set
        return node in self.free or all(
            v not in returned and all(u in nodes for u in users.get(v, ())) for v in node.outputs
        )


def _key(match: Match) -> Any:
    return match.nodes, tuple(sorted((name, id(value)) for name, value in match.items()))
