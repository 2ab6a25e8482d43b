"""Genomes of the graph level: which alternative each part of a program takes, and which genomes are near each other."""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations, pairwise, product
from typing import TypeAlias

import numpy as np

#: The alternative that each gene takes; 0 is what the op level chose.
Genome: TypeAlias = tuple[int, ...]


@dataclass(frozen=True)
class Space:
    """All genomes: gene ``i`` takes one of ``0 .. choices[i] - 1``.

    Genes are numbered in topological order, so that neighbours in number are near each other in the program.
    ``meanings[i][c]`` is a number that equal choices of different genes share. Arrays have an axis of genes last.
    """

    choices: tuple[int, ...]
    groups: tuple[tuple[int, ...], ...]
    meanings: tuple[tuple[int, ...], ...]

    @staticmethod
    def of(
        choices: Sequence[int],
        groups: Sequence[Sequence[int]] = (),
        labels: Sequence[Sequence[Hashable]] | None = None,
    ) -> Space:
        """A space whose choices mean what ``labels`` say; without them, choices of equal number are the same.

        Raises ``ValueError`` if a gene has no choice, a group holds a gene that does not exist, or labels do not fit.
        """
        if any(count < 1 for count in choices):
            raise ValueError(f"every gene needs at least one choice, got {list(choices)}; leave out genes without")
        strange = sorted({gene for group in groups for gene in group} - set(range(len(choices))))
        if strange:
            raise ValueError(f"groups must hold genes 0 to {len(choices) - 1}, got {strange}; number genes from 0")
        labels = [range(count) for count in choices] if labels is None else labels
        if [len(names) for names in labels] != list(choices):
            raise ValueError(
                f"labels must name every choice of every gene, got {[len(names) for names in labels]} names for "
                f"{list(choices)} choices"
            )
        numbers: dict[Hashable, int] = {}
        meanings = tuple(tuple(numbers.setdefault(name, len(numbers)) for name in names) for names in labels)
        distinct = dict.fromkeys(tuple(sorted(set(group))) for group in groups)
        return Space(tuple(choices), tuple(group for group in distinct if len(group) > 1), meanings)

    def check(self, genome: Sequence[int]) -> Genome:
        """``genome`` as a tuple; ``ValueError`` if it is none of this space."""
        fits = len(genome) == len(self.choices)
        if not fits or not all(0 <= c < count for c, count in zip(genome, self.choices, strict=True)):
            raise ValueError(f"a genome must take one of {list(self.choices)} choices for each gene, got {genome}")
        return tuple(genome)

    @cached_property
    def size(self) -> int:
        return math.prod(self.choices)

    @property
    def zero(self) -> Genome:
        """What the op level chose."""
        return (0,) * len(self.choices)

    def everything(self) -> Iterator[Genome]:
        """Every genome, those with fewest genes changed first."""
        genes = [gene for gene, count in enumerate(self.choices) if count > 1]
        for number in range(len(genes) + 1):
            for changed in combinations(genes, number):
                for chosen in product(*(range(1, self.choices[gene]) for gene in changed)):
                    genome = list(self.zero)
                    for gene, c in zip(changed, chosen, strict=True):
                        genome[gene] = c
                    yield tuple(genome)

    def array(self, genomes: Sequence[Genome]) -> np.ndarray:
        """A row for each genome."""
        return np.array(genomes, dtype=int).reshape(len(genomes), len(self.choices))

    @cached_property
    def meaning(self) -> np.ndarray:
        """``meanings`` as (genes, most choices), -1 where there is no choice."""
        table = np.full((len(self.choices), max(self.choices, default=1)), -1)
        for gene, row in enumerate(self.meanings):
            table[gene, : len(row)] = row
        return table

    @cached_property
    def paints(self) -> np.ndarray:
        """What to set genes to, -1 for those that stay: first all to 0, then all to each meaning."""
        table = np.full((2 + int(self.meaning.max(initial=0)), len(self.choices)), -1)
        table[0] = 0
        for gene, row in enumerate(self.meanings):
            for c, number in reversed(list(enumerate(row))):
                table[1 + number, gene] = c
        return table

    @cached_property
    def members(self) -> np.ndarray:
        """Which genes are in each group."""
        table = np.zeros((len(self.groups), len(self.choices)), dtype=bool)
        for number, group in enumerate(self.groups):
            table[number, list(group)] = True
        return table

    @cached_property
    def beside(self) -> np.ndarray:
        """For each gene, which are next to it in number or in a group."""
        genes = range(len(self.choices))
        table = np.zeros((len(genes), len(genes)), dtype=bool)
        for chain in (genes, *self.groups):
            for i, j in pairwise(chain):
                table[i, j] = table[j, i] = True
        return table

    def neighbours(self, own: np.ndarray) -> np.ndarray:
        """Genomes one step away: everything, a group or a run of equal meanings painted; a single gene changed.

        Some may be alike, or ``own`` itself.
        """
        genes = len(own)
        meant = self.meaning[np.arange(genes), own]
        run = np.cumsum(np.diff(meant, prepend=meant[:1]) != 0)
        runs = run == np.arange(run.max(initial=-1) + 1)[:, None]
        blocks = np.concatenate([np.ones((1, genes), dtype=bool), self.members, runs])
        painted = np.where(blocks[:, None] & (self.paints >= 0), self.paints, own).reshape(-1, genes)
        gene, c = np.nonzero(self.meaning >= 0)
        single = np.where(np.arange(genes) == gene[:, None], c[:, None], own)
        return np.concatenate([painted, single])
