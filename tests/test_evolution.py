"""The graph level on planted landscapes whose optimum is known, and its promises on any."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial, reduce
from itertools import count, product
from operator import getitem

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from collage_jax.search.evolution import Evolution, Genome, changed_genes, evolve
from collage_jax.search.genome import Space
from collage_jax.search.surrogate import Risks, Surrogate

BACKENDS = ("xla", "library", "runtime", "another runtime")


@dataclass(frozen=True)
class Landscape:
    """Costs of whole programs: the sum of ``tables`` (genes, cost for each combination of their choices).

    ``alone`` is what the op level adds up, so choice 0 has the least cost of each gene there.
    """

    choices: tuple[int, ...]
    labels: tuple[tuple[str, ...], ...]
    alone: tuple[tuple[float, ...], ...]
    groups: tuple[tuple[int, ...], ...]
    tables: list[tuple[tuple[int, ...], np.ndarray]] = field(default_factory=list)

    def cost(self, genome: Genome) -> float:
        return float(sum(table[tuple(genome[i] for i in genes)] for genes, table in self.tables))

    def predicted(self, genome: Genome) -> float:
        return sum(map(getitem, self.alone, genome))

    def whole(self, label: str) -> Genome:
        """Everything on one backend, where it can be."""
        return tuple(names.index(label) if label in names else 0 for names in self.labels)

    @property
    def seeds(self) -> list[Genome]:
        return [(0,) * len(self.choices), *(self.whole(label) for label in BACKENDS)]

    def search(self, evaluations: int, seed: int, **options) -> Evolution:
        return evolve(
            self.choices,
            options.pop("evaluate", lambda genomes: [self.cost(g) for g in genomes]),
            seeds=self.seeds,
            groups=self.groups,
            labels=self.labels,
            evaluations=evaluations,
            seed=seed,
            **options,
        )


def least(choices: Sequence[int], tables: Sequence[tuple[tuple[int, ...], np.ndarray]]) -> float:
    """The least sum of ``tables`` over all genomes, exactly: genes are eliminated one by one."""
    left = list(tables)
    for _ in choices:
        genes = {g for names, _ in left for g in names}
        gene = min(sorted(genes), key=lambda g: len({n for names, _ in left for n in names if g in names}))
        mine = [t for t in left if gene in t[0]]
        left = [t for t in left if gene not in t[0]]
        scope = tuple(sorted({g for names, _ in mine for g in names}))
        joined = reduce(np.add, (_spread(names, table, scope) for names, table in mine))
        left.append((tuple(g for g in scope if g != gene), joined.min(axis=scope.index(gene))))
    return float(sum(table for _, table in left))


def _spread(names: tuple[int, ...], table: np.ndarray, scope: tuple[int, ...]) -> np.ndarray:
    """``table`` with an axis for each gene of ``scope``."""
    order = sorted(range(len(names)), key=lambda k: names[k])
    sizes = iter(np.transpose(table, order).shape)
    return np.transpose(table, order).reshape([next(sizes) if g in names else 1 for g in scope])


#: Costs differ by multiples of this, in microseconds, of programs of 800 or so: less could not be told apart.
STEP = 4.0

Edges = Sequence[tuple[int, int]]


def landscape(seed: int, genes: int, backends: int, *effects: Callable[..., None]) -> Landscape:
    """Additive costs over a random graph with branches, and ``effects`` on top of them that the op level cannot see."""
    rng = random.Random(seed)
    edges = sorted({(max(0, i - rng.randrange(1, 4)), i) for i in range(1, genes) for _ in range(rng.randrange(1, 3))})
    labels, alone = [], []
    for _ in range(genes):
        names = rng.sample(BACKENDS[:backends], backends)
        base = rng.uniform(20, 60)
        labels.append(tuple(names))
        alone.append((base, *(base + STEP * rng.randrange(1, 4) for _ in names[1:])))
    kinds = [rng.randrange(genes // 3) for _ in range(genes)]
    equal = [tuple(i for i in range(genes) if kinds[i] == kind) for kind in range(genes // 3)]
    groups = tuple(g for g in equal if len(g) > 1) + tuple(edges)
    made = Landscape((backends,) * genes, tuple(labels), tuple(alone), groups)
    made.tables.extend(((i,), np.array(costs)) for i, costs in enumerate(alone))
    for effect in effects:
        effect(made, edges, rng)
    return made


def boundaries(land: Landscape, edges: Edges, rng: random.Random) -> None:
    """Every edge between two backends costs about as much as backends differ."""
    for i, j in edges:
        differ = np.array([[a != b for b in land.labels[j]] for a in land.labels[i]])
        land.tables.append(((i, j), STEP * rng.randrange(1, 3) * differ))


def stretch(land: Landscape, edges: Edges, rng: random.Random) -> None:
    """A runtime loses on every region, and on a few together, but wins on one stretch of nine as a whole."""
    start = rng.randrange(len(land.choices) - 9)
    inside = range(start, start + 9)
    for i, names in enumerate(land.labels):
        lost = STEP if i in inside else 4 * STEP
        land.tables.append(((i,), np.array([lost * (name == "runtime") for name in names])))
    for i, j in edges:
        if i in inside and j in inside:
            both = np.array([[a == b == "runtime" for b in land.labels[j]] for a in land.labels[i]])
            land.tables.append(((i, j), -2 * STEP * both))


def clashes(land: Landscape, edges: Edges, rng: random.Random) -> None:
    """Some of the kernels that the op level chose slow each other down, next to each other or not."""
    far = [tuple(sorted(rng.sample(range(len(land.choices)), 2))) for _ in range(2)]
    for i, j in [*rng.sample(list(edges), 4), *far]:
        table = np.zeros((land.choices[i], land.choices[j]))
        table[0, 0] = STEP * rng.randrange(2, 7)
        land.tables.append(((i, j), table))
