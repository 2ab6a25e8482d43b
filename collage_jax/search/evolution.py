"""Graph level: evolutionary search over whole programs, by what they cost end to end.

The op level adds up costs of regions, which is blind to what regions do to each other. Here a genome says which
alternative each part of the program takes, and its cost is that of the whole program. Every evaluation compiles and
times a program, so what counts is how few are needed: offspring are bred in plenty from the best genomes known, a
model of the costs seen so far (``surrogate``) picks the few that are evaluated, and the neighbours of the best genome
are bred along.

On made-up programs of 20 regions and three backends with several kinds of planted effects at once, the best of 3^20
genomes was found within 400 evaluations for 99 of 100 seeds, for half of them within 100; with offspring picked at
random instead of by the model for 51. With 0.5 % of noise and one kind of effect, 48 evaluations brought 83 to 95 % of
the possible gain, without the model 53 to 69 %.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .archive import Archive, Evaluate, checked
from .genome import Genome, Space
from .proposals import Proposals
from .surrogate import Surrogate

#: Spaces up to this size are evaluated completely.
ENUMERATED = 64


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
    if min(population, offspring) < 1 or min(generations, patience, evaluations or 0) < 0:
        raise ValueError(
            "population and offspring must be 1 or more, generations, patience and evaluations 0 or more, got "
            f"{population}, {offspring}, {generations}, {patience} and {evaluations}"
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
    proposals = Proposals(space, archive, Surrogate(space, predicted), np.random.default_rng(seed), population)
    generation = 0
    while archive.ended is None:
        idle = 0
        while archive.ended is None and idle < patience and generation < generations:
            best = archive.best
            archive.evaluate(proposals.offspring(idle))
            generation += 1
            idle = 0 if archive.best != best else idle + 1
        best = archive.best
        while archive.ended is None and (near := proposals.surroundings()):
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
