"""From a function at one signature to the fastest program found: every stage, in order."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from . import _compat, device
from .backends import registry
from .backends.base import Backend
from .candidates import XLA, Candidate, Candidates, Refusal, find
from .contenders import plans_to_time, refined_plan
from .costs import Cost, CostKey, CostStore, Failed, Measured, MemoryStore
from .graph.fold import fold_channel_affine
from .graph.ir import Graph, Node
from .graph.split import split
from .graph.trace import trace_jaxpr
from .lowering import Lowered, lower
from .measure import regions, whole
from .measure.handover import handover_us_per_byte
from .patterns.recognise import recognise
from .placement import Placement
from .plan import Plan
from .search.op_level import Charges, Choice, choose
from .summary import placed_regions

#: Costs found in this process, shared by all decorated functions.
STORE: CostStore = MemoryStore()


@dataclass(frozen=True)
class Settings:
    """How to tune: the arguments of ``collage_jax.jit`` with defaults filled in."""

    backends: tuple[str, ...] | None
    tune: str
    budget_s: float
    tolerance: float | None


@dataclass(frozen=True, eq=False)
class Tuned:
    """The decision for one signature. ``lowered`` is None where plain ``jax.jit`` is used."""

    placement: Placement
    lowered: Lowered | None


def tune(
    closed_jaxpr: Any,
    frozen: Collection[int],
    arguments: Sequence[Any],
    reference: Callable[[], Any],
    settings: Settings,
    spread_over_devices: bool = False,
) -> Tuned:
    """Place the program ``closed_jaxpr``.

    ``frozen`` are the numbers of its frozen inputs, ``arguments`` arrays for all of its inputs (on which whole programs
    are checked and timed), ``reference()`` runs the undecorated function on them through ``jax.jit`` and returns its
    results.
    """
    begin = time.perf_counter()
    deadline = begin + settings.budget_s
    allowed, unavailable = registry.usable(settings.backends)
    backends = {b.name: b for b in (*allowed, registry.reference())}
    graph = trace_jaxpr(closed_jaxpr)

    def stay(note: str, refusals: Sequence[Refusal] = ()) -> Tuned:
        return Tuned(_xla_placement(note, refusals, unavailable, time.perf_counter() - begin), None)

    if spread_over_devices:
        return stay("Arguments are spread over several devices: XLA alone partitions the program.")
    if not allowed:
        excluded = settings.backends is not None and not unavailable
        return stay("`backends` allows none but XLA." if excluded else "No backend but XLA can be used here.")
    frozen_values = [graph.inputs[i] for i in frozen]
    parts = split(fold_channel_affine(graph, frozen_values), frozen_values)
    parts = replace(parts, each=recognise_all(parts.each))
    options = {g: find(g, allowed, parts.kept if g is parts.each else ()) for g in graphs_of(parts.each)}
    refusals = [r for o in options.values() for r in o.refusals]
    if not any(c.backend != XLA for o in options.values() for c in o.chosen_from):
        return stay("No backend wants any part of this function.", refusals)
    if graph.has_effects:
        return stay("The function has side effects, so it cannot be run to be timed.", refusals)
    notes: list[str] = []
    measuring_until = min(deadline, time.perf_counter() + 0.8 * settings.budget_s)
    costs, measured = _costs(options.values(), backends, measuring_until if settings.tune != "cached" else 0.0, notes)
    notes += _gaps(costs, settings)
    # "cached" may time nothing, the machine included.
    charges = Charges(handover_us_per_byte() if settings.tune != "cached" else 0.0)
    choices = {g: choose(o, costs, charges) for g, o in options.items()}
    plan = _plan(parts.each, choices)
    unbroken = {g: choose(o, costs, charges.unbroken()) for g, o in options.items()}
    plans = plans_to_time(plan, _plan(parts.each, unbroken), options, costs, only_one=settings.tune != "two-level")
    held = set(frozen)
    arrays = [arguments[i] for i in sorted(held)], [a for i, a in enumerate(arguments) if i not in held]
    if settings.tune == "two-level":
        build = partial(lower, split=parts, backends=backends, timed=True)
        plans |= refined_plan(plans, options[parts.each], costs, build, arrays, deadline, notes)
    programs = {name: partial(lower, p, parts, backends) for name, p in plans.items()}
    outcome = _decide(programs, *arrays, reference, settings, deadline) if programs else whole.stay(_why_plain(costs))
    rows = placed_regions(plans.get(outcome.winner or "") or Plan.plain(parts.each), options, costs)
    placement = Placement(
        regions=rows,
        refusals=tuple(refusals),
        predicted_us=sum(row.total_us for row in rows),
        measured_us=outcome.measured_us,
        xla_us=outcome.xla_us,
        error=outcome.error,
        tuning_s=time.perf_counter() - begin,
        distinct_measured=measured,
        unavailable=unavailable,
        notes=(*notes, *outcome.notes),
    )
    return Tuned(placement, outcome.lowered)


def _decide(
    programs: Mapping[str, Callable[[], Lowered]],
    frozen: Sequence[Any],
    others: Sequence[Any],
    reference: Callable[[], Any],
    settings: Settings,
    deadline: float,
) -> whole.Outcome:
    try:
        if settings.tune == "cached":
            return whole.trust(*next(iter(programs.items())))
        return whole.decide(programs, frozen, others, reference, settings.tolerance, deadline)
    except KeyboardInterrupt:
        return whole.stay("Interrupted before whole programs were compared: XLA alone is used.")


def _xla_placement(note: str, refusals: Sequence[Refusal], unavailable: Mapping[str, str], seconds: float) -> Placement:
    return Placement((), tuple(refusals), tuning_s=seconds, unavailable=unavailable, notes=(note,))


def recognise_all(graph: Graph) -> Graph:
    """``graph`` with composites recognised, in the bodies of its control flow too."""
    nodes = tuple(
        replace(n, subgraphs={k: tuple(map(recognise_all, v)) for k, v in n.subgraphs.items()}) if n.subgraphs else n
        for n in graph.nodes
    )
    return recognise(replace(graph, nodes=nodes))


def graphs_of(graph: Graph) -> Iterator[Graph]:
    """``graph`` and the bodies of its control flow, at every depth."""
    yield graph
    for node in graph.nodes:
        for bodies in node.subgraphs.values():
            for body in bodies:
                yield from graphs_of(body)


def _costs(
    options: Collection[Candidates], backends: Mapping[str, Backend], deadline: float, notes: list[str]
) -> tuple[dict[tuple[str, str], Cost], int]:
    """Costs by (region key, backend), and how many distinct regions were measured for them.

    An interrupt ends the measuring; what is known by then counts.
    """
    settings, machine = device.settings(), device.description()
    versions = {name: backend.version() for name, backend in backends.items()}

    def key_of(candidate: Candidate) -> CostKey:
        name = candidate.backend
        return CostKey(candidate.key, name, versions[name], _compat.JAXLIB_VERSION, machine, settings)

    costs: dict[tuple[str, str], Cost] = {}
    measured: set[str] = set()
    try:
        for group, found in regions.measure(
            [c for o in options for c in o.chosen_from], backends, STORE, key_of, deadline
        ):
            costs.update(((group[name].key, name), cost) for name, cost in found.items())
            if any(isinstance(cost, Measured) and cost.runs and not cost.recalled for cost in found.values()):
                measured.update(c.key for c in group.values())
    except KeyboardInterrupt:
        notes.append("Tuning was interrupted: the best of what was measured is used.")
    return costs, len(measured)


def _gaps(costs: Mapping[tuple[str, str], Cost], settings: Settings) -> list[str]:
    """A note on the regions without costs, if there are any."""
    unknown = {key for (key, _), cost in costs.items() if isinstance(cost, Failed) and cost.stage == "budget"}
    if not unknown:
        return []
    if settings.tune == "cached":
        return [f'No costs of {len(unknown)} distinct regions are known, and tune="cached" measures none.']
    spent = f"The budget of {settings.budget_s:g} s was spent"
    return [f"{spent} before {len(unknown)} distinct regions were measured."]


def _why_plain(costs: Mapping[tuple[str, str], Cost]) -> str:
    """Why no plan is worth timing as a whole."""
    if any(isinstance(cost, Measured) and name != XLA for (_, name), cost in costs.items()):
        return "XLA is the fastest on every region that was measured."
    return "No kernel but XLA's own was right and timed."


def _plan(graph: Graph, choices: Mapping[Graph, Choice]) -> Plan:
    inner: dict[Node, dict[str, tuple[Plan, ...]]] = {}
    for node in graph.nodes:
        if node.subgraphs:
            inner[node] = {k: tuple(_plan(body, choices) for body in bodies) for k, bodies in node.subgraphs.items()}
    return Plan(graph, choices[graph].placed, inner)
