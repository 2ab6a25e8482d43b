"""A directed graph in layers, each edge pointing down, with few crossings.

Longest paths give the layers; sources are drawn down to what reads them. An edge that passes layers gets a point in
each of them. Layers are ordered by the mean position of neighbours, down and up in turn, and the order with the fewest
crossings is kept.
"""

from __future__ import annotations

import heapq
from bisect import bisect_right, insort
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

#: Points of passing edges in all: beyond, the longest edges get none and are drawn straight, behind all else.
MOST_POINTS = 4000
SWEEPS = 16


@dataclass(frozen=True)
class Layers:
    """``order`` holds the vertices of each layer from left to right; those from the graph's ``count`` on are points.

    ``chains`` gives, for each edge, the vertices it passes from its start to its end, or None for one drawn straight.
    """

    order: tuple[tuple[int, ...], ...]
    chains: tuple[tuple[int, ...] | None, ...]


def topological(count: int, edges: Iterable[tuple[int, int]]) -> list[int]:
    """Vertices in an order in which each edge points forward, the lowest first where there is a choice.

    Where edges run in a circle, its lowest vertex goes first.
    """
    after: list[list[int]] = [[] for _ in range(count)]
    missing = [0] * count
    for a, b in edges:
        after[a].append(b)
        missing[b] += 1
    ready = [v for v in range(count) if not missing[v]]
    order: list[int] = []
    placed = [False] * count
    stuck = iter(range(count))
    while len(order) < count:
        vertex = heapq.heappop(ready) if ready else next(v for v in stuck if not placed[v])
        if placed[vertex]:
            continue
        placed[vertex] = True
        order.append(vertex)
        for other in after[vertex]:
            missing[other] -= 1
            if not missing[other]:
                heapq.heappush(ready, other)
    return order


def layers(count: int, edges: Sequence[tuple[int, int]]) -> Layers:
    """Layers of the graph with vertices 0 to ``count`` - 1."""
    order = topological(count, edges)
    place = {vertex: i for i, vertex in enumerate(order)}
    forward = [(a, b) for a, b in edges if place[a] < place[b]]
    rank = _ranks(order, forward)
    chains, total = _chains(count, edges, rank)
    rows: list[list[int]] = [[] for _ in range(max(rank, default=-1) + 1)]
    for vertex in order:
        rows[rank[vertex]].append(vertex)
    up: list[list[int]] = [[] for _ in range(total)]
    down: list[list[int]] = [[] for _ in range(total)]
    for chain in chains:
        for step, (a, b) in enumerate(pairwise(chain) if chain else ()):
            down[a].append(b)
            up[b].append(a)
            if b >= count and chain:
                rows[rank[chain[0]] + step + 1].append(b)
    return Layers(tuple(map(tuple, _untangled(rows, up, down))), tuple(chains))


def _ranks(order: Sequence[int], edges: Iterable[tuple[int, int]]) -> list[int]:
    before: list[list[int]] = [[] for _ in order]
    after: list[list[int]] = [[] for _ in order]
    for a, b in edges:
        before[b].append(a)
        after[a].append(b)
    rank = [0] * len(order)
    floats = [False] * len(order)
    for vertex in order:
        rank[vertex] = max((rank[p] + 1 for p in before[vertex]), default=0)
        floats[vertex] = not before[vertex] or (len(before[vertex]) == 1 and floats[before[vertex][0]])
    for vertex in reversed(order):
        if floats[vertex] and after[vertex]:
            rank[vertex] = min(rank[s] for s in after[vertex]) - 1
    return rank


def _chains(
    count: int, edges: Sequence[tuple[int, int]], rank: Sequence[int]
) -> tuple[list[tuple[int, ...] | None], int]:
    """For each edge the vertices it passes, and how many vertices there are with the points."""
    chains: list[tuple[int, ...] | None] = [None] * len(edges)
    total = count
    for i in sorted(range(len(edges)), key=lambda i: rank[edges[i][1]] - rank[edges[i][0]]):
        a, b = edges[i]
        passed = rank[b] - rank[a] - 1
        if passed < 0:
            continue
        if total - count + passed > MOST_POINTS:
            break
        chains[i] = (a, *range(total, total + passed), b)
        total += passed
    return chains, total


def _untangled(rows: list[list[int]], up: Sequence[Sequence[int]], down: Sequence[Sequence[int]]) -> list[list[int]]:
    best, fewest = [list(row) for row in rows], _crossings(rows, down)
    for sweep in range(SWEEPS):
        if not fewest:
            break
        near = down if sweep % 2 else up
        at: dict[int, float] = {}
        for row in reversed(rows) if sweep % 2 else rows:
            wanted = {v: _mean([at[n] for n in near[v]], i) for i, v in enumerate(row)}
            row.sort(key=wanted.__getitem__)
            at.update((v, i) for i, v in enumerate(row))
        crossings = _crossings(rows, down)
        if crossings < fewest:
            best, fewest = [list(row) for row in rows], crossings
    return best


def _mean(numbers: Sequence[float], otherwise: float) -> float:
    return sum(numbers) / len(numbers) if numbers else otherwise


def _crossings(rows: Sequence[Sequence[int]], down: Sequence[Sequence[int]]) -> int:
    """Pairs of edges between neighbouring layers that cross."""
    found = 0
    for upper, lower in pairwise(rows):
        at = {v: i for i, v in enumerate(lower)}
        seen: list[int] = []
        for vertex in upper:
            ends = sorted(at[n] for n in down[vertex])
            found += sum(len(seen) - bisect_right(seen, end) for end in ends)
            for end in ends:
                insort(seen, end)
    return found
