"""Plan + costs -> the regions of a Placement, equal ones counted together."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace

from ..candidates import XLA, Candidate, Candidates, Refusal
from ..costs import Cost, Estimated, Failed, Measured
from ..graph.canonical import region_key
from ..graph.ir import Graph, Value
from ..graph.region import Region
from ..lowering.plan import Plan
from ..placement import LEFT, Edges, Place, PlacedRegion

LARGE = Measured(0.0, runs=0, note="timed as part of whole programs; not measured alone")

#: A region with more arrays than this on one side is described by the first of them.
LISTED = 6

#: Of a backend that was not chosen anywhere, so many candidates are told of.
REASONS = 5


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
                known_costs = {} if _is_large(options[graph], group.get(backend)) else _group_costs(group, costs)
                rows[key, backend] = _row(region, backend, label, known_costs, key, place)
    return tuple(rows.values())


def left_out(
    rows: Collection[PlacedRegion], options: Collection[Candidates], costs: Mapping[tuple[str, str], Cost]
) -> Iterator[Refusal]:
    """Why backends other than XLA that stand in none of ``rows`` are not there: what became of their candidates."""
    seen = {XLA} | {name for row in rows for name in (row.backend, *row.alternatives)}
    told_of: dict[str, dict[Refusal, None]] = {}
    for each in options:
        for candidate in each.chosen_from:
            name = candidate.backend
            if name in seen or (cost := costs.get((candidate.key, name))) is None:
                continue
            reasons = told_of.setdefault(name, {})
            if len(reasons) < REASONS:
                reasons[Refusal(candidate.region.ops, name, _fate(cost, costs.get((candidate.key, XLA))))] = None
    for reasons in told_of.values():
        yield from reasons


def _fate(cost: Cost, of_xla: Cost | None) -> str:
    if isinstance(cost, Failed):
        return f"{cost.stage}: {cost.reason}"
    beside = f", XLA {of_xla.median_us:.1f} us" if isinstance(of_xla, Measured) else ""
    what = "estimated, and not chosen" if isinstance(cost, Estimated) else "right, but not chosen"
    return f"{what}: {cost.median_us:.1f} us{beside}"


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
    for candidate in (*candidates.chosen_from, *candidates.subgraphs):
        found.setdefault(candidate.region.indices, {})[candidate.backend] = candidate
    return found


def _is_large(candidates: Candidates, candidate: Candidate | None) -> bool:
    return candidate is not None and candidate in candidates.subgraphs


def _group_costs(group: Mapping[str, Candidate], costs: Mapping[tuple[str, str], Cost]) -> dict[str, Cost]:
    missing = Failed("budget", "not measured")
    return {name: costs.get((c.key, c.backend), missing) for name, c in group.items()}


def _row(region: Region, backend: str, label: str, costs: dict[str, Cost], key: str, place: Place) -> PlacedRegion:
    cost = costs.pop(backend, LEFT if backend == XLA else LARGE)
    shapes = f"{_listed(region.entries)} -> {_listed(region.exits)}"
    return PlacedRegion(backend, region.ops, label, cost, costs, shapes, 1, key, (place,))


def _listed(values: Sequence[Value]) -> str:
    more = f" and {len(values) - LISTED} more" if len(values) > LISTED else ""
    return ", ".join(map(repr, values[:LISTED])) + more
