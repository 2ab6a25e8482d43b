"""What genomes that were not timed may cost, learnt from those that were.

Bayesian linear regression of the logarithm of the cost on what a genome is made of: the share of each backend in the
program and in each group, each gene's choice, neighbours that are equal or as the op level chose, groups that are one
backend's throughout. Coarse features have the wider prior, so that a few timings settle the broad lines and more of
them the details. Guesses are samples of the posterior (Thompson sampling): where little is known they differ, so that
what looks good and what is unknown both get their turn.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from .genome import Genome, Space

#: Prior standard deviations of the features' weights, in standard deviations of the costs seen.
SHARE, JOINS, GROUP_SHARE, UNIFORM, GENE, PAIR = 1.0, 1.0, 0.5, 0.5, 0.3, 0.2
#: How far guesses differ, 1 as much as is unknown.
BOLDNESS = 1.0
#: Noise of a timing, in the same unit.
NOISE = 0.05
#: Logarithms of costs are cut off this far above the median: what is hopeless teaches nothing about the best.
CUT_OFF = 0.5
#: The least standard deviation of logarithms: differences below it are noise.
LEAST = 1e-3


@dataclass(frozen=True)
class Guesses:
    """Several guesses at the cost of every genome, each a sample of what costs may be for all that is known."""

    surrogate: Surrogate
    weights: np.ndarray
    scale: float
    cut: float

    def __call__(self, genomes: Sequence[Genome]) -> np.ndarray:
        """A row for each guess, a column for each genome: lower is cheaper. The unit is a deviation of costs seen."""
        expected = np.minimum(self.surrogate.expected(genomes), self.cut) / self.scale
        # Equal up to rounding must be equal, lest a machine's arithmetic decide between equals.
        return np.round(self.weights @ self.surrogate.features(genomes).T + expected, 9)


class Surrogate:
    """A model of costs over ``space``.

    ``predicted`` gives what a genome would cost by some other model, in any unit; what is learnt is the error of that.
    """

    def __init__(self, space: Space, predicted: Callable[[Genome], float] | None = None) -> None:
        self._space = space
        self._predicted = predicted
        self._first, self._second = np.nonzero(np.triu(space.beside))
        self._groups = space.members[space.members.sum(axis=1) > 2]
        self._rows: dict[Genome, np.ndarray] = {}

    def guesses(self, costs: Mapping[Genome, float], count: int, rng: np.random.Generator) -> Guesses:
        """``count`` guesses that agree with ``costs``, of which there must be one."""
        known = sorted(costs)
        expected = self.expected(known)
        cut = float(np.median(expected)) + CUT_OFF
        logs = np.log([costs[genome] for genome in known])
        logs = np.minimum(logs, np.median(logs) + CUT_OFF) - np.minimum(expected, cut)
        centre, scale = float(logs.mean()), max(float(logs.std()), LEAST)
        seen = self._remembered(known)
        weights = BOLDNESS * rng.standard_normal((count, seen.shape[1]))
        noise = BOLDNESS * NOISE * rng.standard_normal((count, len(known)))
        residuals = (logs - centre) / scale - weights @ seen.T - noise
        weights += np.linalg.solve(seen @ seen.T + NOISE**2 * np.eye(len(known)), residuals.T).T @ seen
        return Guesses(self, weights, scale, cut)

    def expected(self, genomes: Sequence[Genome]) -> np.ndarray:
        """The logarithm of what is predicted."""
        if self._predicted is None:
            return np.zeros(len(genomes))
        return np.array([math.log(self._predicted(genome)) for genome in genomes])

    def features(self, genomes: Sequence[Genome]) -> np.ndarray:
        """A row for each genome, each column scaled by its prior."""
        space = self._space
        taken = space.array(genomes)
        rows, genes = taken.shape
        numbers = np.arange(len(space.paints) - 1)
        meant = space.meaning[np.arange(genes), taken]
        meaning = meant[:, :, None] == numbers
        shares = self._groups / np.maximum(self._groups.sum(axis=1, keepdims=True), 1) @ meaning.astype(float)
        equal = (meant[:, self._first] == meant[:, self._second])[:, :, None] & meaning[:, self._first]
        changed = taken != 0
        blocks = [
            SHARE / max(genes, 1) * meaning.sum(axis=1),
            JOINS / max(len(self._first), 1) * equal.sum(axis=1),
            GROUP_SHARE * shares,
            UNIFORM * (shares > 1 - 1e-9),
            GENE * (taken[:, :, None] == np.arange(1, space.meaning.shape[1])),
            PAIR * equal,
            PAIR * ~(changed[:, self._first] | changed[:, self._second]),
        ]
        return np.concatenate([block.reshape(rows, math.prod(block.shape[1:])) for block in blocks], axis=1)

    def _remembered(self, genomes: Sequence[Genome]) -> np.ndarray:
        """The features of genomes that come again and again."""
        new = [genome for genome in genomes if genome not in self._rows]
        self._rows.update(zip(new, self.features(new), strict=True))
        return np.array([self._rows[genome] for genome in genomes])


def risks(space: Space, costs: Mapping[Genome, float | None], genomes: Sequence[Genome]) -> np.ndarray:
    """How likely each of ``genomes`` is to fail, if single choices are to blame for the failures in ``costs``.

    The suspects of a failure are those of its choices that were in no success; each is as likely as the others.
    """
    failed = _choices_in(space, [genome for genome, cost in costs.items() if cost is None])
    innocent = _choices_in(space, [genome for genome, cost in costs.items() if cost is not None]).any(axis=0)
    suspects = (failed & ~innocent).astype(float)
    counts = suspects.sum(axis=1, keepdims=True)
    blamed = suspects @ _choices_in(space, genomes).T / np.maximum(counts, 1)
    return np.round(1 - np.prod(1 - blamed, axis=0), 9)


def _choices_in(space: Space, genomes: Sequence[Genome]) -> np.ndarray:
    """A row for each genome, a column for each choice of each gene: whether the genome takes it."""
    taken = space.array(genomes)[:, :, None] == np.arange(space.meaning.shape[1])
    return taken.reshape(len(genomes), space.meaning.size)
