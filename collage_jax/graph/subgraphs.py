"""Subgraphs for graph runtimes: as few and as large sets of nodes as can run one after another.

*step*: a set of nodes that runs as one, or a node that runs alone. *stage*: how often the deepest path to a node goes
from nodes that are not accepted back to nodes that are.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from graphlib import CycleError, TopologicalSorter
from math import prod

import numpy as np

from .dominators import successors
from .ir import Graph, Node, Value, is_array_dtype
from .region import Region


def maximal_convex(graph: Graph, accepts: Callable[[Node], bool]) -> list[tuple[Node, ...]]:
    """All nodes that ``accepts`` is true of, in the fewest convex sets that can run in turn with the other nodes.

    The sets are in an order in which they can run; parts of one need not be connected. Barriers are in none, and
    ``accepts`` is not asked about them. A path that leaves accepted nodes and comes back needs a set for each stretch
    of them; no more sets are made than the path with the most stretches needs, so no two of them could be one.

    Nodes of equal stage make a set. Stages are the as-soon-as-possible levels of scheduling, with only the ways back to
    accepted nodes counted: along an edge the stage never falls, and it rises from a node not accepted to an accepted
    one, so that stage by stage, accepted nodes first, everything can run. A node that may as well run in a later stage
    does so if fewer bytes then pass between steps: the broadcast of a bias goes to its reader.
    """
    accepted = [not node.barrier and bool(accepts(node)) for node in graph.nodes]
    stages = _earliest(graph, accepted)
    _delay(graph, accepted, stages)
    found: dict[int, list[Node]] = {}
    for node, stage, taken in zip(graph.nodes, stages, accepted, strict=True):
        if taken:
            found.setdefault(stage, []).append(node)
    return [tuple(found[stage]) for stage in sorted(found)]


def merged(
    graph: Graph, sets: Sequence[Collection[Node]], fixed: Sequence[Collection[Node]] = ()
) -> list[tuple[Node, ...]]:
    """``sets`` with neighbours made one, again and again, as long as all steps can still run one after another.

    Neighbours are sets of which one reads a value of the other. Steps are the sets, those in ``fixed``, which stay as
    they are (regions of others), and each remaining node by itself. Two steps can be one if no path from the one to the
    other passes a third; this keeps sets convex, too. In the order in which they run, sets take the nearest reader that
    they can. No two neighbours in the result could be one, but another order may leave fewer sets.

    Ordered by the first node. Raises ``ValueError`` if a set is empty, if sets share a node, or if the steps cannot run
    one after another to begin with.
    """
    steps = _Steps(graph, [*sets, *fixed])
    free = sum(1 << steps.number[next(iter(each))] for each in sets)
    # Once is enough: the first step on the path that still keeps a set from a reader is in none of the sets and stays.
    for a in _bits(free):
        while free >> a & 1 and (b := steps.reader_to_join(a, free)) is not None:
            steps.join(a, b)
            free ^= 1 << b
    found = [Region.of(graph, steps.members[i]) for i in _bits(free)]
    return [region.nodes for region in sorted(found, key=lambda region: region.indices)]


def _earliest(graph: Graph, accepted: Sequence[bool]) -> list[int]:
    """The earliest stage of each node; -1 for those not accepted that depend on no accepted one."""
    stages: list[int] = []
    for i, taken in enumerate(accepted):
        before = (stages[p] + (taken and not accepted[p]) for p in graph.predecessors[i])
        stages.append(max(before, default=0 if taken else -1))
    return stages


def _delay(graph: Graph, accepted: Sequence[bool], stages: list[int]) -> None:
    """Move accepted nodes to the stage of their readers where that saves bytes between steps."""
    following = successors(graph)
    position, users = graph.position, graph.users

    def is_within(value: Value, readers: Collection[Node], stage: int) -> bool:
        """True if ``value`` never leaves ``stage`` as far as ``readers`` are concerned."""
        inside = (accepted[position[u]] and stages[position[u]] == stage for u in readers)
        return value not in graph.output_set and all(inside)

    # Backwards, so that what feeds a moved node can follow it.
    for i in reversed(range(len(stages))):
        node = graph.nodes[i]
        later = min((stages[s] for s in following[i]), default=stages[i])
        if not accepted[i] or later == stages[i]:
            continue
        saved = sum(_size(v) for v in node.outputs if is_within(v, users.get(v, ()), later))
        added = sum(
            _size(v)
            for v in {v for v in node.inputs if v in graph.producer}
            if is_within(v, (graph.producer[v], *users[v]), stages[i])
        )
        # At a tie nothing is lost, and the node's own producers may gain.
        if saved and saved >= added:
            stages[i] = later


def _size(value: Value) -> int:
    """Bytes, a dimension that is not known yet counting as one element."""
    if not is_array_dtype(value.dtype):
        return 0
    return prod(n for n in value.shape if isinstance(n, int)) * np.dtype(value.dtype).itemsize


class _Steps:
    """The steps of a graph, numbered in an order in which they can run; sets of steps are bit masks.

    ``before`` and ``after`` hold all steps that each depends on and that depend on it, at any distance, ``readers``
    those that read a value of it. A step that became a part of another keeps its bit (beside the other's in ``before``
    and ``after``), so that only what a join changes has to be written; ``own`` are the bits of a step.
    """

    def __init__(self, graph: Graph, sets: Sequence[Collection[Node]]) -> None:
        parts = _checked(graph, sets)
        owner = {node: i for i, part in enumerate(parts) for node in part}
        for node in graph.nodes:
            if node not in owner:
                owner[node] = len(parts)
                parts.append(frozenset((node,)))
        order = _order(graph, parts, owner)
        rank = {part: number for number, part in enumerate(order)}
        self.members = [parts[i] for i in order]
        self.number = {node: rank[i] for node, i in owner.items()}
        self.own = [1 << number for number in range(len(parts))]
        self.joined_to: dict[int, int] = {}
        self.before, self.after, self.readers = ([0] * len(parts) for _ in range(3))
        needs: list[set[int]] = [set() for _ in parts]
        for i, node in enumerate(graph.nodes):
            number = self.number[node]
            needs[number] |= {self.number[graph.nodes[p]] for p in graph.predecessors[i]} - {number}
            for p in {self.number[graph.producer[v]] for v in node.inputs if v in graph.producer} - {number}:
                self.readers[p] |= 1 << number
        for number, direct in enumerate(needs):
            for p in direct:
                self.before[number] |= self.before[p] | 1 << p
        for number in reversed(range(len(parts))):
            for p in needs[number]:
                self.after[p] |= self.after[number] | 1 << number

    def reader_to_join(self, a: int, free: int) -> int | None:
        """The nearest of ``free`` that reads a value of ``a`` and can be one with it."""
        near = {self._now(reader) for reader in _bits(self.readers[a] & ~self.own[a])}
        return min((b for b in near if free >> b & 1 and not self.after[a] & self.before[b]), default=None)

    def join(self, a: int, b: int) -> None:
        """Make ``b`` a part of ``a``, of which it reads a value."""
        # What is before a was before b already, and what is after b after a.
        for i in _bits(self.before[b] & ~self.before[a] & ~self.own[a]):
            self.after[i] |= self.after[a] | self.own[a]
        for i in _bits(self.after[a] & ~self.after[b] & ~self.own[b]):
            self.before[i] |= self.before[b] | self.own[b]
        self.before[a] = self.before[b] & ~self.own[a]
        self.after[a] &= ~self.own[b]
        self.readers[a] |= self.readers[b]
        self.members[a] |= self.members[b]
        self.own[a] |= self.own[b]
        self.joined_to[b] = a

    def _now(self, step: int) -> int:
        """The step that ``step`` has become a part of, if it has."""
        while step in self.joined_to:
            step = self.joined_to[step]
        return step


def _checked(graph: Graph, sets: Sequence[Collection[Node]]) -> list[frozenset[Node]]:
    seen: set[Node] = set()
    for nodes in sets:
        if not nodes or not all(node in graph.position for node in nodes):
            raise ValueError(f"a set must hold nodes of this graph, got {tuple(nodes)}; leave it out")
        if not seen.isdisjoint(nodes):
            raise ValueError(f"sets must not share nodes, got {seen.intersection(nodes)} twice; leave out one of them")
        seen.update(nodes)
    return [*map(frozenset, sets)]


def _order(graph: Graph, parts: Sequence[Collection[Node]], owner: Mapping[Node, int]) -> list[int]:
    """Places in ``parts`` in an order in which they can run."""
    needs: dict[int, dict[int, None]] = {owner[node]: {} for node in graph.nodes}
    for i, node in enumerate(graph.nodes):
        sources = (owner[graph.nodes[p]] for p in sorted(graph.predecessors[i]))
        needs[owner[node]].update((source, None) for source in sources if source != owner[node])
    try:
        return list(TopologicalSorter(needs).static_order())
    except CycleError as error:
        circle = " -> ".join(repr(Region.of(graph, parts[i])) for i in error.args[1])
        raise ValueError(f"steps must run one after another, got the circle {circle}; leave out one of them") from None


def _bits(mask: int) -> Iterator[int]:
    """The places of the bits in ``mask``, lowest first."""
    while mask:
        low = mask & -mask
        yield low.bit_length() - 1
        mask ^= low
