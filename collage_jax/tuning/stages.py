"""From a problem to its placement: matching, measuring, searching, in order.

All of it may run in another process than the one that asks: what comes out is data alone.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import islice
from typing import Any

from .. import _compat, device
from ..backends import registry
from ..backends.base import Backend
from ..candidates import XLA, Candidates, find
from ..costs import CostStore
from ..graph.ir import Graph
from ..lowering.build import lower
from ..lowering.plan import Plan
from ..measure import verdict, whole
from ..measure.clock import since
from ..measure.handover import fresh_us_per_byte, handover_us_per_byte
from ..measure.others import Others
from ..measure.reference import of_program
from ..placement import Placement
from ..problem import Problem
from ..search.op_level import Charges, choose
from ..switches import NOTHING, Switches, in_force
from .bridges import bridged
from .contenders import plans_to_time, refined_plan, runtime_plans
from .graph_level import Decided, GraphLevel
from .pricing import Prices, price
from .summary import edges_of, left_out, placed_regions

#: The share of the budget after which nothing new is begun: what runs by then takes its time.
IN_TIME = 0.9
#: Whole programs, without which nothing is placed, are built until this share is over, the first in any case.
LATE = 1.15
#: Kernels are compared inside the program if so many programs can be built in time.
REFINING = 4


@dataclass(frozen=True)
class Settings:
    """How to tune: the arguments of ``collage_jax.jit`` with defaults filled in."""

    backends: tuple[str, ...] | None
    tune: str
    budget_s: float
    tolerance: float | None
    switches: Switches = NOTHING

    @property
    def now(self) -> Settings:
        """These, with the switches that are in force beside the function's own."""
        return replace(self, switches=self.switches | in_force())


@dataclass(frozen=True)
class Barred:
    """What ended the process that tuned, or never came back: backends and whole programs by name, with reasons.

    ``one_by_one`` compiles one kernel at a time, so that it is clear which one ends the process.
    """

    backends: Mapping[str, str] = field(default_factory=dict)
    programs: Mapping[str, str] = field(default_factory=dict)
    one_by_one: bool = False


def tune(
    problem: Problem,
    arguments: Sequence[Any],
    reference: Callable[[], Any],
    settings: Settings,
    store: CostStore,
    barred: Barred | None = None,
) -> Placement:
    """Place ``problem``.

    ``arguments`` are arrays for all inputs of the program, on which whole programs are checked and timed;
    ``reference()`` runs the undecorated function on them through ``jax.jit`` and returns its results.
    """
    begin, others = time.perf_counter(), Others()
    deadline = begin + IN_TIME * settings.budget_s
    barred = barred or Barred()
    usable, unavailable = registry.usable(settings.backends, settings.switches)
    allowed = [b for b in usable if b.name not in barred.backends]
    unavailable = {**unavailable, **barred.backends}
    if not allowed:
        excluded = settings.backends is not None and not unavailable
        note = "`backends` allows none but XLA." if excluded else "No backend but XLA can be used here."
        return Placement((), unavailable=unavailable, notes=(note,), tuning_s=since(begin))
    backends = registry.with_reference(allowed)
    graphs = problem.graphs
    each = problem.split.each
    kept = problem.split.kept
    options = {g: find(g, allowed, kept if g is each else (), settings.switches) for g in graphs.values()}
    refusals = tuple(r for o in options.values() for r in o.refusals)
    prices = Prices({}, 0)
    if not any(c.backend != XLA for o in options.values() for c in (*o.chosen_from, *o.subgraphs)):
        decided = Decided(None, verdict.stay("No backend wants any part of this function."))
    elif problem.has_effects:
        decided = Decided(None, verdict.stay("The function has side effects, so it cannot be run to be timed."))
    else:
        known_only = settings.tune == "cached"
        until = 0.0 if known_only else deadline
        prices = price(options.values(), backends, store, until, barred.one_by_one)
        decided = _decided(problem, arguments, reference, settings, backends, options, prices, barred, deadline)
    totals = decided.uncorrected_us, decided.predicted_us
    rows = placed_regions(decided.plan or Plan.plain(each), graphs, kept, options, prices.costs)
    if prices.costs and None in totals:  # no placed program was timed
        totals = (sum(row.total_us for row in rows),) * 2
    was_busy = others.note() if prices.measured or decided.outcome.xla_us is not None else ()
    return Placement(
        regions=rows if prices.costs else (),
        refusals=(*refusals, *left_out(rows, options.values(), prices.costs)),
        uncorrected_us=totals[0],
        predicted_us=totals[1],
        measured_us=decided.outcome.measured_us,
        xla_us=decided.outcome.xla_us,
        error=decided.outcome.error,
        tuning_s=since(begin),
        distinct_measured=prices.measured,
        unavailable=unavailable,
        notes=(*prices.notes, *_gaps(prices, settings), *decided.outcome.notes, *was_busy),
        is_final=not prices.unknown and not prices.notes and not decided.is_cut_short and decided.outcome.is_clear,
        budget_s=0.0 if prices.notes or not decided.outcome.is_clear else settings.budget_s,
        program=problem.key,
        edges={name: edges_of(graph) for name, graph in graphs.items()} if prices.costs else {},
        environment=environment(backends),
    )


