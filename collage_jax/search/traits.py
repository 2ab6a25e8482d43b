"""What a genome is made of, as numbers that a linear model of costs can use."""

from __future__ import annotations

import math

import numpy as np

from .genome import Space

#: Scales of the columns, which are how much a model expects of them beforehand, in standard deviations of costs: shares
#: of a meaning in the program and in a group, equal neighbours, a group that is equal throughout, the choice of a gene,
#: two neighbours that are equal, two that are as the op level chose. Coarse ones come first: a few timings settle the
#: broad lines, and more of them the details.
SHARE, JOINS, GROUP_SHARE, UNIFORM, GENE, PAIR, UNCHANGED = 1.0, 2.0, 0.5, 0.5, 0.3, 0.2, 0.5


class Traits:
    """Makes a row of numbers of each genome of ``space``."""

    def __init__(self, space: Space) -> None:
        self._space = space
        self._first, self._second = np.nonzero(np.triu(space.beside))
        groups = space.members[space.members.sum(axis=1) > 2]
        self._groups = groups / np.maximum(groups.sum(axis=1, keepdims=True), 1)

    def __call__(self, genomes: np.ndarray) -> np.ndarray:
        """(genomes, genes) to (genomes, traits)."""
        rows, genes = genomes.shape
        meant = self._space.meaning[np.arange(genes), genomes]
        meaning = meant[:, :, None] == np.arange(len(self._space.paints) - 1)
        shares = self._groups @ meaning.astype(float)
        equal = (meant[:, self._first] == meant[:, self._second])[:, :, None] & meaning[:, self._first]
        changed = genomes != 0
        blocks = [
            SHARE / max(genes, 1) * meaning.sum(axis=1),
            JOINS / max(len(self._first), 1) * equal.sum(axis=1),
            GROUP_SHARE * shares,
            UNIFORM * (shares > 1 - 1e-9),
            GENE * (genomes[:, :, None] == np.arange(1, self._space.meaning.shape[1])),
            PAIR * equal,
            UNCHANGED * ~(changed[:, self._first] | changed[:, self._second]),
        ]
        return np.concatenate([block.reshape(rows, math.prod(block.shape[1:])) for block in blocks], axis=1)
