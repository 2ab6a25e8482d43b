"""The second level: whole programs, built and timed, where costs of regions that add up mislead.

Contenders from the op level come first; an evolutionary search goes on from the best of them. All are timed in turn
beside XLA alone at the end, and what they took corrects the model that adds up.
"""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from .. import watch
from ..backends.base import Backend
from ..candidates import XLA, Candidates, is_view
from ..costs import Cost, Measured, has_failed
from ..graph.ir import Graph
from ..graph.region import Region
from ..lowering.build import Lowered
from ..lowering.plan import Plan
from ..measure import verdict
from ..measure.verdict import Outcome
from ..measure.whole import XLA_ALONE, Trials
from ..search.correction import Correction, Features, Observation, fit
from ..search.evolution import evolve
from ..search.genome import Genome
from .bridges import bridged
from .neighbourhood import Neighbourhood, around

#: Rounds of a race between programs of one generation, and seconds for it.
ROUNDS, SECONDS = 5, 1.5
#: Programs of one generation; generations without a better one before the search ends.
OFFSPRING, PATIENCE = 4, 2
#: Share of the time left at the beginning that the search may take, and the seconds that it may take at most.
SHARE, AT_MOST_S = 0.3, 18.0
#: It may also take no longer than so many calls of the program by XLA alone: what is short is not worth more.
CALLS = 1000
#: Programs that are this close (relative) count as equally fast.
TIE = 0.01

EVOLVED = "evolved"


@dataclass(frozen=True, eq=False)
class Decided:
    """``plan`` is None where XLA runs everything. ``uncorrected_us`` adds up costs, ``predicted_us`` is corrected.

    ``is_cut_short``: a program was left out that a larger budget would have had time for.
    """

    plan: Plan | None
    outcome: Outcome
    uncorrected_us: float | None = None
    predicted_us: float | None = None
    is_cut_short: bool = False


