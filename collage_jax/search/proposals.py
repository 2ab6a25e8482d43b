"""Which genomes to evaluate next: offspring of the best, picked by a model of costs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from .archive import Archive
from .breeding import offspring as bred
from .genome import Genome, Space
from .risks import Risks
from .surrogate import Surrogate

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
#: In spaces up to this size all genomes are considered once breeding finds hardly any new ones.
LISTED = 4096


@dataclass(frozen=True)
class Proposals:
    """Batches of genomes that were not evaluated yet, for a search whose costs are in ``archive``."""

    space: Space
    archive: Archive
    model: Surrogate
    rng: np.random.Generator
    population: int

    def offspring(self, idle: int) -> list[Genome]:
        """A batch of offspring of the best genomes, those that are best by guesses at their costs.

        Guesses are the bolder the longer the search was ``idle``.
        """
        parents = self.space.array(self.archive.cheapest(self.population) or [self.space.zero])
        guess = self._guesses(idle)
        near = _new(self.rng.permutation(self.space.neighbours(parents[0])), set(self.archive.costs))[:POOL]
        seen = {*self.archive.costs, *map(tuple, near.tolist())}
        pool = np.concatenate([near, _new(bred(self.space, parents, POOL, self.rng), seen)])
        scores = guess(pool)
        for _ in range(ROUNDS if len(pool) else 0):
            # What each guess ranks first, then what each ranks second, and so on.
            order = np.argsort(scores, axis=1, kind="stable")[:, : self.population].T.ravel().tolist()
            parents = pool[list(dict.fromkeys(order))[: self.population]]
            more = _new(bred(self.space, parents, POOL, self.rng), seen)
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
