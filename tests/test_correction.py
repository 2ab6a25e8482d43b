"""Correcting the additive cost model from timings of whole programs."""

from __future__ import annotations

import random
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from collage_jax.search.correction import Correction, Features, Observation, fit, nonnegative_least_squares

TRUE = Correction({"xla": 0.8, "library": 1.5, "runtime": 1.2}, boundary_us=6.0, constant_us=40.0)


def random_features(rng: random.Random, kinds=("xla", "library", "runtime")) -> Features:
    """A plan of a program of 1 ms or so, each of its regions on one of ``kinds``."""
    isolated = dict.fromkeys(kinds, 0.0)
    for _ in range(20):
        isolated[rng.choice(kinds)] += rng.uniform(10, 90)
    return Features(isolated, rng.randrange(16))


def observed(features: Features, noise: float = 0.0) -> Observation:
    return Observation(features, TRUE.predict(features) * (1 + noise))


def mean_error(correction: Correction, seed: int) -> float:
    """The mean relative error on plans that were not observed."""
    rng = random.Random(1000 + seed)
    plans = [random_features(rng) for _ in range(30)]
    return sum(abs(correction.predict(f) / TRUE.predict(f) - 1) for f in plans) / len(plans)


def test_without_observations_costs_stay_as_they_are():
    assert fit([]) == Correction()
    assert fit([]).predict(Features({"xla": 10.0, "library": 5.0}, 3)) == 15.0


def test_predictions_are_the_sum_of_factors_boundaries_and_a_constant():
    assert TRUE.predict(Features({"xla": 100.0, "library": 10.0}, 2)) == pytest.approx(80 + 15 + 12 + 40)
    assert Correction({"xla": 2.0}, common=3.0).predict(Features({"xla": 1.0, "never seen": 10.0})) == 32.0


def test_one_observation_scales_all_factors_together():
    correction = fit([Observation(Features({"xla": 700.0, "library": 100.0}, 4), 1200.0)])
    assert correction.common == pytest.approx(1.5, rel=0.02)
    assert list(correction.factors.values()) == pytest.approx([correction.common] * 2, rel=0.02)
    assert correction.predict(Features({"xla": 700.0, "library": 100.0}, 4)) == pytest.approx(1200, rel=0.01)
    assert correction.predict(Features({"runtime": 100.0})) == pytest.approx(150, rel=0.02)


def test_one_observation_that_is_as_predicted_changes_nothing():
    correction = fit([Observation(Features({"xla": 700.0, "library": 100.0}, 4), 800.0)])
    assert correction == Correction({"library": 1.0, "xla": 1.0}) or correction.predict(
        Features({"library": 10.0}, 100)
    ) == pytest.approx(10.0)


def test_enough_exact_observations_give_the_true_model_back():
    rng = random.Random(0)
    correction = fit([observed(random_features(rng)) for _ in range(4000)])
    assert correction.factors == pytest.approx(dict(TRUE.factors), rel=0.01)
    assert correction.boundary_us == pytest.approx(TRUE.boundary_us, rel=0.05)
    assert correction.constant_us == pytest.approx(TRUE.constant_us, rel=0.15)
    assert correction.error < 1e-3


def test_more_observations_predict_better():
    def error_after(number):
        errors = []
        for seed in range(40):
            rng = random.Random(seed)
            seen = [observed(random_features(rng), rng.gauss(0, 0.02)) for _ in range(number)]
            errors.append(mean_error(fit(seen), seed))
        return sum(errors) / len(errors)

    errors = [error_after(number) for number in (0, 1, 3, 6, 12, 40)]
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 0.01


def test_the_order_of_plans_is_found_where_isolated_costs_have_it_wrong():
    # Alone the library wins by 10 %; inside the program it loses.
    stay, place = Features({"xla": 1000.0}), Features({"xla": 100.0, "library": 810.0}, 6)
    half = Features({"xla": 550.0, "library": 405.0}, 3)
    correction = fit([observed(stay), observed(half)])
    assert Correction().predict(place) < Correction().predict(stay)
    assert correction.predict(place) > correction.predict(stay)


def test_errors_count_relative_to_the_time_measured():
    short = Observation(Features({"xla": 10.0}), 20.0)
    long = Observation(Features({"xla": 1e6}, 1), 1e6)
    assert fit([short, long]).predict(short.features) == pytest.approx(20, rel=0.15)


@given(st.floats(1e-3, 1e3), st.integers(0, 100))
def test_a_machine_that_is_slower_throughout_has_the_same_factors(speed, seed):
    rng = random.Random(seed)
    seen = [observed(random_features(rng), rng.gauss(0, 0.02)) for _ in range(5)]
    slower = [
        Observation(
            Features({kind: speed * us for kind, us in o.features.isolated_us.items()}, o.features.boundaries),
            speed * o.measured_us,
        )
        for o in seen
    ]
    assert fit(slower).factors == pytest.approx(fit(seen).factors)
    assert fit(slower).boundary_us == pytest.approx(speed * fit(seen).boundary_us)


def test_no_part_of_a_program_gets_a_negative_price():
    # More boundaries, less time: the best linear fit has a negative price.
    seen = [Observation(Features({"xla": 100.0, "library": 10.0 * n}, n), 200.0 - 12 * n) for n in range(10)]
    correction = fit(seen)
    assert min(correction.common, correction.boundary_us, correction.constant_us, *correction.factors.values()) >= 0
    assert correction.boundary_us == 0


plan_features = st.builds(
    Features,
    st.dictionaries(st.sampled_from(["xla", "library", "runtime"]), st.floats(0, 1e6), max_size=3),
    st.integers(0, 50),
)


@given(st.lists(st.builds(Observation, plan_features, st.floats(0.1, 1e7)), max_size=8), plan_features)
def test_predictions_are_finite_and_not_negative(observations, features):
    correction = fit(observations)
    assert 0 <= correction.predict(features) < float("inf")
    assert min(correction.common, correction.boundary_us, correction.constant_us, *correction.factors.values()) >= 0


@given(st.integers(0, 10**6), st.integers(1, 6))
def test_least_squares_are_the_least_of_all_sets_of_positive_unknowns(seed, unknowns):
    rng = np.random.default_rng(seed)
    rows = np.vstack([rng.normal(size=(unknowns + 2, unknowns)), 0.1 * np.eye(unknowns)])
    aims = rng.normal(size=len(rows))
    solutions = [np.zeros(unknowns)]
    for free in (list(c) for k in range(1, unknowns + 1) for c in combinations(range(unknowns), k)):
        solution = np.zeros(unknowns)
        solution[free] = np.linalg.lstsq(rows[:, free], aims, rcond=None)[0]
        if solution.min() >= 0:
            solutions.append(solution)
    best = min(solutions, key=lambda x: np.sum((rows @ x - aims) ** 2))
    np.testing.assert_allclose(nonnegative_least_squares(rows, aims), best, atol=1e-8)


@pytest.mark.parametrize("us", [-1.0, float("nan"), float("inf")])
def test_isolated_costs_that_are_none_are_refused(us):
    with pytest.raises(ValueError, match="isolated costs must be finite"):
        Features({"xla": us})


@pytest.mark.parametrize("us", [0.0, -1.0, float("nan"), float("inf")])
def test_times_that_are_none_are_refused(us):
    with pytest.raises(ValueError, match="measured time must be finite and positive"):
        Observation(Features({}), us)


def test_a_negative_number_of_boundaries_is_refused():
    with pytest.raises(ValueError, match="boundaries"):
        Features({}, -1)
