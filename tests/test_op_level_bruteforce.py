"""The op level's choice against every valid cover of small graphs."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from graphlib import CycleError, TopologicalSorter

import pytest
from fakes import Fake, fake_graph, random_reads

from collage_jax.candidates import XLA, Candidate, Candidates, find, is_view
from collage_jax.costs import Cost, Failed, Measured
from collage_jax.graph.ir import Graph
from collage_jax.lowering.plan import Plan
from collage_jax.search.op_level import BOUNDARY_US, NO_CHARGES, Charges, choose

pytestmark = pytest.mark.slow


def random_graph(rng: random.Random) -> Graph:
    """Up to eight nodes, some of them views, some with effects, some returned."""
    reads = random_reads(rng, rng.randrange(1, 9), rng.choice((0.15, 0.3, 0.5)))
    places = range(len(reads))
    graph = fake_graph(
        reads,
        returned=[i for i in places if rng.random() < 0.3],
        effects=[i for i in places if rng.random() < 0.08],
    )
    return replace(graph, nodes=tuple(replace(n, op="reshape") if rng.random() < 0.15 else n for n in graph.nodes))


def random_candidates(rng: random.Random, graph: Graph) -> Candidates:
    """What two backends want: any sets of up to four nodes, refused where they are not convex."""
    places = range(len(graph.nodes))
    wanted = [
        [rng.sample(places, rng.randrange(1, min(4, len(places)) + 1)) for _ in range(rng.randrange(1, 6))]
        for _ in range(2)
    ]
    return find(graph, [Fake(name, lambda _, w=w: w) for name, w in zip(("left", "right"), wanted, strict=True)])


def random_costs(rng: random.Random, candidates: Candidates) -> dict[tuple[str, str], Cost]:
    """Whole numbers, few of them, so that ties are many and sums are exact; some failed, some are missing."""
    costs: dict[tuple[str, str], Cost] = {}
    for candidate in candidates.chosen_from:
        kind, size = rng.random(), len(candidate.region.nodes)
        if kind < 0.9:
            dearest = 4 * size + 3 if candidate.backend == XLA else 3 * size + 1
            costs[candidate.key, candidate.backend] = Measured(float(rng.randrange(1, dearest)))
        elif kind < 0.96:
            costs[candidate.key, candidate.backend] = Failed("verify", "wrong")
        elif kind < 0.98:
            costs[candidate.key, candidate.backend] = Failed("budget", "not measured")
    return costs


def charged(candidate: Candidate, cost: Measured, charges: Charges) -> float:
    """A region's own time, that of leaving XLA or of staying between others, and of handing its results over."""
    if candidate.backend != XLA:
        us = cost.median_us + BOUNDARY_US
    elif is_view(candidate.region):
        us = cost.median_us
    else:
        us = cost.median_us * (1 + charges.xla_share) + charges.xla_us
    handed = 0 if is_view(candidate.region) else sum(value.nbytes for value in candidate.region.exits)
    return us + charges.handover_us_per_byte * handed


def can_run(graph: Graph, placed: Sequence[Candidate]) -> bool:
    """True if the placed regions and all other nodes can run one after another, each as one step.

    Nothing is asked of a region here but this, which one that is not convex cannot meet.
    """
    step: dict[int, tuple[int, ...]] = {i: (i,) for i in range(len(graph.nodes))}
    step.update((i, candidate.region.indices) for candidate in placed for i in candidate.region.indices)
    needs: dict[tuple[int, ...], set[tuple[int, ...]]] = {}
    for i, before in graph.predecessors.items():
        needs.setdefault(step[i], set()).update({step[j] for j in before} - {step[i]})
    try:
        TopologicalSorter(needs).prepare()
    except CycleError:
        return False
    return True


def covers(nodes: frozenset[int], usable: Sequence[Candidate]) -> Iterator[tuple[Candidate, ...]]:
    """Every way to take each of ``nodes`` once."""
    if not nodes:
        yield ()
        return
    for candidate in usable:
        if min(nodes) in candidate.region.indices and nodes.issuperset(candidate.region.indices):
            for rest in covers(nodes.difference(candidate.region.indices), usable):
                yield (candidate, *rest)


