"""Regions to ask a backend about that it did not propose, and which of many regions to run."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from typing import TypeVar

from ..graph.ir import Graph, Node
from ..graph.region import Region

T = TypeVar("T")

#: Nodes that a random region grows by at most.
GROWTH = 5


def random_regions(graph: Graph, count: int, seed: int, inside: Iterable[Node] | None = None) -> Iterator[Region]:
    """Connected convex regions of several nodes, barriers among them, the same each time; at most ``count``.

    ``inside`` are the nodes that they may hold, by default all.
    """
    free = set(graph.nodes if inside is None else inside)
    starts = [node for node in graph.nodes if node in free]
    rng = random.Random(seed)
    for _ in range(count if len(starts) > 1 else 0):
        grown = {rng.choice(starts)}
        for _ in range(rng.randrange(1, GROWTH + 1)):
            near = [node for node in _neighbours(graph, grown) if node in free]
            wider = [n for n in near if Region.of(graph, {*grown, n}).is_convex]
            if not wider:
                break
            grown.add(rng.choice(wider))
        yield Region.of(graph, grown)


def _neighbours(graph: Graph, nodes: set[Node]) -> list[Node]:
    near = [graph.producer[v] for n in nodes for v in n.inputs if v in graph.producer]
    near += [user for n in nodes for v in n.outputs for user in graph.users.get(v, ())]
    return sorted(set(near) - nodes, key=graph.position.__getitem__)


def varied(things: Sequence[T], kind: Callable[[T], Hashable], count: int) -> list[T]:
    """At most ``count`` of ``things``: first one of each kind, then a second of each, and so on; kinds are shuffled."""
    by_kind: dict[Hashable, list[T]] = defaultdict(list)
    for thing in things:
        by_kind[kind(thing)].append(thing)
    kinds = list(by_kind.values())
    random.Random(0).shuffle(kinds)  # programs of one sort stand together
    chosen = [each[i] for i in range(max(map(len, kinds), default=0)) for each in kinds if i < len(each)]
    return chosen[:count]
