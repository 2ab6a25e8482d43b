"""The graph level on planted landscapes whose optimum is known, and its promises on any."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial, reduce
from itertools import count, product
from operator import getitem, ne

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from collage_jax.search.breeding import crossed, mutated, offspring
from collage_jax.search.evolution import Evolution, Genome, changed_genes, evolve
from collage_jax.search.genome import Space
from collage_jax.search.risks import Risks
from collage_jax.search.surrogate import Surrogate

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
    made = Landscape((backends,) * genes, tuple(labels), tuple(alone), (*equal, *edges))
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
    """A runtime loses on a region alone and gains with each neighbour that it has too, along one stretch of nine."""
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
    """Some neighbours that the op level chose slow each other down."""
    for i, j in rng.sample(list(edges), 6):
        table = np.zeros((land.choices[i], land.choices[j]))
        table[0, 0] = STEP * rng.randrange(2, 7)
        land.tables.append(((i, j), table))


ALL = (boundaries, stretch, clashes)


def found_within(land: Landscape, evaluations: int, seed: int, optimum: float, **options) -> bool:
    """Whether the search comes upon the optimum; it is ended as soon as it does."""
    known: dict[Genome, float] = {}

    def evaluate(genomes):
        assert known.keys().isdisjoint(genomes)
        known.update((genome, land.cost(genome)) for genome in genomes)
        return [known[genome] for genome in genomes]

    def found():
        return any(cost < optimum + 1e-6 for cost in known.values())

    result = land.search(
        evaluations,
        seed,
        evaluate=evaluate,
        out_of_time=found,
        patience=evaluations,
        predicted=land.predicted,
        **options,
    )
    assert len(known) == result.evaluations <= evaluations
    assert result.best is not None and result.cost == land.cost(result.best) == min(known.values())
    return found()


def count_found(effects: Sequence[Callable[..., None]], seeds: Sequence[int], evaluations: int) -> int:
    """For how many of ``seeds`` the planted optimum is found; it is never the op level's."""
    hits = 0
    for seed in seeds:
        land = landscape(seed, 20, 3, *effects)
        optimum = least(land.choices, land.tables)
        zero = (0,) * len(land.choices)
        assert land.predicted(zero) == sum(map(min, land.alone))
        assert optimum < land.cost(zero) - STEP / 2
        hits += found_within(land, evaluations, seed, optimum)
    return hits


@pytest.mark.slow
def test_planted_optima_are_found_for_95_of_100_seeds():
    """3^20 genomes, 400 evaluations; each kind of effect that additive costs cannot see has a third of the seeds."""
    assert sum(count_found([effect], range(i, 100, 3), 400) for i, effect in enumerate(ALL)) >= 95


@pytest.mark.slow
def test_optima_of_all_effects_at_once_are_found_for_95_of_100_seeds():
    assert count_found(ALL, range(100), 400) >= 95


def test_the_exact_minimum_of_a_landscape_is_that_of_all_genomes():
    for seed in range(5):
        land = landscape(seed, 9, 2, boundaries, clashes)
        costs = map(land.cost, product(*map(range, land.choices)))
        assert least(land.choices, land.tables) == pytest.approx(min(costs))


def test_a_runtime_that_pays_only_for_nearly_the_whole_program_is_left_where_it_is_slow():
    """It gains 300 us if all but three regions are its own; it should lose three on which it is slow."""
    for seed in range(5):
        land = landscape(seed, 30, 4)
        whole = land.whole("runtime")
        slower = [costs[c] - costs[0] for costs, c in zip(land.alone, whole, strict=True)]

        def cost(genome, land=land, whole=whole):
            return land.cost(genome) - 300 * (sum(map(ne, genome, whole)) <= 3)

        optimum = cost(whole) - sum(sorted(slower)[-3:])
        assert optimum < land.cost((0,) * 30) - 100
        result = land.search(120, seed, evaluate=evaluator(cost), predicted=land.predicted)
        assert result.cost is not None and result.cost <= min(cost(whole) - 4 * STEP, optimum + 4 * STEP)


def test_a_hundred_genes_gain_within_a_hundred_evaluations():
    land = landscape(0, 100, 3, *ALL)
    zero = land.cost((0,) * 100)
    result = land.search(100, 0, predicted=land.predicted)
    assert result.cost is not None and result.cost < 0.95 * zero