def cheapest(
    candidates: Candidates, costs: Mapping[tuple[str, str], Cost], charges: Charges
) -> tuple[float, list[frozenset[tuple[tuple[int, ...], str]]], bool]:
    """The least cost of all covers that can run, what the best of them place, and whether that rule mattered.

    The best place fewest regions, then have fewest in all. A node that there was no time for takes XLA as long as the
    least around it. Nodes that XLA has no time for otherwise take no part.
    """
    measured = {c: cost for c in candidates.chosen_from if isinstance(cost := costs.get((c.key, c.backend)), Measured)}
    around = [c for c in measured if c.backend == XLA]
    for c in candidates.chosen_from:
        cost, single = costs.get((c.key, XLA)), len(c.region.nodes) == 1
        larger = [measured[a] for a in around if c.region.indices[0] in a.region.indices]
        if (
            c.backend == XLA
            and single
            and larger
            and (cost is None or (isinstance(cost, Failed) and cost.stage == "budget"))
        ):
            measured[c] = min(larger, key=lambda cost: cost.median_us)
    timed = {c.region.indices[0] for c in measured if c.backend == XLA and len(c.region.nodes) == 1}
    usable = [c for c in measured if timed.issuperset(c.region.indices)]
    us = {c: charged(c, cost, charges) for c, cost in measured.items()}
    best, winners, free = (math.inf, 0, 0), [], math.inf
    for cover in covers(frozenset(timed), usable):
        placed = [c for c in cover if c.backend != XLA]
        total = sum(us[c] for c in cover), len(placed), len(cover)
        free = min(free, total[0])
        if total <= best and can_run(candidates.graph, placed):
            winners = [*(winners if total == best else ()), frozenset((c.region.indices, c.backend) for c in placed)]
            best = total
    return best[0], winners, free < best[0]


@pytest.mark.parametrize(
    "charges",
    [NO_CHARGES, Charges(handover_us_per_byte=0.25), Charges(0.25, xla_us=4.0, xla_share=0.25)],
    ids=["no charges", "handing over", "handing over and staying"],
)
def test_the_choice_is_the_cheapest_of_all_covers_that_can_run(charges):
    placing = 0
    for seed in range(200):
        rng = random.Random(seed)
        candidates = random_candidates(rng, random_graph(rng))
        costs = random_costs(rng, candidates)
        choice = choose(candidates, costs, charges)
        us, best, _ = cheapest(candidates, costs, charges)
        assert choice.exact
        assert choice.cost_us == us
        assert frozenset((region.indices, name) for region, name in choice.placed) in best
        Plan(candidates.graph, choice.placed).steps  # noqa: B018  # raises if it cannot run
        placing += bool(choice.placed)
    assert placing >= 90


def test_the_choice_is_the_cheapest_where_regions_could_feed_each_other():
    mattered = 0
    for seed in range(200):
        rng = random.Random(seed)
        # Two chains with random steps between them: pairs of regions that feed each other are many.
        graph = fake_graph([[i - 2] * (i >= 2) + [j for j in range(i) if rng.random() < 0.15] for i in range(8)])
        pairs = [rng.sample(range(8), 2) for _ in range(12)]
        candidates = find(graph, [Fake("left", lambda _, pairs=pairs: pairs)])
        costs: dict[tuple[str, str], Cost] = {
            (c.key, c.backend): Measured(float(rng.randrange(1, 6) + 9 * (c.backend == XLA)))
            for c in candidates.chosen_from
        }
        choice = choose(candidates, costs)
        us, best, rule_mattered = cheapest(candidates, costs, NO_CHARGES)
        assert choice.cost_us == us
        assert frozenset((region.indices, name) for region, name in choice.placed) in best
        mattered += rule_mattered
    assert mattered >= 10
