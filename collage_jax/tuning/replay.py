"""A placement carried out: from what was decided, here or elsewhere, back to a plan for a graph at hand."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping

from ..backends.base import Backend
from ..candidates import XLA, refusal
from ..graph.canonical import region_key
from ..graph.ir import Graph, Value
from ..graph.region import Region
from ..lowering.plan import Plan
from ..placement import Placement
from ..problem import Problem


class Mismatch(ValueError):
    """The placement was made for another program."""


def plan_of(placement: Placement, problem: Problem, backends: Mapping[str, Backend]) -> tuple[Plan, tuple[str, ...]]:
    """The plan that ``placement`` stands for, and notes on the regions that have to stay with XLA instead.

    Raises ``Mismatch`` if ``problem`` is not what it was made for.
    """
    if placement.program and placement.program != problem.key:
        raise Mismatch(
            "the placement was made for another program (other operations, shapes, dtypes or frozen arguments, or "
            "traced by another version of JAX); let this one be tuned again without `placement`, and save that"
        )
    notes: list[str] = []
    placed: dict[Graph, list[tuple[Region, str]]] = defaultdict(list)
    for region in placement.regions:
        if region.backend == XLA:
            continue
        for place in region.places:
            graph = problem.graphs.get(place.graph)
            found = None if graph is None else _region(graph, place.nodes, problem.split.kept, region.key)
            if graph is None or found is None:
                raise Mismatch(
                    f"the placement has {'+'.join(region.ops)} at {place.nodes} of {place.graph or 'the program'}, "
                    "where this program has something else (other shapes, dtypes, operations or frozen arguments); let "
                    "it be tuned again without `placement`, and save that"
                )
            why = _why_not(region.backend, found, backends)
            if why is not None:
                notes.append(f"{'+'.join(region.ops)} stays with XLA: {why}")
            else:
                placed[graph].append((found, region.backend))
    return Plan.of(problem.split.each, placed), tuple(dict.fromkeys(notes))


def _region(graph: Graph, places: Collection[int], kept: Collection[Value], key: str) -> Region | None:
    if not places or not all(0 <= i < len(graph.nodes) for i in places):
        return None
    region = Region.of(graph, (graph.nodes[i] for i in places))
    return region if region_key(region, set(kept).intersection(region.entries)) == key else None


def _why_not(name: str, region: Region, backends: Mapping[str, Backend]) -> str | None:
    if name not in backends:
        return f"the backend {name} cannot be used here"
    refused = refusal(backends[name], region)
    return None if refused is None else f"{name} refuses it here: {refused.reason}"