def random_costs(seed: int, *, failing: float = 0.0) -> Callable[[Genome], float | None]:
    """Any cost for any genome, a few of them equal; a share of the genomes fails."""

    def cost(genome: Genome) -> float | None:
        rng = random.Random(f"{seed} {genome}")
        return None if rng.random() < failing else float(rng.randrange(1, 40))

    return cost


def evaluator(cost: Callable[[Genome], float | None], log: list[list[Genome]] | None = None):
    """Evaluates one genome after the other, and keeps the batches."""

    def evaluate(genomes: Sequence[Genome]) -> list[float | None]:
        if log is not None:
            log.append(list(genomes))
        return [cost(genome) for genome in genomes]

    return evaluate


def best_of(choices: Sequence[int], cost: Callable[[Genome], float | None]) -> tuple[Genome | None, float | None]:
    """The cheapest of all genomes, the simplest of these, and the first of those."""
    costs = {g: c for g in product(*map(range, choices)) if (c := cost(g)) is not None}
    best = min(costs, key=lambda g: (costs[g], changed_genes(g), g), default=None)
    return best, None if best is None else costs[best]


@given(st.lists(st.integers(1, 4), max_size=5), st.integers(0, 10**6), st.sampled_from([0.0, 0.3, 1.0]), st.data())
def test_small_spaces_are_searched_completely(choices, seed, failing, data):
    cost = random_costs(seed, failing=failing)
    genes = st.integers(0, len(choices) - 1)
    groups = data.draw(st.lists(st.lists(genes, min_size=1), max_size=3)) if choices else []
    log: list[list[Genome]] = []
    result = evolve(
        choices, evaluator(cost, log), seeds=[], groups=groups, seed=seed, generations=10**6, patience=10**6
    )
    assert result.exhausted
    assert result.ended == "every genome was evaluated"
    assert (result.best, result.cost) == best_of(choices, cost)
    evaluated = [genome for batch in log for genome in batch]
    assert sorted(evaluated) == sorted(product(*map(range, choices)))
    assert result.evaluations == len(evaluated)
    assert result.failed == tuple(sorted(g for g in evaluated if cost(g) is None))


def test_a_space_without_genes_holds_one_genome():
    result = evolve([], lambda genomes: [7.0 for _ in genomes], seeds=[()])
    assert (result.best, result.cost, result.evaluations, result.exhausted) == ((), 7.0, 1, True)


def test_a_gene_with_one_choice_stays():
    result = evolve([1, 3, 1], lambda genomes: [float(3 - g[1]) for g in genomes], seeds=[(0, 0, 0)])
    assert result.best == (0, 2, 0)
    assert result.evaluations == 3


CHOICES = (3,) * 10
PAIRS = [(i, i + 1) for i in range(9)]


def rough(genome: Genome) -> float | None:
    """Additive, with neighbours that like each other; some genomes fail."""
    cost = 100.0 + sum((3, 0, 2)[c] + i % 3 * c for i, c in enumerate(genome))
    cost -= sum(4 for a, b in PAIRS if genome[a] == genome[b] == 2)
    return None if genome[3] == 1 and genome[7] == 2 else cost


search = partial(evolve, CHOICES, seeds=[(0,) * 10, (2,) * 10], groups=PAIRS, evaluations=90, seed=5)


def outcome(result: Evolution):
    """All but how much was done to get there."""
    costs = dict(sorted(result.costs.items()))
    return result.best, result.cost, result.ranked, result.failed, result.exhausted, result.ended, costs


def test_the_search_goes_the_same_way_for_the_same_seed():
    logs: list[list[list[Genome]]] = [[], [], []]
    first, second, other = (search(evaluator(rough, log), seed=seed) for seed, log in zip((5, 5, 6), logs, strict=True))
    assert first == second
    assert logs[0] == logs[1]
    assert logs[2] != logs[0]
    assert first.evaluations == other.evaluations == 90


def test_seeds_come_first_and_batches_are_no_larger_than_asked_for():
    log: list[list[Genome]] = []
    search(evaluator(rough, log), offspring=3)
    assert log[0] == [(0,) * 10, (2,) * 10]
    assert max(map(len, log)) == 3
    evaluated = [genome for batch in log for genome in batch]
    assert len(evaluated) == len(set(evaluated)) > 30


