"""A placement's graphs with regions for nodes: what is drawn.

XLA fuses what lies between regions, and its single operations have neither a time nor a rival there, so those that hang
together are one box. Operations that XLA runs in rivalry with a backend stand alone, with their costs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from ..candidates import XLA
from ..costs import Failed
from ..placement import PlacedRegion, Placement
from .figures import is_timed
from .layers import topological


@dataclass(frozen=True)
class Box:
    """``rows`` are the numbers of the placement's regions in it: one, or several of XLA's.

    There are none for a node with ``bodies``, which are the names of the graphs inside, and none for nodes that the
    placement says nothing of: XLA runs them. ``nodes`` are its places in the graph.
    """

    rows: tuple[int, ...]
    nodes: tuple[int, ...]
    bodies: tuple[str, ...] = ()


@dataclass(frozen=True)
class Outline:
    """One graph: boxes in program order and, as pairs of their numbers, which reads what another makes."""

    boxes: tuple[Box, ...]
    edges: tuple[tuple[int, int], ...]


def outlines(placement: Placement) -> dict[str, Outline]:
    """An outline of each graph by name, ``""`` that of the program itself; regions without places stand there too."""
    owners: dict[str, dict[int, tuple[int, int]]] = {name: {} for name in graph_names(placement)}
    for row, region in enumerate(placement.regions):
        for number, place in enumerate(region.places):
            owners[place.graph].update((node, (row, number)) for node in place.nodes)
    quiet = {row for row, region in enumerate(placement.regions) if is_quiet(region)}
    inside = bodies(owners)
    found = {name: _outline(placement, name, owners[name], inside.get(name, {}), quiet) for name in owners}
    placeless = tuple(Box((row,), ()) for row, region in enumerate(placement.regions) if not region.places)
    found[""] = Outline(found[""].boxes + placeless, found[""].edges)
    return found


def graph_names(placement: Placement) -> list[str]:
    """All graphs that places or edges speak of, with those around them, each before those inside it."""
    named = {place.graph for region in placement.regions for place in region.places} | set(placement.edges)
    parts = [name.split("/") for name in named if name]
    around = {"/".join(path[:i]) for path in parts for i in range(1, len(path) + 1)}
    return ["", *sorted(around, key=_sort_key)]


def bodies(names: Iterable[str]) -> dict[str, dict[int, tuple[str, ...]]]:
    """For each graph that has some, its nodes with bodies and the graphs these are, by name."""
    found: dict[str, dict[int, tuple[str, ...]]] = {}
    for name in filter(None, names):
        around, _, last = name.rpartition("/")
        nodes, node = found.setdefault(around, {}), int(last.partition(".")[0])
        nodes[node] = (*nodes.get(node, ()), name)
    return found


def is_quiet(region: PlacedRegion) -> bool:
    """True if XLA runs the region and nothing was found out about it."""
    untried = all(isinstance(cost, Failed) and cost.stage == "budget" for cost in region.alternatives.values())
    return region.backend == XLA and untried and not is_timed(region.cost)


def _sort_key(name: str) -> list[tuple[int, str, int]]:
    steps = (step.split(".") for step in name.split("/"))
    return [(int(node), parameter, int(number)) for node, parameter, number in steps]


def _outline(
    placement: Placement,
    name: str,
    owners: dict[int, tuple[int, int]],
    bodies: dict[int, tuple[str, ...]],
    quiet: set[int],
) -> Outline:
    wires = placement.edges.get(name, ())
    nodes = sorted({*owners, *bodies, *(end for wire in wires for end in wire)})
    units: dict[tuple[int, int], int] = {}
    unit_of = {node: units.setdefault(owners.get(node, (-1, node)), len(units)) for node in nodes}
    keys = list(units)
    edges = sorted({(unit_of[a], unit_of[b]) for a, b in wires} - {(u, u) for u in range(len(units))})
    plain = {u for u, (row, node) in enumerate(keys) if row in quiet or (row < 0 and node not in bodies)}
    group_of = _merged(len(units), edges, plain)
    groups: dict[int, list[int]] = {}
    for unit in range(len(units)):
        groups.setdefault(group_of(unit), []).append(unit)
    number = {unit: i for i, members in enumerate(groups.values()) for unit in members}
    held: list[list[int]] = [[] for _ in groups]
    for node in nodes:
        held[number[unit_of[node]]].append(node)
    boxes = [
        Box(
            tuple(keys[unit][0] for unit in members if keys[unit][0] >= 0),
            tuple(inside),
            tuple(body for node in inside for body in bodies.get(node, ())),
        )
        for members, inside in zip(groups.values(), held, strict=True)
    ]
    joined = {(number[a], number[b]) for a, b in edges} - {(i, i) for i in range(len(boxes))}
    return Outline(tuple(boxes), tuple(sorted(joined)))


def _merged(count: int, edges: Iterable[tuple[int, int]], quiet: set[int]) -> Callable[[int], int]:
    """Which group a unit is in, named by its first: quiet units that feed each other with nothing else in between.

    Quiet units are merged only if equally many others lie before them at most. A path that leaves such a group passes
    one of those others and comes to units that have more before them, so groups never feed each other in a circle.
    """
    before: list[list[int]] = [[] for _ in range(count)]
    for a, b in edges:
        before[b].append(a)
    depth = [0] * count
    for unit in topological(count, edges):
        depth[unit] = max((depth[p] + (p not in quiet) for p in before[unit]), default=0)
    leader = list(range(count))

    def first(unit: int) -> int:
        while leader[unit] != unit:
            leader[unit] = leader[leader[unit]]
            unit = leader[unit]
        return unit

    for a, b in edges:
        if a in quiet and b in quiet and depth[a] == depth[b]:
            low, high = sorted((first(a), first(b)))
            leader[high] = low
    return first
