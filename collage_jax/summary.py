"""Plan + costs -> the regions of a Placement, equal ones counted together."""

from __future__ import annotations

from collections.abc import Mapping

from .candidates import XLA, Candidate, Candidates
from .costs import Cost, Failed, Measured
from .graph.ir import Graph
from .graph.region import Region
from .placement import PlacedRegion
from .plan import Plan

NOT_MEASURED = Measured(0.0, runs=0, note="part of XLA's program; not measured alone")


def placed_regions(
    plan: Plan, options: Mapping[Graph, Candidates], costs: Mapping[tuple[str, str], Cost]
) -> tuple[PlacedRegion, ...]:
    """Placed regions in program order, equal ones as one with their count; then what XLA runs, node by node."""
    rows: dict[tuple[str, str], PlacedRegion] = {}
    graphs = {plan.graph: plan} | {p.graph: p for p in _inner(plan)}
    for graph, part in graphs.items():
        by_region = _by_region(options[graph])
        for region, name in part.placed:
            group = by_region[region.indices]
            _count(rows, (group[name].key, name), region, name, group[name].label, _group_costs(group, costs))
        covered = {node for region, _ in part.placed for node in region.nodes}
        for i, node in enumerate(graph.nodes):
            if node not in covered and not node.subgraphs:
                group = by_region.get((i,), {})
                region = Region.of(graph, (node,))
                key = group[XLA].key if XLA in group else node.op
                _count(rows, (key, XLA), region, XLA, node.op, _group_costs(group, costs))
    return tuple(rows.values())


def _inner(plan: Plan) -> list[Plan]:
    direct = [p for bodies in plan.inner.values() for plans in bodies.values() for p in plans]
    return direct + [deeper for p in direct for deeper in _inner(p)]


def _by_region(candidates: Candidates) -> dict[tuple[int, ...], dict[str, Candidate]]:
    found: dict[tuple[int, ...], dict[str, Candidate]] = {}
    for candidate in candidates.chosen_from:
        found.setdefault(candidate.region.indices, {})[candidate.backend] = candidate
    return found


def _group_costs(group: Mapping[str, Candidate], costs: Mapping[tuple[str, str], Cost]) -> dict[str, Cost]:
    missing = Failed("budget", "not measured")
    return {name: costs.get((c.key, c.backend), missing) for name, c in group.items()}


def _count(
    rows: dict[tuple[str, str], PlacedRegion],
    key: tuple[str, str],
    region: Region,
    backend: str,
    label: str,
    costs: dict[str, Cost],
) -> None:
    known = rows.get(key)
    if known is not None:
        rows[key] = PlacedRegion(**{**known.__dict__, "count": known.count + 1})
        return
    cost = costs.pop(backend, NOT_MEASURED)
    shapes = f"{', '.join(map(repr, region.entries))} -> {', '.join(map(repr, region.exits))}"
    rows[key] = PlacedRegion(backend, region.ops, label, cost, costs, shapes)
