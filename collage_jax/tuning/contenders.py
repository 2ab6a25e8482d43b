"""The plans worth timing as whole programs."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any

from .. import watch
from ..backends.base import Backend
from ..candidates import XLA, Candidates
from ..costs import Cost, Measured, has_failed
from ..graph.ir import Graph, Node
from ..graph.region import Region
from ..lowering.build import Lowered
from ..lowering.plan import Plan
from ..measure import inside, reference
from ..search.op_level import Charges, choose

#: The name of the plan whose kernels were compared inside the program.
REFINED = "refined"
#: Programs for that comparison that do without a backend.
MOST_WITHOUT = 2


def plans_to_time(
    plan: Plan,
    unbroken: Plan,
    options: Mapping[Graph, Candidates],
    costs: Mapping[tuple[str, str], Cost],
    only_one: bool,
) -> dict[str, Plan]:
    """The plans worth timing as whole programs, by name; none if XLA runs everything.

    Isolated costs mislead where they are close (lost fusion, cache state, sleeping threads). So besides ``plan``, which
    takes them as they are, there is one with fewer regions placed, and ``unbroken``, with more.
    """
    if only_one:
        return {} if plan.is_plain else {"op-level": plan}
    plans = {"op-level": plan, "unbroken": unbroken, "clear wins only": _clear_wins(plan, options, costs)}
    distinct: dict[frozenset[tuple[int, tuple[int, ...], str]], str] = {}
    for name, candidate in plans.items():
        distinct.setdefault(candidate.identity, name)
    return {name: plans[name] for name in distinct.values() if not plans[name].is_plain}


def runtime_plans(
    options: Mapping[Graph, Candidates],
    root: Graph,
    backends: Mapping[str, Backend],
    costs: Mapping[tuple[str, str], Cost],
) -> dict[str, Plan]:
    """For each graph runtime, the plan for ``root`` that gives it all it takes: the largest regions first.

    Without those that failed alone; none for a runtime that would leave XLA what takes it seconds.
    """
    plans: dict[str, Plan] = {}
    for name in [n for n, backend in backends.items() if backend.kind == "graph-runtime" and n != XLA]:
        placed: dict[Graph, list[tuple[Region, str]]] = {}
        for graph, each in options.items():
            taken = [c for c in (*each.subgraphs, *each.chosen_from) if c.backend == name]
            regions = [c.region for c in taken if not has_failed(costs.get((c.key, name)))]
            covered: set[Node] = set()
            for region in sorted(regions, key=lambda r: -len(r.nodes)):
                if covered.isdisjoint(region.nodes):
                    covered.update(region.nodes)
                    placed.setdefault(graph, []).append((region, name))
        if placed and _left_s(options, placed) < reference.TOO_LABORIOUS_S:
            plans[f"all on {name}"] = Plan.of(root, placed)
    return plans


def _left_s(options: Mapping[Graph, Candidates], placed: Mapping[Graph, Sequence[tuple[Region, str]]]) -> float:
    """About how long XLA takes for the laborious convolutions that are not ``placed``, in seconds."""
    covered = {node for regions in placed.values() for region, _ in regions for node in region.nodes}
    # A body of control flow is a graph of its own.
    return sum(
        reference.laborious_s(primitive)
        for graph in options
        for node in graph.nodes
        if node not in covered
        for primitive in node.primitives
    )


def refined_plan(
    plans: Mapping[str, Plan],
    options: Candidates,
    costs: Mapping[tuple[str, str], Cost],
    charges: Charges,
    build: Callable[[Plan], Lowered],
    arrays: tuple[Sequence[Any], Sequence[Any]],
    deadline: float,
    barred: Mapping[str, str],
    notes: list[str],
) -> tuple[dict[str, Plan], Mapping[tuple[str, str], Cost]]:
    """One more plan worth timing, or none: that with most regions placed, chosen anew by times inside the program.

    With it come the costs as they are there, those given if nothing was timed. ``options`` are the candidates of the
    plans' graph; ``build`` lowers a plan to a program that gives the times of its steps, ``arrays`` are its arguments.
    What goes wrong becomes a note; so does what ``barred`` says of it, that it ended the process before.
    """
    name = max(plans, key=lambda name: len(plans[name].placed), default=None)
    if name is None or time.perf_counter() > deadline:
        return {}, costs
    if REFINED in barred:
        notes.append(f"Kernels could not be compared inside the program: {barred[REFINED]}")
        return {}, costs
    plan = plans[name]
    without = islice(_without_one(plan, options, costs, charges), MOST_WITHOUT)
    tried = [*inside.variants(plan, options, costs), *without]
    if len(tried) < 2 or len(plan.placed) < 2:  # a lone call is no step
        return {}, costs
    limit_s = len(tried) * watch.COMPILE_S + inside.SECONDS + max(0.0, deadline - time.perf_counter())
    try:
        with watch.at(watch.Step("", "program", REFINED, limit_s=limit_s)):
            inside_us = inside.timed(tried, options, build, *arrays, deadline)
    except KeyboardInterrupt:
        notes.append("Tuning was interrupted: kernels were not compared inside the program.")
        return {}, costs
    except Exception as failure:  # kernels that work alone but not here cost this plan only
        notes.append(f"Kernels could not be compared inside the program: {type(failure).__name__}: {failure}")
        return {}, costs
    standing = inside.where_they_stand(options, costs, inside_us)
    refined = replace(plan, placed=choose(options, standing, charges).placed)
    return ({REFINED: refined} if refined.identity != plan.identity else {}), standing


def _without_one(
    plan: Plan, options: Candidates, costs: Mapping[tuple[str, str], Cost], charges: Charges
) -> Iterator[Plan]:
    """Plans that do without one of the backends of ``plan`` and cover what it had by other regions, not much slower."""
    regions = {region.indices for region, _ in plan.placed}
    least_us = choose(options, costs, charges).cost_us
    for name, _ in Counter(name for _, name in plan.placed).most_common():
        fewer = replace(options, chosen_from=tuple(c for c in options.chosen_from if c.backend != name))
        other = choose(fewer, costs, charges)
        covered = {region.indices for region, _ in other.placed}
        if other.cost_us <= inside.NEAR * least_us and not covered <= regions:
            yield replace(plan, placed=other.placed)


def _clear_wins(plan: Plan, options: Mapping[Graph, Candidates], costs: Mapping[tuple[str, str], Cost]) -> Plan:
    """``plan`` with only the regions that beat XLA by a quarter or more of its time."""
    xla = {c.region.indices: costs.get((c.key, XLA)) for c in options[plan.graph].chosen_from if c.backend == XLA}
    own = {(c.region.indices, c.backend): costs.get((c.key, c.backend)) for c in options[plan.graph].chosen_from}

    def is_clear(region: Region, name: str) -> bool:
        theirs, ours = xla.get(region.indices), own.get((region.indices, name))
        return isinstance(theirs, Measured) and isinstance(ours, Measured) and ours.median_us < 0.75 * theirs.median_us

    inner = {
        node: {k: tuple(_clear_wins(p, options, costs) for p in plans) for k, plans in bodies.items()}
        for node, bodies in plan.inner.items()
    }
    return Plan(plan.graph, tuple(placed for placed in plan.placed if is_clear(*placed)), inner)