class GraphLevel:
    """Whole programs for one problem; ``build`` lowers a plan.

    ``costs`` are those of ``options`` alone, ``standing`` those inside a program, as far as they are known.
    """

    def __init__(
        self,
        trials: Trials,
        build: Callable[[Plan], Lowered],
        options: Mapping[Graph, Candidates],
        costs: Mapping[tuple[str, str], Cost],
        backends: Mapping[str, Backend],
        barred: Mapping[str, str],
    ) -> None:
        self._trials, self._build, self._options = trials, build, options
        self._costs = self.standing = costs
        self._backends, self._barred = backends, barred
        #: A program was left out that a larger budget would have had time for.
        self.is_cut_short = False
        self._plans: dict[str, Plan] = {}
        #: Plans as the model sees them, and the ratio of their time to that of the anchor, the best before the search.
        self._observed: list[tuple[Features, float]] = []
        self._anchor = ""
        self._xla_us = math.inf
        self._numbers = {id(graph): i for i, graph in enumerate(options)}
        self._keys = {(id(g), c.region.indices, c.backend): c.key for g, o in options.items() for c in o.chosen_from}

    def enter(self, name: str, plan: Plan) -> bool:
        """Let ``plan`` take part, unless it or a kernel in it is known to fail or it is not right."""
        if (why := self._barred.get(name) or self._why_not(plan)) is not None:
            self._trials.notes.append(f"{name}: {why}")
            return False
        self._plans[name] = plan
        return self._trials.enter(name, lambda: self._build(plan))

    def enter_in_time(self, name: str, plan: Plan, late: float) -> bool:
        """As ``enter``; a second program only if it can be built before ``late`` (of ``time.perf_counter``)."""
        if self._trials.names and time.perf_counter() + self._trials.build_s > late:
            self._trials.notes.append(f"{name}: not built, for the budget was spent.")
            self.is_cut_short = True
            return False
        return self.enter(name, plan)

    def improve(self, names: Collection[str], deadline: float, seed: int = 0) -> None:
        """Search around the best plan of ``names`` that takes part; the best one found takes part from then on."""
        begin = time.perf_counter()
        times = self._timed(self._trials.names)
        placed = {name: us for name, us in times.items() if name in names}
        if not placed:
            return
        self._anchor = anchor = min(placed, key=placed.__getitem__)
        self._observe(times)
        anchor_us, self._xla_us = times[anchor], times[XLA_ALONE]
        worth_s = CALLS * self._xla_us / 1e6
        until = begin + min(AT_MOST_S, worth_s, SHARE * max(0.0, deadline - begin))
        # Programs of large functions take long to compile: no more of them than there is time for.
        offspring = min(OFFSPRING, int((until - time.perf_counter()) / max(self._trials.build_s, 1e-3)))
        if offspring < 1:
            return
        near = around(self._plans[anchor], self._options, self.standing, self._backends)
        if not near.genes:
            return
        correction = self.correction({anchor: anchor_us})
        found = evolve(
            near.choices,
            lambda genomes: self._evaluated(genomes, near, anchor, anchor_us),
            seeds=near.seeds,
            groups=near.groups,
            labels=near.labels,
            predicted=lambda genome: correction.predict(self.features(near.plan(genome, together=False))) or 1e-9,
            seed=seed,
            offspring=offspring,
            patience=PATIENCE,
            out_of_time=lambda: time.perf_counter() > until,
            tolerance=TIE,
        )
        if found.best is not None and any(found.best) and not (plan := near.plan(found.best)).is_plain:
            self.enter(EVOLVED, plan)
        self._trials.notes.append(f"Graph level: {found.evaluations} programs timed; {found.ended}.")

    def bridged(self, plans: Mapping[str, Plan]) -> dict[str, Plan]:
        """``plans`` without XLA between their kernels, those that there are and that do not take part yet."""
        known = {plan.identity for plan in self._plans.values()}
        found = {_bridged(name): self._without_xla(plan) for name, plan in plans.items()}
        return {name: plan for name, plan in found.items() if plan is not None and plan.identity not in known}

    def bridged_fastest(self) -> dict[str, Plan]:
        """The same for the fastest plan that takes part."""
        plans = {name: self._plans[name] for name in self._trials.names if name in self._plans}
        found = self.bridged(plans)
        if found and len(plans) > 1:
            times = self._timed(list(plans))
            fastest = _bridged(min(plans, key=lambda name: times.get(name, math.inf)))
            return {name: plan for name, plan in found.items() if name == fastest}
        return found

    def _without_xla(self, plan: Plan) -> Plan | None:
        return bridged(plan, self._options[plan.graph], self._costs, self._backends)

    def decide(self, deadline: float) -> Decided:
        """The fastest program, beside XLA alone."""
        outcome = verdict.decide(self._trials, deadline, lambda name: _changes(self._plans[name]))
        if outcome.winner is None:
            return Decided(None, outcome, is_cut_short=self.is_cut_short)
        plan = self._plans[outcome.winner]
        alone_us = sum(self._sums(plan, self._costs).values())
        predicted_us = self.correction(verdict.medians_us(self._trials, outcome.winner)).predict(self.features(plan))
        return Decided(plan, outcome, alone_us, predicted_us, self.is_cut_short)

    def correction(self, times_us: Mapping[str, float]) -> Correction:
        """What ``times_us``, of one race, and what was timed beside the anchor say of the model that adds up."""
        now = [Observation(self._features_of(name), us) for name, us in times_us.items()]
        anchor_us = times_us.get(self._anchor)
        before = self._observed if anchor_us else []
        return fit([*now, *(Observation(features, ratio * (anchor_us or 1.0)) for features, ratio in before)])

    def features(self, plan: Plan) -> Features:
        """What the model sees of ``plan``: costs by backend, changes between XLA and others. Loop bodies count once."""
        return Features(self._sums(plan, self.standing), _changes(plan))

    def _sums(self, plan: Plan, costs: Mapping[tuple[str, str], Cost]) -> dict[str, float]:
        sums: dict[str, float] = {}
        for part in _parts(plan):
            for region, name in part.steps:
                sums[name or XLA] = sums.get(name or XLA, 0.0) + self._cost_us(part.graph, region, name or XLA, costs)
        return sums

    def _cost_us(self, graph: Graph, region: Region, name: str, costs: Mapping[tuple[str, str], Cost]) -> float:
        """What ``region`` takes; where that is not known, what its operations take XLA."""
        key = self._keys.get((id(graph), region.indices, name))
        cost = None if key is None else costs.get((key, name))
        if isinstance(cost, Measured):
            return max(0.0, cost.median_us)
        if len(region.nodes) == 1:
            return 0.0
        return sum(self._cost_us(graph, Region.of(graph, (node,)), XLA, costs) for node in region.nodes)

    def _why_not(self, plan: Plan) -> str | None:
        """What is wrong with a kernel of ``plan``, alone: on the arguments of one call it may seem right.

        Regions of a graph runtime that were merged can be one that failed.
        """
        for part, region, name in plan.everything():
            cost = self._costs.get((self._keys.get((id(part.graph), region.indices, name), ""), name))
            if has_failed(cost):
                return f"{name} failed alone on {'+'.join(region.ops)}: {cost.reason}"
        return None

    def _timed(self, names: Sequence[str]) -> dict[str, float]:
        """Microseconds of programs, those in ``names`` and XLA alone."""
        samples = self._trials.race([XLA_ALONE, *names], ROUNDS, SECONDS, hopeless=4.0)
        return {name: float(np.median(s)) * 1e6 for name, s in samples.items()}

    def _observe(self, times_us: Mapping[str, float]) -> None:
        """Keep for the model what programs took in a race with the anchor."""
        self._observed += [(self._features_of(n), us / times_us[self._anchor]) for n, us in times_us.items()]

    def _features_of(self, name: str) -> Features:
        graph = next(iter(self._options))
        return self.features(self._plans[name] if name in self._plans else Plan.plain(graph))

    def _evaluated(
        self, genomes: Sequence[Genome], near: Neighbourhood, anchor: str, anchor_us: float
    ) -> list[float | None]:
        """What each genome's program takes, in terms of the anchor's time in the same race."""
        plans = {genome: near.plan(genome) for genome in genomes if any(genome)}
        names = {genome: f"{EVOLVED} {_digest(plan, self._numbers)}" for genome, plan in plans.items()}
        entered = {g: n for g, n in names.items() if not plans[g].is_plain and self._entered_quietly(n, plans[g])}
        samples = self._trials.race([anchor, *entered.values()], ROUNDS, SECONDS, hopeless=4.0)
        if anchor not in samples:
            return [None] * len(genomes)
        costs: dict[Genome, float] = {genome: anchor_us for genome in genomes if not any(genome)}
        costs |= {genome: self._xla_us for genome, plan in plans.items() if plan.is_plain}
        for genome, name in entered.items():
            if name in samples:
                count = min(len(samples[name]), len(samples[anchor]))
                ratio = float(np.median(samples[name][:count] / samples[anchor][:count]))
                costs[genome] = ratio * anchor_us
                self._observed.append((self.features(plans[genome]), ratio))
                self._trials.leave(name)
        for name in names.values():
            self._plans.pop(name, None)
        watch.report("programs", len(self._observed), 0)
        return [costs.get(genome) for genome in genomes]

    def _entered_quietly(self, name: str, plan: Plan) -> bool:
        """As ``enter``, for a program that nobody needs to hear of."""
        noted = len(self._trials.notes)
        entered = self.enter(name, plan)
        del self._trials.notes[noted:]
        return entered


def _bridged(name: str) -> str:
    return f"{name}, bridged"


def _digest(plan: Plan, numbers: Mapping[int, int]) -> str:
    """A short name that is equal for equal plans in any process; ``numbers`` counts graphs by identity."""
    placed = sorted((numbers[id(p.graph)], region.indices, name) for p, region, name in plan.everything())
    return hashlib.sha256(repr(placed).encode()).hexdigest()[:12]


def _changes(plan: Plan) -> int:
    """Between XLA and others, in the order of the plan; what only changes a shape is none."""
    owners = [name is None for region, name in plan.steps if not is_view(region)]
    return sum(a != b for a, b in pairwise(owners))


def _parts(plan: Plan) -> Iterator[Plan]:
    yield plan
    for bodies in plan.inner.values():
        for plans in bodies.values():
            for part in plans:
                yield from _parts(part)
