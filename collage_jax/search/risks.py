"""Which genomes are likely to fail, learnt from those that did."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from .genome import Genome, Space


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
