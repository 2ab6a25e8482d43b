"""Where the boxes of a graph stand and where its edges run, in pixels.

Parts of the graph that do not hang together are put side by side, in rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from .layers import layers
from .spacing import middles

Point: TypeAlias = tuple[float, float]
Edge: TypeAlias = tuple[int, int]

LAYER_GAP, POINT_WIDTH, PART_GAP = 34.0, 6.0, 40.0
#: Parts of a graph are put side by side up to this width.
ROW_WIDTH = 1100.0


@dataclass(frozen=True)
class Layout:
    """``corners`` are the boxes' upper left ones. ``routes`` has for each edge the points it passes from box to box.

    Between the first two points, the next two and so on an edge crosses the gap between layers; in between it goes down
    through a layer. A route of an edge that points up, or is long among many, goes straight.
    """

    width: float
    height: float
    corners: tuple[Point, ...]
    routes: tuple[tuple[Point, ...], ...]


def layout(sizes: Sequence[Point], edges: Sequence[Edge]) -> Layout:
    """A layout of boxes with the widths and heights ``sizes``."""
    corners: list[Point] = [(0.0, 0.0)] * len(sizes)
    routes: list[tuple[Point, ...]] = [()] * len(edges)
    parts = _parts(len(sizes), edges)
    part_of = {v: (i, j) for i, part in enumerate(parts) for j, v in enumerate(part)}
    inside: list[list[int]] = [[] for _ in parts]
    for number, (a, _) in enumerate(edges):
        inside[part_of[a][0]].append(number)
    laid = [
        _part([sizes[v] for v in part], [(part_of[edges[i][0]][1], part_of[edges[i][1]][1]) for i in numbers])
        for part, numbers in zip(parts, inside, strict=True)
    ]
    limit = max([ROW_WIDTH, *(found.width for found in laid)])
    left = top = row_height = width = 0.0
    for part, found, numbers in zip(parts, laid, inside, strict=True):
        if left and left + found.width > limit:
            left, top, row_height = 0.0, top + row_height + PART_GAP, 0.0
        for vertex, (x, y) in zip(part, found.corners, strict=True):
            corners[vertex] = x + left, y + top
        for number, route in zip(numbers, found.routes, strict=True):
            routes[number] = tuple((x + left, y + top) for x, y in route)
        width, row_height = max(width, left + found.width), max(row_height, found.height)
        left += found.width + PART_GAP
    return Layout(width, top + row_height, tuple(corners), tuple(routes))


def _parts(count: int, edges: Iterable[Edge]) -> list[list[int]]:
    """Vertices that hang together, those with the lowest first; vertices without any edge at the end."""
    near: list[list[int]] = [[] for _ in range(count)]
    for a, b in edges:
        near[a].append(b)
        near[b].append(a)
    seen: set[int] = set()
    parts: list[list[int]] = []
    for start in range(count):
        if start in seen:
            continue
        seen.add(start)
        part = [start]
        for vertex in part:
            fresh = [n for n in dict.fromkeys(near[vertex]) if n not in seen]
            seen.update(fresh)
            part += fresh
        parts.append(sorted(part))
    return sorted(parts, key=lambda part: len(part) == 1)


def _part(sizes: Sequence[Point], edges: Sequence[Edge]) -> Layout:
    found = layers(len(sizes), edges)
    width_of = dict.fromkeys((v for row in found.order for v in row), POINT_WIDTH)
    width_of.update((v, width) for v, (width, _) in enumerate(sizes))
    middle = middles(found, width_of)
    left = min(x - width_of[v] / 2 for v, x in middle.items())
    right = max(x + width_of[v] / 2 for v, x in middle.items())
    corners: list[Point] = [(0.0, 0.0)] * len(sizes)
    bounds: dict[int, Point] = {}
    top = 0.0
    for row in found.order:
        height = max((sizes[v][1] for v in row if v < len(sizes)), default=0.0)
        for v in row:
            if v < len(sizes):
                width, own = sizes[v]
                corners[v] = middle[v] - left - width / 2, top + (height - own) / 2
                bounds[v] = corners[v][1], corners[v][1] + own
            else:
                bounds[v] = top, top + height
        top += height + LAYER_GAP
    chains = [chain or edge for chain, edge in zip(found.chains, edges, strict=True)]
    starts, ends = _ports(chains, middle, width_of)
    routes = []
    for i, (first, *between, last) in enumerate(chains):
        passed = [(middle[v] - left, y) for v in between for y in bounds[v]]
        routes.append(((starts[i] - left, bounds[first][1]), *passed, (ends[i] - left, bounds[last][0])))
    return Layout(right - left, top - LAYER_GAP, tuple(corners), tuple(routes))


def _ports(
    chains: Sequence[Sequence[int]], middle: dict[int, float], width_of: dict[int, float]
) -> tuple[list[float], list[float]]:
    """Where each edge leaves its first box and enters its last: side by side, in the order of their other ends."""
    leaving: dict[int, list[int]] = {}
    entering: dict[int, list[int]] = {}
    for i, chain in enumerate(chains):
        leaving.setdefault(chain[0], []).append(i)
        entering.setdefault(chain[-1], []).append(i)

    def spread(groups: dict[int, list[int]], other: int) -> list[float]:
        found = [0.0] * len(chains)
        for box, numbers in groups.items():
            numbers.sort(key=lambda i: middle[chains[i][other]])
            step = min(12.0, 0.6 * width_of[box] / len(numbers))
            for k, i in enumerate(numbers):
                found[i] = middle[box] + step * (k - (len(numbers) - 1) / 2)
        return found

    return spread(leaving, 1), spread(entering, -2)
