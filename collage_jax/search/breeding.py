"""Offspring of genomes: crossover and mutation, many at a time.

A whole runtime pays only over a stretch (joined calls, layouts kept, threads awake), so a step that sets one gene alone
often costs where the stretch would gain. Most steps here therefore treat *blocks*: groups of genes that belong
together, and ranges of neighbours.
"""

from __future__ import annotations

import numpy as np

from .genome import Space

#: Share of the offspring that have two parents; the others are mutants, and so is a share of these.
CROSSOVER, MUTATION = 0.5, 0.5
#: Shares of mutations that change single genes, and that spread a gene's choice to its neighbours; the rest set blocks.
POINT, SPREAD = 0.4, 0.2
#: Single genes that such a mutation changes besides the one that it always does.
MORE = 0.7
#: The best of so many parents, drawn at random, is taken.
TOURNAMENT = 3


def offspring(space: Space, parents: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """``count`` genomes bred from the rows of ``parents``, the best of which is first."""
    one, other = (parents[rng.integers(len(parents), size=(count, TOURNAMENT)).min(axis=1)] for _ in range(2))
    crossing = rng.random(count) < CROSSOVER
    children = np.where(crossing[:, None], crossed(space, one, other, rng), one)
    mutating = ~crossing | (rng.random(count) < MUTATION)
    return np.where(mutating[:, None], mutated(space, children, rng), children)


def crossed(space: Space, one: np.ndarray, other: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """``one`` with a part of ``other``: the stretch between two points, or some groups as a whole."""
    count = len(one)
    taken = _ranges(space, count, rng)
    if space.groups:
        by_group = (rng.random((count, len(space.groups))) < 0.5) @ space.members
        taken = np.where(rng.random((count, 1)) < 0.5, by_group, taken)
    return np.where(taken, other, one)


def mutated(space: Space, genomes: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """``genomes`` after one random step each, which may lead nowhere."""
    count, genes = genomes.shape
    if not genes:
        return genomes
    kind = rng.random((count, 1))
    gene = rng.integers(genes, size=count)
    point = (rng.random((count, genes)) < MORE / genes) | (np.arange(genes) == gene[:, None])
    drawn = rng.integers(np.array(space.choices), size=(count, genes))
    spread = 1 + space.meaning[gene, genomes[np.arange(count), gene]]
    block = _ranges(space, count, rng)
    if space.groups:
        group = space.members[rng.integers(len(space.groups), size=count)]
        block = np.where(rng.random((count, 1)) < 0.5, group, block)
    painted = space.paints[rng.integers(len(space.paints), size=count)]
    where = np.select([kind < POINT, kind < POINT + SPREAD], [point, space.beside[gene]], block)
    to = np.select([kind < POINT, kind < POINT + SPREAD], [drawn, space.paints[spread]], painted)
    return np.where(where & (to >= 0), to, genomes)


def _ranges(space: Space, count: int, rng: np.random.Generator) -> np.ndarray:
    """Masks of genes in a row, short and long ones equally likely."""
    genes = len(space.choices)
    length = np.minimum(genes, np.round(2 * max(genes / 2, 1) ** rng.random(count))).astype(int)
    start = rng.integers(genes - length + 1)
    place = np.arange(genes)
    return (place >= start[:, None]) & (place < (start + length)[:, None])
