"""How far to the right the vertices of a layered graph stand.

Within a layer they keep their order and their distance. Under that, the sum of the edges' squared widths, each with its
weight, is made small layer by layer; it never grows on the way.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise

from .layers import Layers

GAP = 18.0
PASSES = 24
#: Weights of edges by how many of their ends are points of a passing edge, which is to be straight.
WEIGHTS = (1.0, 2.0, 8.0)
#: How much more than points boxes hold to their place at the end, when each passing edge is made as upright as they let
#: it be.
HEAVY = 50.0


def middles(layers: Layers, width_of: Mapping[int, float]) -> dict[int, float]:
    """The horizontal position of each vertex's middle."""
    chain_of: dict[int, tuple[int, ...]] = {}
    for chain in filter(None, layers.chains):
        chain_of.update(dict.fromkeys(chain[1:-1], chain[1:-1]))
    near: dict[int, list[tuple[int, float]]] = {v: [] for v in width_of}
    for chain in filter(None, layers.chains):
        for a, b in pairwise(chain):
            weight = WEIGHTS[(a in chain_of) + (b in chain_of)]
            near[a].append((b, weight))
            near[b].append((a, weight))
    weight_of = {v: sum(weight for _, weight in around) for v, around in near.items()}
    middle: dict[int, float] = {}
    for row in layers.order:
        x = -sum(width_of[v] + GAP for v in row) / 2
        for v in row:
            middle[v] = x + width_of[v] / 2
            x += width_of[v] + GAP

    def move(row: Sequence[int], to: Callable[[int], float], weight: Callable[[int], float]) -> None:
        found = apart([to(v) for v in row], [width_of[v] for v in row], [weight(v) for v in row])
        middle.update(zip(row, found, strict=True))

    def between(v: int) -> float:
        return sum(middle[n] * weight for n, weight in near[v]) / weight_of[v] if near[v] else middle[v]

    for i in range(PASSES):
        for row in reversed(layers.order) if i % 2 else layers.order:
            move(row, between, lambda v: weight_of[v] or 1.0)
    upright = {v: sum(middle[p] for p in points) / len(points) for v, points in chain_of.items()}
    for row in layers.order:
        move(row, lambda v: upright.get(v, middle[v]), lambda v: 1.0 if v in chain_of else HEAVY)
    return middle


def apart(wanted: Sequence[float], widths: Sequence[float], weights: Sequence[float]) -> list[float]:
    """Middles in the given order that do not overlap, with the least weighted squared distance from ``wanted``."""
    offsets = [0.0]
    for left, right in pairwise(widths):
        offsets.append(offsets[-1] + (left + right) / 2 + GAP)
    # Less the offsets, middles must only not decrease: neighbours that would are pooled at their mean.
    pools: list[tuple[float, float, int]] = []
    for target, offset, weight in zip(wanted, offsets, weights, strict=True):
        mean, total, size = target - offset, weight, 1
        while pools and pools[-1][0] >= mean:
            other, other_total, other_size = pools.pop()
            mean = (mean * total + other * other_total) / (total + other_total)
            total, size = total + other_total, size + other_size
        pools.append((mean, total, size))
    flat = [mean for mean, _, size in pools for _ in range(size)]
    return [x + offset for x, offset in zip(flat, offsets, strict=True)]
