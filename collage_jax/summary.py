"""Plan + costs -> the regions of a Placement, equal ones counted together."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace

from .candidates import XLA, Candidate, Candidates
from .costs import Cost, Failed, Measured
from .graph.canonical import region_key
from .graph.ir import Graph, Value
from .graph.region import Region
from .placement import Edges, Place, PlacedRegion
from .plan import Plan

NOT_MEASURED = Measured(0.0, runs=0, note="part of XLA's program; not measured alone")


def placed_regions(
    plan: Plan,
    graphs: Mapping[str, Graph],
    kept: Collection[Value],
    options: Mapping[Graph, Candidates],
    costs: Mapping[tuple[str, str], Cost],
) -> tuple[PlacedRegion, ...]:
    """Placed regions in program order, equal ones as one with their count; then what XLA runs, node by node.

    ``kept`` are the values that are frozen.
    """
    rows: dict[tuple[str, str], PlacedRegion] = {}
    placed = dict(_placed(plan))
    for name, graph in graphs.items():
        by_region = _by_region(options[graph])
        covered = {node for region, _ in placed.get(graph, ()) for node in region.nodes}
        alone = ((Region.of(graph, (n,)), XLA) for n in graph.nodes if n not in covered and not n.subgraphs)
        for region, backend in (*placed.get(graph, ()), *alone):
            group = by_region.get(region.indices, {})
            key = group[backend].key if backend in group else region_key(region, set(kept).intersection(region.entries))
            place = Place(name, region.indices)
            known = rows.get((key, backend))
            if known is not None:
                rows[key, backend] = replace(known, count=known.count + 1, places=(*known.places, place))
            else:
                label = group[backend].label if backend != XLA and backend in group else "+".join(region.ops)
                rows[key, backend] = _row(region, backend, label, _group_costs(group, costs), key, place)
    return tuple(rows.values())


def edges_of(graph: Graph) -> Edges:
    """Which node reads what which other makes."""
    return tuple((before, i) for i in range(len(graph.nodes)) for before in sorted(graph.predecessors[i]))


def _placed(plan: Plan) -> Iterator[tuple[Graph, tuple[tuple[Region, str], ...]]]:
    yield plan.graph, plan.placed
    for bodies in plan.inner.values():
        for plans in bodies.values():
            for inner in plans:
                yield from _placed(inner)


def _by_region(candidates: Candidates) -> dict[tuple[int, ...], dict[str, Candidate]]:
    found: dict[tuple[int, ...], dict[str, Candidate]] = {}
    for candidate in candidates.chosen_from:
        found.setdefault(candidate.region.indices, {})[candidate.backend] = candidate
    return found


def _group_costs(group: Mapping[str, Candidate], costs: Mapping[tuple[str, str], Cost]) -> dict[str, Cost]:
    missing = Failed("budget", "not measured")
    return {name: costs.get((c.key, c.backend), missing) for name, c in group.items()}


def _row(region: Region, backend: str, label: str, costs: dict[str, Cost], key: str, place: Place) -> PlacedRegion:
    cost = costs.pop(backend, NOT_MEASURED)
    shapes = f"{', '.join(map(repr, region.entries))} -> {', '.join(map(repr, region.exits))}"
    return PlacedRegion(backend, region.ops, label, cost, costs, shapes, 1, key, (place,))
