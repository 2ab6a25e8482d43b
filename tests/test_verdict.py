"""Which program is the fastest: by rounds that programs share, more of them for those that are close."""

import numpy as np
import pytest

from collage_jax.measure import verdict
from collage_jax.measure.rounds import Rounds
from collage_jax.measure.whole import XLA_ALONE


class Programs:
    """Trials of programs that take known seconds, times the machine's drift, times noise. ``log`` holds races."""

    def __init__(self, seconds, noise=0.0, seed=0):
        self.seconds, self.noise = {XLA_ALONE: 0.1, **seconds}, noise
        self.rng = np.random.default_rng(seed)
        self.rounds, self.notes, self.log = Rounds(), [], []

    @property
    def names(self):
        return [name for name in self.seconds if name != XLA_ALONE]

    def error(self, name):
        return 1e-7

    def excuse(self, name):
        return ""

    def race(self, names, rounds, seconds, hopeless):
        self.log.append(list(names))
        rounds = (
            int(np.clip(seconds / sum(self.seconds[n] for n in names), 1, rounds)) if np.isfinite(seconds) else rounds
        )
        drift = np.exp(self.rng.normal(0, 0.3, rounds))
        best = min(self.seconds[n] for n in names)
        times = {}
        for name in names:
            took = self.seconds[name] * drift * np.exp(self.rng.normal(0, self.noise, rounds))
            times[name] = took[:1] if self.seconds[name] > hopeless * best else took
        self.rounds.add(times)
        return times

    def by_host(self, name, rounds, seconds):
        return None  # its clock took all of these times


def test_rounds_that_programs_share_tell_them_apart():
    rounds = Rounds()
    rounds.add({"a": np.array([1.0, 2.0, 4.0]), "b": np.array([1.1, 2.2, 4.4]), "slow": np.array([9.0])})
    rounds.add({"a": np.array([8.0]), "c": np.array([4.0])})
    assert rounds.ratio("b", "a") == pytest.approx(1.1)
    assert rounds.ratio("slow", "a") == 9.0
    assert rounds.ratio("c", "a") == 0.5
    assert np.isnan(rounds.ratio("c", "b"))
    assert rounds.median_s("a") == 3.0
    assert rounds.median_s("nobody") is None
    shared = rounds.shared(["a", "b"])
    np.testing.assert_array_equal(shared["a"], [1.0, 2.0, 4.0])
    assert len(rounds.shared(["b", "c"])["b"]) == 0


def test_close_are_those_that_may_yet_win():
    rounds = Rounds()
    rounds.add({"best": np.full(3, 1.0), "near": np.full(3, 1.05), "far": np.full(3, 1.1)})
    assert rounds.close(["far", "near", "best"]) == ["best", "near"]
    assert rounds.close([]) == []
    assert rounds.close(["new"]) == ["new"]
    assert rounds.close(["best", "new"]) == ["best", "new"]  # nobody knows yet


def test_a_few_rounds_rule_out_only_what_is_far_off():
    rounds = Rounds()
    rounds.add({"a": np.full(2, 1.0), "b": np.full(2, 1.3), "c": np.full(2, 1.6)})
    assert rounds.close(["a", "b", "c"]) == ["a", "b"]


def test_those_that_are_close_run_again_and_others_do_not():
    programs = Programs({"op-level": 0.010, "unbroken": 0.0101, "clear wins only": 0.012})
    outcome = verdict.decide(programs, float("inf"))
    assert outcome.winner == "op-level"
    assert programs.log[0] == [XLA_ALONE, "op-level", "unbroken", "clear wins only"]
    assert set(programs.log[1]) == {"op-level", "unbroken"}  # XLA is ten times slower


def test_xla_runs_on_where_it_may_win():
    programs = Programs({"a": 0.099, "b": 0.12})
    verdict.decide(programs, float("inf"))
    assert XLA_ALONE in programs.log[1]


def test_one_program_is_compared_in_one_race():
    programs = Programs({"placed": 0.01})
    outcome = verdict.decide(programs, float("inf"))
    assert outcome.winner == "placed"
    assert programs.log == [[XLA_ALONE, "placed"]]
    assert outcome.xla_us / outcome.measured_us == pytest.approx(10)


def test_rounds_from_before_count():
    programs = Programs({"a": 0.01, "b": 0.02, "c": 0.0101})
    programs.race([XLA_ALONE, "a", "b", "c"], 5, np.inf, 6.0)
    verdict.decide(programs, float("inf"))
    assert XLA_ALONE not in programs.log[1]  # slow, and timed already
    assert set(programs.log[2]) == {"a", "c"}


@pytest.mark.parametrize("seed", range(20))
def test_the_better_by_three_per_cent_wins_under_noise_and_drift(seed):
    programs = Programs({"worse": 0.0103, "better": 0.0100, "far": 0.015}, noise=0.02, seed=seed)
    assert verdict.decide(programs, float("inf")).winner == "better"


def test_medians_are_those_of_one_machine():
    """A program that ran only while the machine was slow is not called slow for it."""
    programs = Programs({"a": 0.01, "b": 0.02})
    programs.rounds.add({"a": np.full(3, 0.01)})
    programs.rounds.add({"a": np.full(2, 0.03), "b": np.full(2, 0.06)})
    medians = verdict.medians_us(programs, "a")
    assert medians["b"] == pytest.approx(2 * 0.01 * 1e6)
    assert XLA_ALONE not in medians


def test_no_programs_leave_xla():
    assert verdict.decide(Programs({}), float("inf")).winner is None


def test_a_program_that_came_after_the_race_with_xla_meets_it():
    """XLA is slow and was timed before; what the search found never ran beside it."""
    programs = Programs({"a": 0.02})
    programs.race([XLA_ALONE, "a"], 3, np.inf, 6.0)
    programs.seconds["evolved"] = 0.015
    outcome = verdict.decide(programs, float("inf"))
    assert outcome.winner == "evolved"
    assert outcome.xla_us / outcome.measured_us == pytest.approx(0.1 / 0.015)


def test_a_winner_by_its_fewer_changes_has_met_xla_too():
    programs = Programs({"a": 0.02, "b": 0.03})
    programs.race([XLA_ALONE, "a", "b"], 3, np.inf, 6.0)
    programs.seconds["evolved"] = 0.0201
    outcome = verdict.decide(programs, float("inf"), {"a": 40, "b": 0, "evolved": 2}.__getitem__)
    assert outcome.winner == "evolved"
    assert np.isfinite([outcome.xla_us, outcome.measured_us]).all()


def test_a_small_gain_over_a_slow_xla_takes_several_rounds():
    wins = 0
    for seed in range(200):
        programs = Programs({XLA_ALONE: 1.0, "a": 1.0}, noise=0.03, seed=seed)
        programs.race([XLA_ALONE, "a"], 1, np.inf, 6.0)
        wins += verdict.decide(programs, float("inf")).winner is not None
    assert wins < 30


def test_a_program_that_breaks_down_before_it_meets_xla_leaves_xla():
    class Breaking(Programs):
        def race(self, names, rounds, seconds, hopeless):
            self.seconds.pop("a", None)
            return super().race([n for n in names if n != "a"], rounds, seconds, hopeless)

    outcome = verdict.decide(Breaking({"a": 0.01}), float("inf"))
    assert outcome.winner is None
    assert outcome.measured_us is None