def test_a_search_that_was_stopped_ends_as_it_would_have():
    whole = search(evaluator(rough))
    batches = len(whole.history)
    assert batches > 10
    for stop in range(batches):
        asked = count()
        early = search(evaluator(rough), out_of_time=lambda stop=stop, asked=asked: next(asked) >= stop)
        assert early.ended == "time was up"
        assert len(early.history) == stop
        known = [cost for cost in early.costs.values() if cost is not None]
        assert early.cost == min(known, default=None)
        assert early.history == whole.history[:stop]
        late = search(evaluator(rough), known=early.costs)
        assert outcome(late) == outcome(whole)
        assert late.history == whole.history
        assert early.evaluations + late.evaluations == whole.evaluations


@pytest.mark.parametrize("answered", [0, 1, 5])
def test_a_batch_that_was_cut_short_is_taken_up_again(answered):
    whole = search(evaluator(rough))
    batches = count()
    early = search(lambda genomes: [rough(g) for g in genomes][: answered if next(batches) == 3 else None])
    assert early.ended == "time was up"
    assert outcome(search(evaluator(rough), known=early.costs)) == outcome(whole)


def test_an_interrupt_ends_the_search_with_the_best_so_far():
    batches = count()

    def interrupted(genomes):
        if next(batches) == 4:
            raise KeyboardInterrupt
        return [rough(g) for g in genomes]

    early = search(interrupted)
    assert early.ended == "interrupted"
    assert early.cost == min(cost for cost in early.costs.values() if cost is not None)
    assert outcome(search(evaluator(rough), known=early.costs)) == outcome(search(evaluator(rough)))


def test_errors_in_evaluate_are_the_callers():
    def broken(genomes):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        search(broken)


def test_costs_known_from_elsewhere_are_built_upon():
    log: list[list[Genome]] = []
    best = search(evaluator(rough), evaluations=300).best
    assert best is not None
    result = search(evaluator(rough, log), known={best: rough(best)}, evaluations=20)
    assert result.best == best
    assert best not in [genome for batch in log for genome in batch]


def test_everything_failing_leaves_nothing():
    result = search(lambda genomes: [None] * len(genomes))
    assert (result.best, result.cost, result.ranked) == (None, None, ())
    assert len(result.failed) == result.evaluations == 90
    assert set(result.history) == {None}


def test_a_choice_that_always_fails_is_soon_left_alone():
    bad = {(2, 1), (5, 2), (8, 1)}

    def cost(genome):
        return None if bad.intersection(enumerate(genome)) else rough((*genome[:3], 0, *genome[4:]))

    failures = [len(search(evaluator(cost), seed=seed, evaluations=150).failed) for seed in range(10)]
    # Of all genomes, 70 % hold one of them.
    assert sum(failures) < 0.2 * 150 * 10


def test_the_op_level_failing_is_no_obstacle():
    result = search(evaluator(lambda g: None if changed_genes(g) < 3 else rough(g)))
    assert result.best is not None and changed_genes(result.best) >= 3


def plateau(genome: Genome) -> float:
    """Nothing but the first gene matters."""
    return 90.0 if genome[0] else 100.0


def test_equal_costs_go_to_the_simpler_genome():
    result = search(evaluator(plateau), evaluations=None)
    assert result.best == (1,) + (0,) * 9
    assert result.cost == 90.0


def test_simplicity_is_what_it_is_said_to_be():
    result = search(evaluator(plateau), evaluations=400, simplicity=lambda genome: -sum(genome[:4]))
    assert result.best is not None and result.best[:4] == (2, 2, 2, 2)


def test_costs_within_the_tolerance_are_ties():
    def cost(genome):
        return 100.0 - 0.2 * changed_genes(genome)

    assert changed_genes(search(evaluator(cost), evaluations=200).best or ()) > 5
    tied = search(evaluator(cost), evaluations=200, tolerance=0.05)
    assert tied.best == (0,) * 10
    assert tied.cost == 100.0
    assert [changed_genes(genome) for genome, _ in tied.ranked] == sorted(changed_genes(g) for g, _ in tied.ranked)


def test_no_evaluations_leave_what_is_known():
    result = search(evaluator(rough), evaluations=0, known={(1,) + (0,) * 9: 50.0})
    assert (result.best, result.cost, result.evaluations) == ((1,) + (0,) * 9, 50.0, 0)
    assert result.ended == "all evaluations were used"


def test_ranked_holds_the_best_genomes_in_order():
    result = search(evaluator(rough), keep=7)
    assert len(result.ranked) == 7
    assert result.ranked[0] == (result.best, result.cost)
    cheapest = sorted(cost for cost in result.costs.values() if cost is not None)[:7]
    assert [cost for _, cost in result.ranked] == cheapest
    assert all(rough(genome) == cost for genome, cost in result.ranked)


