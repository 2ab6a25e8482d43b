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
from functools import partial

import numpy as np

from .genome import Genome, Space

#: Prior standard deviations of the features' weights, in standard deviations of the costs seen.
SHARE, JOINS, GROUP_SHARE, UNIFORM, GENE, PAIR, FAR = 1.0, 2.0, 0.5, 0.5, 0.3, 0.2, 0.25
#: What the noise of a timing may be, in the same unit; the likeliest is taken.
NOISES = (0.02, 0.07, 0.2, 0.6)
#: Logarithms of costs are cut off this far above the median: what is hopeless teaches nothing about the best.
CUT_OFF = 0.1
#: The least standard deviation of logarithms: differences below it are noise.
LEAST = 1e-3


@dataclass(frozen=True)
class Guesses:
    """Several guesses at the cost of every genome, each a sample of what costs may be for all that is known."""

    surrogate: Surrogate
    weights: np.ndarray
    scale: float
    cut: float

    def __call__(self, genomes: np.ndarray) -> np.ndarray:
        """A row for each guess, a column for each row of ``genomes``: lower is cheaper.

        The unit is a standard deviation of the costs seen.
        """
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
        self._one, self._other = np.triu_indices(len(space.choices), 1)
        self._groups = space.members[space.members.sum(axis=1) > 2]
        self._rows: dict[Genome, np.ndarray] = {}

    def guesses(self, costs: Mapping[Genome, float], boldness: np.ndarray, rng: np.random.Generator) -> Guesses:
        """Guesses that agree with ``costs``, of which there must be one.

        There is one for each figure in ``boldness``: 0 the most likely, 1 a sample of all that may be.
        """
        known = sorted(costs)
        expected = self.expected(self._space.array(known))
        cut = float(np.median(expected)) + CUT_OFF
        logs = np.log([costs[genome] for genome in known])
        logs = np.minimum(logs, np.median(logs) + CUT_OFF) - np.minimum(expected, cut)
        centre, scale = float(logs.mean()), max(float(logs.std()), LEAST)
        seen = self._remembered(known)
        residuals = (logs - centre) / scale
        spectrum, basis = np.linalg.eigh(seen @ seen.T)
        noise = max(NOISES, key=partial(_evidence, np.maximum(spectrum, 0), residuals @ basis))
        weights = boldness[:, None] * rng.standard_normal((len(boldness), seen.shape[1]))
        errors = noise * boldness[:, None] * rng.standard_normal((len(boldness), len(known)))
        missed = residuals - weights @ seen.T - errors
        weights += missed @ basis / (np.maximum(spectrum, 0) + noise**2) @ basis.T @ seen
        return Guesses(self, weights, scale, cut)

    def expected(self, genomes: np.ndarray) -> np.ndarray:
        """The logarithm of what is predicted for each row."""
        if self._predicted is None:
            return np.zeros(len(genomes))
        return np.log([self._predicted(tuple(genome)) for genome in genomes.tolist()])

    def features(self, taken: np.ndarray) -> np.ndarray:
        """A row for each genome in ``taken``, each column scaled by its prior."""
        space = self._space
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
            FAR * ~(changed[:, self._one] | changed[:, self._other]),
        ]
        return np.concatenate([block.reshape(rows, math.prod(block.shape[1:])) for block in blocks], axis=1)

    def _remembered(self, genomes: Sequence[Genome]) -> np.ndarray:
        """The features of genomes that come again and again."""
        new = [genome for genome in genomes if genome not in self._rows]
        self._rows.update(zip(new, self.features(self._space.array(new)), strict=True))
        return np.array([self._rows[genome] for genome in genomes])


def _evidence(spectrum: np.ndarray, components: np.ndarray, noise: float) -> float:
    """The logarithm of how likely ``components`` of costs along axes with these variances are, but for a constant."""
    variances = spectrum + noise**2
    return float(-0.5 * np.sum(components**2 / variances + np.log(variances)))


class Risks:
    """How likely genomes are to fail, if single choices are to blame for the failures in ``costs``.

    The suspects of a failure are those of its choices that were in no success; each is as likely as the others.
    """

    def __init__(self, space: Space, costs: Mapping[Genome, float | None]) -> None:
        self._numbers = np.arange(space.meaning.shape[1])
        failed = self._choices_in(space.array([genome for genome, cost in costs.items() if cost is None]))
        innocent = self._choices_in(space.array([genome for genome, cost in costs.items() if cost is not None]))
        suspects = failed & ~innocent.any(axis=0)
        counts = suspects.sum(axis=1, keepdims=True)
        self._blame = (suspects / np.maximum(counts, 1))[counts[:, 0] > 0]

    def __call__(self, genomes: np.ndarray) -> np.ndarray:
        """A probability for each row."""
        if not len(self._blame):
            return np.zeros(len(genomes))
        return np.round(1 - np.prod(1 - self._blame @ self._choices_in(genomes).T, axis=0), 9)

    def _choices_in(self, genomes: np.ndarray) -> np.ndarray:
        """A row for each genome, a column for each choice of each gene: whether the genome takes it."""
        taken = genomes[:, :, None] == self._numbers
        return taken.reshape(len(genomes), genomes.shape[1] * len(self._numbers))
