"""What genomes that were not timed may cost, learnt from those that were.

Bayesian linear regression of the logarithm of the cost on what a genome is made of (``traits``). Guesses are samples of
the posterior (Thompson sampling): where little is known they differ, so that what looks good and what is unknown both
get their turn.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from .genome import Genome, Space
from .traits import Traits

#: What the noise of a timing may be, in standard deviations of the costs; the likeliest is taken.
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
        return np.round(_products(self.weights, self.surrogate.traits(genomes)) + expected, 9)


class Surrogate:
    """A model of costs over ``space``.

    ``predicted`` gives what a genome would cost by some other model, in any unit; what is learnt is the error of that.
    """

    def __init__(self, space: Space, predicted: Callable[[Genome], float] | None = None) -> None:
        self.traits = Traits(space)
        self._space = space
        self._predicted = predicted
        self._known: dict[Genome, None] = {}
        self._rows = self.traits(space.array([]))
        self._whitenings = [_Whitening(noise, np.zeros((0, 0))) for noise in NOISES]

    def guesses(self, costs: Mapping[Genome, float], boldness: np.ndarray, rng: np.random.Generator) -> Guesses:
        """Guesses that agree with ``costs``, of which there must be one, and all that there were in earlier calls.

        There is one guess for each figure in ``boldness``: 0 the most likely, 1 a sample of all that may be.
        """
        self._learn([genome for genome in sorted(costs) if genome not in self._known])
        expected = self.expected(self._space.array(list(self._known)))
        cut = float(np.median(expected)) + CUT_OFF
        logs = np.log([costs[genome] for genome in self._known])
        logs = np.minimum(logs, np.median(logs) + CUT_OFF) - np.minimum(expected, cut)
        centre, scale = float(logs.mean()), max(float(logs.std()), LEAST)
        residuals = (logs - centre) / scale
        likeliest = max(self._whitenings, key=lambda whitening: whitening.evidence(residuals))
        weights = boldness[:, None] * rng.standard_normal((len(boldness), self._rows.shape[1]))
        errors = likeliest.noise * boldness[:, None] * rng.standard_normal((len(boldness), len(residuals)))
        missed = residuals - _products(weights, self._rows) - errors
        weights += _products(likeliest.solved(missed), self._rows.T)
        return Guesses(self, weights, scale, cut)

    def expected(self, genomes: np.ndarray) -> np.ndarray:
        """The logarithm of what is predicted for each row."""
        if self._predicted is None:
            return np.zeros(len(genomes))
        return np.log([self._predicted(tuple(genome)) for genome in genomes.tolist()])

    def _learn(self, genomes: list[Genome]) -> None:
        if genomes:
            rows = self.traits(self._space.array(genomes))
            beside, among = _products(rows, self._rows), _products(rows, rows)
            self._whitenings = [whitening.extended(beside, among) for whitening in self._whitenings]
            self._rows = np.concatenate([self._rows, rows])
            self._known.update(dict.fromkeys(genomes))


@dataclass(frozen=True)
class _Whitening:
    """``matrix`` makes independent unit variables of the costs known, as they would be with this noise.

    It is the inverse of the Cholesky factor of their covariance, which can grow: its rows stay as they are.
    """

    noise: float
    matrix: np.ndarray

    def extended(self, beside: np.ndarray, among: np.ndarray) -> _Whitening:
        """With more costs, whose covariances with those so far are ``beside`` and with each other ``among``."""
        below = _products(beside, self.matrix)
        left = np.linalg.cholesky(among + self.noise**2 * np.eye(len(among)) - _products(below, below))
        corner = np.linalg.inv(left)
        across = -_products(corner, _products(below, self.matrix.T).T)
        return _Whitening(self.noise, np.block([[self.matrix, np.zeros(beside.T.shape)], [across, corner]]))

    def evidence(self, residuals: np.ndarray) -> float:
        """The logarithm of how likely ``residuals`` are, but for a constant."""
        whitened = _products(residuals[None], self.matrix)
        return float(np.log(np.diag(self.matrix)).sum() - 0.5 * (whitened**2).sum())

    def solved(self, rows: np.ndarray) -> np.ndarray:
        """``rows`` times the inverse of the covariance."""
        return _products(_products(rows, self.matrix), self.matrix.T)


def _products(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """``one @ other.T`` in this thread: arrays are small, and to share work with a core that is busy takes longer."""
    return np.einsum("ik,jk->ij", one, other)
