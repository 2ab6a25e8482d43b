"""Graph level: evolutionary search over whole programs, by what they cost end to end.

The op level adds up costs of regions, which is blind to what regions do to each other. Here a genome says which
alternative each part of the program takes, and its cost is that of the whole program. Every evaluation compiles and
times a program, so what counts is how few are needed: offspring are bred in plenty from the best genomes known, a
model of the costs seen so far (``surrogate``) picks the few that are evaluated, and the neighbours of the best genome
are bred along.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .archive import Archive, Evaluate, checked
from .breeding import offspring as offspring_of
from .genome import Genome, Space
from .risks import Risks
from .surrogate import Surrogate

#: Spaces up to this size are evaluated completely, and this many genomes left of one are all considered.
ENUMERATED, LISTED = 64, 4096
#: Offspring bred in each of the rounds before the model picks those to evaluate; from the second round on their parents
#: are those that the model takes for the best.
POOL, ROUNDS = 120, 4
#: From the first to the last of a batch's guesses, how far they go into what is unknown; 1 is as far as it is. After so
#: many generations without a better genome they go twice as far.
TIMID, BOLD, IDLE = 0.0, 0.5, 4.0
#: Share of the genomes evaluated that are neighbours of the best, whatever the model says of others.
NEAR = 0.25
#: What a genome that surely fails counts as worse by, in standard deviations of the costs.
FAILURE = 4.0


def changed_genes(genome: Genome) -> int:
    """How many genes differ from what the op level chose."""
    return sum(c != 0 for c in genome)


@dataclass(frozen=True)
class Evolution:
    """What was found.

    ``best`` and ``cost`` are None if no genome has a cost. ``ranked`` holds the best genomes with their costs, each the
    simplest of those that tie with the cheapest left. ``evaluations`` counts those made now, without what was known.
    ``history`` has the least cost after each batch. ``costs`` is everything known, failures as None: hand it on as
    ``known`` to go on. ``exhausted`` is True if every genome was evaluated. ``ended`` says why the search ended.
    """

    best: Genome | None
    cost: float | None
    ranked: tuple[tuple[Genome, float], ...]
    evaluations: int
    generations: int
    history: tuple[float | None, ...]
    failed: tuple[Genome, ...]
    exhausted: bool
    ended: str
    costs: Mapping[Genome, float | None]


def evolve(
    choices: Sequence[int],
    evaluate: Evaluate,
    *,
    seeds: Sequence[Genome],
    groups: Sequence[Sequence[int]] = (),
    labels: Sequence[Sequence[Hashable]] | None = None,
    predicted: Callable[[Genome], float] | None = None,
    seed: int = 0,
    population: int = 20,
    offspring: int = 8,
    generations: int = 100,
    patience: int = 12,
    evaluations: int | None = None,
    out_of_time: Callable[[], bool] = lambda: False,
    known: Mapping[Genome, float | None] | None = None,
    simplicity: Callable[[Genome], Any] = changed_genes,
    tolerance: float = 0.0,
    keep: int = 5,
) -> Evolution:
    """The cheapest genome found; ``choices[i]`` is the number of alternatives of gene ``i``, 0 the op level's.

    ``evaluate`` gets at most ``offspring`` genomes at a time and no genome twice; costs are positive, in any unit.
    ``seeds`` are evaluated first. ``groups`` are genes that belong together: equal regions, neighbours in the graph.
    ``labels[i][c]`` names the backend of a choice where equal numbers are not equal backends. ``predicted`` may give
    positive costs from another model, in any unit, to start from.

    ``population`` is the number of parents. After ``patience`` generations without a better genome, or ``generations``
    in all, the surroundings of the best are searched, and if that helps, evolution goes on. ``evaluations`` bounds the
    genomes evaluated, known ones that come up included. ``out_of_time()`` is asked before each batch; then, and on an
    interrupt during ``evaluate``, what is known by then counts.

    The search goes the same way for the same costs and ``seed``: started with all costs ``known`` from one that was
    stopped, it ends as that would have. Costs within ``tolerance`` (relative) of the least are ties; they go to the
    genome with the least ``simplicity``, then to the lower cost; the ``keep`` best are ranked.
    """
    if min(population, offspring) < 1 or min(generations, patience) < 0:
        raise ValueError(
            "population and offspring must be 1 or more, generations and patience 0 or more, got "
            f"{population}, {offspring}, {generations} and {patience}"
        )
    space = Space.of(choices, groups, labels)
    archive = Archive(
        space.size,
        evaluate,
        known={space.check(genome): checked(genome, cost) for genome, cost in (known or {}).items()},
        batch=offspring,
        limit=evaluations,
        out_of_time=out_of_time,
        simplicity=simplicity,
        tolerance=tolerance,
    )
    archive.evaluate([space.check(genome) for genome in seeds] or [space.zero])
    if space.size <= ENUMERATED:
        archive.evaluate(space.everything())
    breeder = _Breeder(space, archive, Surrogate(space, predicted), np.random.default_rng(seed), population)
    generation = 0
    while archive.ended is None:
        idle = 0
        while archive.ended is None and idle < patience and generation < generations:
            best = archive.best
            archive.evaluate(breeder.proposals(idle))
            generation += 1
            idle = 0 if archive.best != best else idle + 1
        best = archive.best
        while archive.ended is None and (near := breeder.surroundings()):
            archive.evaluate(near)
        if archive.best == best or generation >= generations:
            archive.finish("nothing better was near")
    archive.finish("")
    ranked = tuple((genome, archive.successes[genome]) for genome in archive.ranked(keep))
    best, cost = ranked[0] if ranked else (None, None)
    return Evolution(
        best=best,
        cost=cost,
        ranked=ranked,
        evaluations=archive.evaluations,
        generations=generation,
        history=tuple(archive.history),
        failed=archive.failed,
        exhausted=archive.exhausted,
        ended=archive.ended or "",
        costs=archive.costs,
    )


@dataclass(frozen=True)
class _Breeder:
    """Proposes genomes that were not evaluated yet."""

    space: Space
    archive: Archive
    model: Surrogate
    rng: np.random.Generator
    population: int

    def proposals(self, idle: int) -> list[Genome]:
        """A batch of offspring of the best genomes, those that are best by guesses at their costs.

        Guesses are the bolder the longer the search was ``idle``.
        """
        parents = self.space.array(self.archive.cheapest(self.population) or [self.space.zero])
        guess = self._guesses(idle)
        seen = set(self.archive.costs)
        near = _new(self.rng.permutation(self.space.neighbours(parents[0])), seen)[:POOL]
        pool = np.concatenate([near, _new(offspring_of(self.space, parents, POOL, self.rng), seen)])
        scores = guess(pool)
        for _ in range(ROUNDS if len(pool) else 0):
            # What each guess ranks first, then what each ranks second, and so on.
            order = np.argsort(scores, axis=1, kind="stable")[:, : self.population].T.ravel().tolist()
            parents = pool[list(dict.fromkeys(order))[: self.population]]
            more = _new(offspring_of(self.space, parents, POOL, self.rng), seen)
            pool = np.concatenate([pool, more])
            scores = np.concatenate([scores, guess(more)], axis=1)
        if len(pool) < self.archive.batch and self.space.size <= LISTED:
            pool = _new(self.space.array(list(self.space.everything())), set(self.archive.costs))
            scores = guess(pool)
        return self._picked(pool, scores, len(near))

    def surroundings(self) -> list[Genome]:
        """A batch of neighbours of the best genome."""
        best = self.archive.best
        if best is None:
            return []
        pool = _new(self.space.neighbours(np.array(best, dtype=int)), set(self.archive.costs))
        return self._picked(pool, self._guesses(0)(pool), len(pool))

    def _guesses(self, idle: int) -> Callable[[np.ndarray], np.ndarray]:
        """As many guesses as there are genomes in a batch, at costs and at whether there will be any."""
        size, costs = self.archive.batch, self.archive.successes
        boldness = np.linspace(TIMID, BOLD, size) * (1 + idle / IDLE)
        guess = self.model.guesses(costs, boldness, self.rng) if costs else None
        risks = Risks(self.space, self.archive.costs)

        def guess_all(genomes: np.ndarray) -> np.ndarray:
            scores = guess(genomes) if guess is not None else np.zeros((size, len(genomes)))
            return scores + FAILURE * risks(genomes)

        return guess_all

    def _picked(self, pool: np.ndarray, scores: np.ndarray, near: int) -> list[Genome]:
        """A batch from ``pool``: what each guess takes for the best, now and then only among the first ``near``."""
        left = np.ones(len(pool), dtype=bool)
        for row in scores if len(pool) > self.archive.batch else ():
            some = slice(near if self.rng.random() < NEAR and left[:near].any() else None)
            left[np.where(left, row, np.inf)[some].argmin()] = False
        chosen = pool if left.all() else pool[~left]
        return list(map(tuple, chosen.tolist()))


def _new(genomes: np.ndarray, seen: set[Genome]) -> np.ndarray:
    """The rows that are not in ``seen``, each once; they are then."""
    rows = []
    for i, genome in enumerate(map(tuple, genomes.tolist())):
        if genome not in seen:
            seen.add(genome)
            rows.append(i)
    return genomes[rows]