def test_noise_within_the_tolerance_costs_little():
    lost = []
    for seed in range(8):
        land = landscape(seed, 20, 3, stretch)
        optimum, zero = least(land.choices, land.tables), land.cost((0,) * 20)
        noise = random.Random(seed)
        result = land.search(
            100,
            seed,
            evaluate=lambda genomes, land=land, noise=noise: [land.cost(g) * noise.gauss(1, 0.005) for g in genomes],
            predicted=land.predicted,
            tolerance=0.01,
        )
        costs = [land.cost(genome) for genome, _ in result.ranked]
        lost.append((min(costs) - optimum) / (zero - optimum))
    assert sum(lost) / len(lost) < 0.25


def test_what_is_predicted_saves_evaluations():
    gained = {True: 0.0, False: 0.0}
    for seed in range(6):
        land = landscape(seed, 40, 4, clashes)
        for predicted in gained:
            result = land.search(50, seed, predicted=land.predicted if predicted else None)
            assert result.cost is not None
            gained[predicted] += land.cost((0,) * 40) - result.cost
    assert gained[True] > 1.1 * gained[False] > 0


def test_the_search_ends_when_nothing_better_is_near():
    result = evolve(CHOICES, evaluator(lambda g: 100.0 + sum(g)), seeds=[(0,) * 10], patience=3)
    assert result.best == (0,) * 10
    assert result.ended == "nothing better was near"
    assert result.generations == 3
    assert {(0,) * i + (c,) + (0,) * (9 - i) for i in range(10) for c in (1, 2)} <= result.costs.keys()


def test_no_generations_leave_the_surroundings_of_the_seeds():
    log: list[list[Genome]] = []
    result = evolve(CHOICES, evaluator(lambda g: 1.0 + sum(g), log), seeds=[(0,) * 10], generations=0)
    assert result.generations == 0
    assert log[0] == [(0,) * 10]
    assert len(result.costs) == 1 + 20 + 2  # itself, each gene changed, everything changed


@pytest.mark.parametrize("cost", [math.nan, math.inf, 0.0, -1.0])
def test_costs_that_are_none_are_refused(cost):
    with pytest.raises(ValueError, match="positive and finite, or None"):
        evolve([2], lambda genomes: [cost] * len(genomes), seeds=[])
    with pytest.raises(ValueError, match="positive and finite, or None"):
        evolve([2], lambda genomes: [1.0] * len(genomes), seeds=[], known={(0,): cost})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"seeds": [(0,)]}, "one of \\[2, 3\\] choices"),
        ({"seeds": [(0, 3)]}, "one of \\[2, 3\\] choices"),
        ({"seeds": [], "known": {(-1, 0): 1.0}}, "one of \\[2, 3\\] choices"),
        ({"seeds": [], "groups": [(0, 2)]}, "genes 0 to 1, got \\[2\\]"),
        ({"seeds": [], "labels": [("a",), ("a", "b", "c")]}, "\\[1, 3\\] names for \\[2, 3\\]"),
        ({"seeds": [], "population": 0}, "population and offspring must be 1 or more"),
        ({"seeds": [], "offspring": 0}, "population and offspring must be 1 or more"),
        ({"seeds": [], "patience": -1}, "patience and evaluations 0 or more"),
        ({"seeds": [], "evaluations": -1}, "patience and evaluations 0 or more"),
    ],
)
def test_bad_arguments_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        evolve([2, 3], lambda genomes: [1.0] * len(genomes), **options)


def test_a_gene_without_choices_is_refused():
    with pytest.raises(ValueError, match="at least one choice"):
        evolve([2, 0], lambda genomes: [1.0] * len(genomes), seeds=[])


def test_more_costs_than_genomes_are_refused():
    with pytest.raises(ValueError, match="a cost for each of 2 genomes, got 3"):
        evolve([2], lambda genomes: [1.0, 1.0, 1.0], seeds=[(0,), (1,)])


LABELS = (("a", "b"), ("b", "a"), ("a", "b", "c"), ("c", "a"))
SPACE = Space.of([2, 2, 3, 2], groups=[(1, 3), (2, 2)], labels=LABELS)


def means(genome: Sequence[int]) -> str:
    return "".join(names[c] for names, c in zip(LABELS, genome, strict=True))


