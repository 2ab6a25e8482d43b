"""Putting operations in place of values of a graph, where those may be spread over the terms of a larger sum.

JAX adds up what comes to a value from all that reads it, one by one: where a program reads x in a norm and beside it,
the gradient by the norm alone is no value of its own, but some terms of a sum. *tree*: a sum with all its terms.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable
from dataclasses import replace

from ..graph.ir import Graph, Node, Value
from .numbering import Numbering


class Sums:
    """``graph`` with what is ``put`` into it; ``numbering`` is of the graph."""

    def __init__(self, graph: Graph, numbering: Numbering) -> None:
        self._graph, self._numbering = graph, numbering
        self._made = {numbering.number(v): v for node in reversed(graph.nodes) for v in node.outputs}
        inner = {node for node in graph.nodes if _is_sum(node) and _is_term(graph, node)}
        #: The terms of each sum that is no term itself, and those of them that were put there.
        self._trees = {n: _terms(graph, n.out) for n in graph.nodes if _is_sum(n) and n not in inner}
        self._with: dict[Hashable, list[Node]] = {}
        for root, terms in self._trees.items():
            for number in dict.fromkeys(map(numbering.number, terms)):
                self._with.setdefault(number, []).append(root)
        self._put: dict[Node, list[Node]] = {}

    def put(self, other: Graph, value: Value, node: Node) -> bool:
        """``node``, a composite, where the graph computes what ``value`` of ``other`` is; True if it does.

        Both graphs are numbered.
        """
        producer = other.producer.get(value)
        if producer is None or not _is_sum(producer):
            found = self._made.get(self._numbering.number(value))
            root = None if found is None else self._graph.producer[found]
            if root is not None and root not in self._put and self._may_stand_at(root, node):
                self._put[root] = [node]
                return True
            return False
        wanted = Counter(map(self._numbering.number, _terms(other, value)))
        for root in self._with.get(next(iter(wanted)), ()):
            terms = self._trees[root]
            if wanted <= Counter(map(self._numbering.number, terms)) and self._may_stand_at(root, node):
                for term in list(terms):
                    if wanted[self._numbering.number(term)] > 0:
                        wanted[self._numbering.number(term)] -= 1
                        terms.remove(term)
                terms.append(node.out)
                self._put.setdefault(root, []).append(node)
                return True
        return False

    def graph(self) -> Graph:
        """The graph with all of them; what they stand for is still there, though perhaps unread."""
        nodes = [part for node in self._graph.nodes for part in self._in_place_of(node)]
        return replace(self._graph, nodes=tuple(nodes)) if self._put else self._graph

    def _in_place_of(self, root: Node) -> list[Node]:
        put = self._put.get(root)
        if put is None:
            return [root]
        terms = self._trees.get(root, [put[0].out])
        if len(terms) == 1:
            return [_giving(put[0], root.outputs)]
        added: list[Node] = []
        total = terms[0]
        for place, term in enumerate(terms[1:], 1):
            outputs = root.outputs if place == len(terms) - 1 else (Value(root.out.aval),)
            added.append(replace(root, inputs=(total, term), outputs=outputs))
            total = outputs[0]
        return [*put, *added]

    def _may_stand_at(self, root: Node, node: Node) -> bool:
        """True if all that ``node`` takes is there by then."""
        made = (self._graph.producer[v] for v in node.inputs if v in self._graph.producer)
        return all(self._graph.position[n] < self._graph.position[root] for n in made)


def _giving(node: Node, outputs: tuple[Value, ...]) -> Node:
    """The composite ``node`` with other outputs."""
    alias = dict(zip(node.outputs, outputs, strict=True))
    body = tuple(replace(part, outputs=tuple(alias.get(v, v) for v in part.outputs)) for part in node.body)
    return replace(node, outputs=outputs, body=body)


def _is_sum(node: Node) -> bool:
    return node.op == "add_any" and not node.barrier


def _is_term(graph: Graph, node: Node) -> bool:
    """True if the sum ``node`` is read once, by another."""
    reader = graph.only_user(node.out)
    return reader is not None and _is_sum(reader) and reader.inputs.count(node.out) == 1


def _terms(graph: Graph, value: Value) -> list[Value]:
    """What ``value``, a sum, adds up, sums that nothing else reads taken apart."""
    terms: list[Value] = []
    for each in graph.producer[value].inputs:
        node = graph.producer.get(each)
        terms += _terms(graph, each) if node is not None and _is_sum(node) and _is_term(graph, node) else [each]
    return terms