def environment(backends: Mapping[str, Backend]) -> dict[str, str]:
    """What times depend on besides the program."""
    versions = {name: backend.version() for name, backend in backends.items()}
    return {"jaxlib": _compat.JAXLIB_VERSION, "device": device.description(), "settings": device.settings(), **versions}


def _decided(
    problem: Problem,
    arguments: Sequence[Any],
    reference: Callable[[], Any],
    settings: Settings,
    backends: Mapping[str, Backend],
    options: Mapping[Graph, Candidates],
    prices: Prices,
    barred: Barred,
    deadline: float,
) -> Decided:
    """The plan to use, if it is better than XLA alone."""
    each = problem.split.each
    # "cached" may time nothing, the machine included.
    charges = Charges(handover_us_per_byte(), fresh_us_per_byte()) if settings.tune != "cached" else Charges()
    op_level = Plan.of(each, {g: choose(o, prices.costs, charges).placed for g, o in options.items()})
    unbroken = Plan.of(each, {g: choose(o, prices.costs, charges.unbroken()).placed for g, o in options.items()})
    plans = plans_to_time(op_level, unbroken, options, prices.costs, only_one=settings.tune != "two-level")
    whole_runtimes = runtime_plans(options, each, backends, prices.costs) if settings.tune == "two-level" else {}
    if not plans and not whole_runtimes:
        return Decided(None, verdict.stay(prices.why_plain))
    if settings.tune == "cached":
        note = "Placed from known costs; nothing was timed."
        op_level = bridged(op_level, options[each], prices.costs, backends) or op_level
        return Decided(op_level, verdict.Outcome("op-level", None, None, None, (note,)))
    arrays = problem.divided(arguments)
    build = partial(lower, split=problem.split, backends=backends)
    late = deadline + (LATE - IN_TIME) * settings.budget_s
    try:
        compared = of_program(problem.split, *arrays, reference)
        trials = whole.Trials(*arrays, compared, settings.tolerance)
        level = GraphLevel(trials, build, options, prices.costs, backends, barred.programs)
        likeliest = dict(islice(plans.items(), 1))
        without_xla = level.bridged(likeliest) if settings.tune == "two-level" else {}
        ordered = {**without_xla, **likeliest, **whole_runtimes, **plans}
        for name, plan in ordered.items():
            level.enter_in_time(name, plan, late)
        if settings.tune == "two-level" and plans:
            if time.perf_counter() + REFINING * trials.build_s < deadline:
                timed = partial(build, timed=True)
                alone, between, bad = prices.costs, charges.unbroken(), barred.programs
                also, level.standing = refined_plan(
                    plans, options[each], alone, between, timed, arrays, deadline, bad, trials.notes
                )
                for name, plan in also.items():
                    level.enter_in_time(name, plan, late)
                plans |= also
            level.improve(list(plans), deadline)
            for name, plan in level.bridged_fastest().items():
                level.enter_in_time(name, plan, late)
        return level.decide(deadline)
    except KeyboardInterrupt:
        return Decided(None, verdict.stay("Interrupted before whole programs were compared: XLA alone is used."))


def _gaps(prices: Prices, settings: Settings) -> list[str]:
    """A note on the regions without costs, if there are any."""
    if not prices.unknown:
        return []
    if settings.tune == "cached":
        return [f'No costs of {prices.unknown} distinct regions are known, and tune="cached" measures none.']
    return [f"The budget did not reach for {prices.unknown} distinct regions."]