def test_neighbours_are_painted_by_what_choices_mean():
    near = {means(genome) for genome in SPACE.neighbours(np.array([0, 0, 0, 0])).tolist()}
    assert means([0, 0, 0, 0]) == "abac"
    everything = {"aaaa", "bbbc", "abcc"}  # a gene that cannot be c stays
    assert near >= everything
    assert near >= {"abac", "aaac"}  # genes 1 and 3: with what they are, and what gene 1 alone can be
    assert near >= {"bbac", "aaac", "abbc", "abcc", "abaa"}  # single genes


@given(st.integers(0, 10**6))
def test_offspring_are_genomes_of_the_space(seed):
    rng = np.random.default_rng(seed)
    parents = np.array([[rng.integers(count) for count in SPACE.choices] for _ in range(3)])
    for child in offspring(SPACE, parents, 50, rng).tolist():
        SPACE.check(child)
    for child in mutated(SPACE, parents, rng).tolist():
        SPACE.check(child)


def test_crossover_takes_stretches_and_whole_groups():
    space = Space.of([2] * 12, groups=[(0, 4, 8), (1, 5, 9)])
    rng = np.random.default_rng(0)
    zeros, ones = np.zeros((400, 12), dtype=int), np.ones((400, 12), dtype=int)
    kinds = {"stretch": 0, "groups": 0}
    for row in crossed(space, zeros, ones, rng):
        taken = set(np.flatnonzero(row).tolist())
        groups = taken in ({0, 4, 8}, {1, 5, 9}, {0, 1, 4, 5, 8, 9}, set())
        assert groups or taken == set(range(min(taken), max(taken) + 1))
        kinds["groups" if groups else "stretch"] += 1
    assert min(kinds.values()) > 50


def test_mutation_reaches_every_genome_in_the_end():
    space = Space.of([2, 3, 2])
    rng = np.random.default_rng(0)
    seen, genomes = set(), np.zeros((20, 3), dtype=int)
    for _ in range(40):
        genomes = mutated(space, genomes, rng)
        seen.update(map(tuple, genomes.tolist()))
    assert seen == set(product(range(2), range(3), range(2)))


def test_the_model_orders_genomes_that_were_not_timed():
    land = landscape(3, 20, 3, boundaries)
    space = Space.of(land.choices, land.groups, land.labels)
    rng = np.random.default_rng(0)
    rows = rng.integers(3, size=(160, 20))
    known = {genome: land.cost(genome) for genome in map(tuple, rows[:120].tolist())}
    truth = np.array([land.cost(genome) for genome in map(tuple, rows[120:].tolist())])
    for predicted in (None, land.predicted):
        (guess,) = Surrogate(space, predicted).guesses(known, np.zeros(1), rng)(rows[120:])
        assert np.corrcoef(guess, truth)[0, 1] > 0.6


def test_guesses_agree_on_what_is_known_and_differ_on_what_is_not():
    space = Space.of([3] * 8)
    rng = np.random.default_rng(0)
    rows = rng.integers(2, size=(60, 8))  # nobody knows choice 2
    known = {genome: 100.0 + 5 * sum(genome) for genome in map(tuple, rows.tolist())}
    guesses = Surrogate(space).guesses(known, np.ones(50), rng)
    spread = guesses(np.array([rows[0], np.full(8, 2)])).std(axis=0)
    assert spread[1] > 3 * spread[0]
    timid = Surrogate(space).guesses(known, np.zeros(2), rng)(rows)
    assert (timid[0] == timid[1]).all()


def test_the_suspects_of_a_failure_are_choices_that_never_worked():
    space = Space.of([2, 2, 2])
    risks = Risks(space, {(1, 1, 0): None, (1, 0, 0): 5.0})
    assert risks(np.array([[0, 1, 0], [1, 0, 1], [1, 1, 1]])).tolist() == [1.0, 0.0, 1.0]
    two = Risks(space, {(1, 1, 0): None, (0, 0, 0): 5.0})
    assert two(np.array([[1, 0, 0], [1, 1, 0], [0, 0, 1]])).tolist() == [0.5, 1.0, 0.0]
    # Together they fail, alone they run: no choice is to blame.
    pair = Risks(space, {(1, 1, 0): None, (1, 0, 0): 5.0, (0, 1, 0): 5.0})
    assert pair(np.array([[1, 1, 1]])).tolist() == [0.0]
    assert Risks(space, {})(np.array([[1, 1, 1]])).tolist() == [0.0]
