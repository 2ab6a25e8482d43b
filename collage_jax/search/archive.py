"""Genomes and their costs: each is evaluated once, ties go to the simpler, and a search can be taken up again."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from heapq import nsmallest
from itertools import islice
from typing import Any, TypeAlias

from .genome import Genome

#: Costs of distinct genomes in their order, None for one that failed. A shorter answer says that time was up.
Evaluate: TypeAlias = Callable[[Sequence[Genome]], Sequence[float | None]]

#: Why a search with a limit ends.
USED_UP = "all evaluations were used"


class Archive:
    """What was evaluated in one search of a space of ``size`` genomes, at most ``limit`` of them.

    ``costs`` is what the search may look at. Costs ``known`` from another search stand in for evaluations of the same
    genomes; all of them are looked at from the first genome on that has to be evaluated. So a search that was stopped
    is repeated up to that point from its costs, and goes on as it would have. ``ended`` says why no more is evaluated.
    """

    def __init__(
        self,
        size: int,
        evaluate: Evaluate,
        *,
        known: Mapping[Genome, float | None],
        batch: int,
        limit: int | None,
        out_of_time: Callable[[], bool],
        simplicity: Callable[[Genome], Any],
        tolerance: float,
    ) -> None:
        self.costs: dict[Genome, float | None] = {}
        self.ended: str | None = None if limit is None or limit > 0 else USED_UP
        self.history: list[float | None] = []
        self.evaluations = 0
        self.batch = batch
        self._left = math.inf if limit is None else limit
        self._size = size
        self._evaluate = evaluate
        self._known = dict(known)
        self._out_of_time = out_of_time
        self._simplicity = simplicity
        self._tolerance = tolerance

    def evaluate(self, genomes: Iterable[Genome]) -> None:
        """Find the costs of those ``genomes`` that have none yet, batch by batch, unless the search ends before."""
        fresh = (genome for genome in dict.fromkeys(genomes) if genome not in self.costs)
        while self.ended is None and (wanted := list(islice(fresh, int(min(self.batch, self._left))))):
            self._evaluate_batch(wanted)
            if len(self.costs) == self._size:
                self.ended = "every genome was evaluated"
            elif self._left <= 0:
                self.ended = USED_UP

    def _evaluate_batch(self, wanted: list[Genome]) -> None:
        new = [genome for genome in wanted if genome not in self._known]
        if new:
            if self._out_of_time():
                self.ended = "time was up"
                return
            self._measure(new)
            self.costs.update(self._known)
        else:
            self.costs.update((genome, self._known[genome]) for genome in wanted)
        self._left -= len(wanted)
        self.history.append(min(self.successes.values(), default=None))

    def _measure(self, genomes: list[Genome]) -> None:
        try:
            found = list(self._evaluate(genomes))
        except KeyboardInterrupt:
            self.ended = "interrupted"
            return
        if len(found) > len(genomes):
            raise ValueError(f"evaluate must return a cost for each of {len(genomes)} genomes, got {len(found)}")
        for genome, cost in zip(genomes, found, strict=False):
            self._known[genome] = checked(genome, cost)
        self.evaluations += len(found)
        if len(found) < len(genomes):
            self.ended = "time was up"

    def finish(self, reason: str) -> None:
        """End the search for ``reason``, if it has not ended, and look at all that is known."""
        self.ended = self.ended or reason
        self.costs.update(self._known)

    @property
    def successes(self) -> dict[Genome, float]:
        return {genome: cost for genome, cost in self.costs.items() if cost is not None}

    @property
    def failed(self) -> tuple[Genome, ...]:
        return tuple(sorted(genome for genome, cost in self.costs.items() if cost is None))

    @property
    def exhausted(self) -> bool:
        return len(self.costs) == self._size

    @property
    def best(self) -> Genome | None:
        """The simplest of the genomes that tie with the cheapest."""
        found = self.successes
        return self._best_of(found) if found else None

    def ranked(self, count: int) -> list[Genome]:
        """The best genomes: again and again the best of those left."""
        left = self.successes
        chosen: list[Genome] = []
        while left and len(chosen) < count:
            chosen.append(self._best_of(left))
            del left[chosen[-1]]
        return chosen

    def cheapest(self, count: int) -> list[Genome]:
        """The genomes with the least costs, ties or not."""
        found = self.successes
        limit = max(nsmallest(count, found.values()), default=0.0)
        near = (genome for genome, cost in found.items() if cost <= limit)
        return sorted(near, key=lambda genome: (found[genome], self._simplicity(genome), genome))[:count]

    def _best_of(self, found: Mapping[Genome, float]) -> Genome:
        limit = min(found.values()) * (1 + self._tolerance)
        ties = (genome for genome, cost in found.items() if cost <= limit)
        return min(ties, key=lambda genome: (self._simplicity(genome), found[genome], genome))


def checked(genome: Genome, cost: float | None) -> float | None:
    """``cost``, if it is one; ``ValueError`` otherwise."""
    if cost is None or (math.isfinite(cost) and cost > 0):
        return cost
    raise ValueError(f"a cost must be positive and finite, or None for a genome that failed; got {cost} for {genome}")
