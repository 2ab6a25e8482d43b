"""Measuring: right before fast, once only, within the time allowed, and no failure goes further than its cost."""

import hashlib
import subprocess
import sys
import time

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from fakes import Fake, raises_at_compile, raises_at_emit, raises_at_run, raises_at_trace, wrong_numbers

from collage_jax.backends.xla import BACKEND
from collage_jax.candidates import find
from collage_jax.costs import CostKey, Failed, Measured
from collage_jax.database import Database
from collage_jax.graph.ir import Value
from collage_jax.graph.region import Region
from collage_jax.graph.trace import trace_function
from collage_jax.measure.compare import largest_error, reduction_length, relative_error, tolerance
from collage_jax.measure.conditioning import nudged, worst
from collage_jax.measure.inputs import DISTRIBUTIONS, draw
from collage_jax.measure.race import BrokeDown, quartile_spread, race
from collage_jax.measure.regions import measure
from collage_jax.measure.verdict import fastest
from collage_jax.patterns.recognise import recognise

X = np.linspace(-2, 2, 12, dtype=np.float32).reshape(3, 4)
W = np.ones((4, 4), np.float32)


def key_of(candidate):
    return CostKey(candidate.key, candidate.backend, "1", "jaxlib", "cpu", "")


def whole(graph):
    return [range(len(graph.nodes))]


def costs_of(fun, args, *fakes, store=None, frozen=(), seconds=60.0, xla=BACKEND):
    """Costs of the whole function by backend."""
    graph = recognise(trace_function(fun, *args))
    candidates = find(graph, fakes, [graph.inputs[i] for i in frozen])
    region = Region.of(graph, graph.nodes)
    backends = {b.name: b for b in (*fakes, xla)}
    store = Database(None) if store is None else store
    costs = {}
    for group, found in measure(candidates.chosen_from, backends, store, key_of, time.perf_counter() + seconds):
        if next(iter(group.values())).region.indices == region.indices:
            costs.update(found)
    return costs


def tanh_dot(x, w):
    return jnp.tanh(x @ w)


# Failures


def test_a_right_kernel_is_measured_beside_xla():
    costs = costs_of(tanh_dot, (X, W), Fake(wants=whole))
    assert set(costs) == {"xla", "fake"}
    for cost in costs.values():
        assert isinstance(cost, Measured)
        assert cost.median_us > 0
        assert cost.spread_us >= 0
    assert costs["xla"].error is None
    assert costs["fake"].error is not None
    assert costs["fake"].error < 1e-5


def test_where_xla_is_slow_it_only_runs_to_be_compared_with(monkeypatch):
    """Once for each kind of inputs, and that is its time too."""
    runs = []

    def counted(kernel):
        def run(*arrays):
            jax.debug.callback(lambda: (runs.append(1), time.sleep(0.05)))
            return kernel(*arrays)

        return run

    class Slow(type(BACKEND)):
        def emit(self, region):
            return counted(super().emit(region))

    monkeypatch.setattr("collage_jax.measure.checking.SLOW_S", 0.01)
    wrong = Fake("wrong", whole, wrong_numbers)
    costs = costs_of(jnp.tanh, (X,), Fake("good", whole), wrong, xla=Slow())
    assert isinstance(costs["wrong"], Failed)
    assert costs["good"].median_us < costs["xla"].median_us
    assert costs["xla"].median_us > 5e4
    assert len(runs) == 2


def sine_of_sums(x, w):
    return jnp.sin(SCALE * (x @ w))


#: Makes sums of wide inputs angles of up to some hundred turns: sines of them hang on the last digits.
SCALE = 1e-4


def test_where_last_digits_decide_kernels_may_differ_as_xla_does_from_itself():
    def other_order(kernel):
        return lambda x, w: (jnp.sin(SCALE * (x[:, :32] @ w[:32] + x[:, 32:] @ w[32:])),)

    x, w = jax.ShapeDtypeStruct((48, 64), jnp.float32), jax.ShapeDtypeStruct((64, 48), jnp.float32)
    graph = trace_function(sine_of_sums, x, w)
    usual = tolerance(Region.of(graph, graph.nodes))
    cost = costs_of(sine_of_sums, (x, w), Fake(wants=whole, change=other_order))["fake"]
    assert isinstance(cost, Measured)
    assert usual < cost.error < 16 * usual


def clipped_sums(x, w):
    return jnp.clip(x @ w, 0.0, 6.0)


@pytest.mark.parametrize("bounded", [clipped_sums, lambda x, w: jax.nn.relu6(x @ w)])
def test_what_a_bound_hides_is_what_sums_round_by(bounded):
    def other_order(kernel):
        return lambda x, w: (jnp.clip(x[:, :32] @ w[:32] + x[:, 32:] @ w[32:], 0.0, 6.0),)

    x, w = jax.ShapeDtypeStruct((960, 64), jnp.float32), jax.ShapeDtypeStruct((64, 960), jnp.float32)
    graph = recognise(trace_function(bounded, x, w))
    region = Region.of(graph, graph.nodes)
    arrays = draw(region.entries, "wide")
    wanted, got = [bounded(*arrays)], other_order(None)(*arrays)
    assert largest_error(got, wanted) > 16 * tolerance(region)
    assert isinstance(costs_of(bounded, (x, w), Fake(wants=whole, change=other_order))["fake"], Measured)


@pytest.mark.parametrize("fun", [sine_of_sums, clipped_sums])
def test_wrong_numbers_are_still_found(fun):
    def wrong(kernel):
        return lambda x, w: (kernel(x, w)[0].at[3, 5].add(1e-3),)

    x, w = jax.ShapeDtypeStruct((48, 64), jnp.float32), jax.ShapeDtypeStruct((64, 48), jnp.float32)
    cost = costs_of(fun, (x, w), Fake(wants=whole, change=wrong))["fake"]
    assert isinstance(cost, Failed)
    assert cost.stage == "verify"


def test_narrow_numbers_have_their_tolerance_and_no_more():
    """Zeros in place of everything would pass else."""
    x = jnp.arange(1, 9, dtype=jnp.float8_e5m2)
    wanted = [x + x]
    assert worst(0.5, [jnp.zeros_like(x)], wanted, lambda arrays: [arrays[0] + arrays[0]], [x]) == (1.0, 0.5)


def test_one_result_does_not_excuse_another():
    wanted = [jnp.full(4, 1.0), jnp.full(4, 1.0)]
    got = [jnp.full(4, 1.0 + 1e-5), jnp.full(4, 1.0)]
    error, most = worst(2e-6, got, wanted, lambda arrays: [jnp.full(4, 1.0), jnp.full(4, 1.1)], [jnp.ones(4)])
    assert most == 2e-6
    assert error == pytest.approx(1e-5, rel=0.1)


def test_a_reference_that_fails_excuses_nothing():
    def fails(arrays):
        raise MemoryError

    error, most = worst(2e-6, [jnp.full(4, 1.00001)], [jnp.full(4, 1.0)], fails, [jnp.ones(4)])
    assert error > most == 2e-6


def test_nudged_numbers_are_one_unit_in_the_last_place_apart():
    given = [jnp.full((3, 70), 2.0), jnp.arange(4), jnp.full(5, 1 + 1j, jnp.complex64), jnp.ones(9, jnp.bfloat16)]
    got = nudged(given)
    assert [a.dtype for a in got] == [a.dtype for a in given]
    eps = np.finfo(np.float32).eps
    assert set(np.unique(np.asarray(got[0]) / 2)) == {1 - np.float32(eps), 1 + np.float32(eps)}
    np.testing.assert_array_equal(got[1], given[1])
    assert np.all(np.asarray(got[2]) != np.asarray(given[2]))
    assert np.all(np.asarray(got[3]) != np.asarray(given[3]))


def test_wrong_numbers_are_not_timed():
    timed = []

    def change(kernel):
        right = wrong_numbers(kernel)

        def run(*arrays):
            jax.debug.callback(lambda: timed.append(1))
            return right(*arrays)

        return run

    cost = costs_of(tanh_dot, (X, W), Fake("wrong", whole, change))["wrong"]
    jax.effects_barrier()
    assert isinstance(cost, Failed)
    assert cost.stage == "verify"
    assert "allowed" in cost.reason
    assert len(timed) == 1


@pytest.mark.parametrize(
    ("change", "stage", "reason"),
    [
        (raises_at_emit, "compile", "RuntimeError: emit went wrong"),
        (raises_at_trace, "compile", "TypeError: tracing went wrong"),
        (raises_at_compile, "compile", "no_such_target"),
        (raises_at_run, "run", "running went wrong"),
        (lambda kernel: lambda *a: [], "verify", "returns nothing, XLA float32[3, 4]"),
        (lambda kernel: lambda *a: [x[:1] for x in kernel(*a)], "verify", "returns float32[1, 4], XLA float32[3, 4]"),
        (
            lambda kernel: lambda *a: [x.astype(jnp.bfloat16) for x in kernel(*a)],
            "verify",
            "returns bfloat16[3, 4], XLA",
        ),
        (lambda kernel: lambda *a: [x * jnp.nan for x in kernel(*a)], "verify", "inf"),
        (lambda kernel: lambda *a: [jnp.zeros_like(x) for x in kernel(*a)], "verify", "1.00e+00"),
        (lambda kernel: lambda *a: [x * 1.001 for x in kernel(*a)], "verify", "1.00e-03"),
    ],
    ids=["emit", "trace", "compile", "run", "too few", "shape", "dtype", "nan", "zeros", "a little off"],
)
def test_a_kernel_that_fails_is_disqualified_with_its_reason(change, stage, reason):
    costs = costs_of(tanh_dot, (X, W), Fake("broken", whole, change), Fake("good", whole))
    assert isinstance(costs["xla"], Measured)
    assert isinstance(costs["good"], Measured)
    failed = costs["broken"]
    assert isinstance(failed, Failed)
    assert failed.stage == stage
    assert reason in failed.reason
    assert "\n" not in failed.reason


def test_a_kernel_that_fails_while_it_is_timed_does_not_stop_the_others():
    late = Fake("late", whole, lambda kernel: raises_at_run(kernel, after=2))
    costs = costs_of(tanh_dot, (X, W), late, Fake("good", whole))
    assert isinstance(costs["late"], Failed)
    assert costs["late"].stage == "run"
    assert "running went wrong" in costs["late"].reason
    assert isinstance(costs["good"], Measured)
    assert isinstance(costs["xla"], Measured)


@pytest.mark.parametrize("change", [raises_at_emit, raises_at_run])
def test_without_a_reference_nothing_is_accepted(change):
    costs = costs_of(tanh_dot, (X, W), Fake(wants=whole), xla=Fake("xla", change=change))
    assert all(isinstance(cost, Failed) for cost in costs.values())
    assert costs["fake"].stage == "verify"
    assert "XLA" in costs["fake"].reason


def test_kernels_with_packed_operands_are_checked_and_measured():
    good, bad = Fake("good", whole, packs=True), Fake("bad", whole, wrong_numbers, packs=True)
    costs = costs_of(tanh_dot, (X, W), good, bad, frozen=(1,))
    assert good.packed_emits > 0
    assert isinstance(costs["good"], Measured)
    assert isinstance(costs["bad"], Failed)


def test_a_kernel_that_is_wrong_at_zero_alone_is_found():
    def change(kernel):
        return lambda x: [jnp.where(x == 0, 7.0, r) for r in kernel(x)]

    cost = costs_of(jnp.sin, (np.ones(400, np.float32),), Fake("wrong", whole, change))["wrong"]
    assert isinstance(cost, Failed)
    assert cost.stage == "verify"


def test_double_precision_is_not_replaced_by_single():
    def change(kernel):
        return lambda x: [r.astype(np.float64) for r in kernel(x.astype(np.float32).astype(np.float64))]

    with jax.enable_x64(True):
        cost = costs_of(lambda x: x * 3, (np.ones(50),), Fake("narrow", whole, change))["narrow"]
    assert isinstance(cost, Failed)
    assert cost.stage == "verify"


# The store


def test_nothing_is_measured_twice():
    store, fake, xla = Database(None), Fake(wants=whole), Fake("xla")
    first = costs_of(tanh_dot, (X, W), fake, store=store, xla=xla)
    emits = fake.emits, xla.emits
    assert min(emits) > 0
    assert costs_of(tanh_dot, (X, W), fake, store=store, xla=xla) == first
    assert (fake.emits, xla.emits) == emits


def test_equal_regions_are_measured_once():
    def fun(x, a, b):
        return jnp.tanh(jnp.tanh(x @ a) @ b)

    graph = trace_function(fun, X, W, W)
    fake = Fake(wants=lambda graph: [(0, 1), (2, 3)])
    found = find(graph, [fake])
    results = list(measure(found.chosen_from, {"fake": fake, "xla": BACKEND}, Database(None), key_of, float("inf")))
    assert fake.emits == 1
    assert len({group["xla"].key for group, _ in results}) == len(results) == 3


def test_failures_are_remembered():
    store, fake = Database(None), Fake("broken", whole, raises_at_run)
    first = costs_of(tanh_dot, (X, W), fake, store=store)["broken"]
    emits = fake.emits
    assert costs_of(tanh_dot, (X, W), fake, store=store)["broken"] == first
    assert fake.emits == emits


def test_a_backend_that_failed_before_is_not_run_again_for_another_backends_sake():
    store, broken, good = Database(None), Fake("broken", whole, raises_at_run), Fake("good", whole)
    first = costs_of(tanh_dot, (X, W), broken, store=store)["broken"]
    emits = broken.emits
    costs = costs_of(tanh_dot, (X, W), broken, good, store=store)
    assert costs["broken"] == first
    assert isinstance(costs["good"], Measured)
    assert broken.emits == emits


def test_past_the_deadline_nothing_is_measured_and_nothing_remembered():
    store, fake = Database(None), Fake(wants=whole)
    costs = costs_of(tanh_dot, (X, W), fake, store=store, seconds=-1.0)
    assert {type(c) for c in costs.values()} == {Failed}
    assert {c.stage for c in costs.values()} == {"budget"}
    assert fake.emits == 0
    assert len(store) == 0


# Racing


class Clock:
    """A clock that moves only when a contender runs."""

    def __init__(self, monkeypatch):
        self.now = 0.0
        monkeypatch.setattr(time, "perf_counter", lambda: self.now)

    def contender(self, seconds, calls):
        def run():
            calls.append(seconds)
            self.now += seconds

        return run


def test_the_hopeless_are_run_once(monkeypatch):
    clock, fast, slow = Clock(monkeypatch), [], []
    contenders = {"fast": clock.contender(1.0, fast), "slow": clock.contender(4.0, slow)}
    times = race(contenders, rounds=5, seconds=100.0, hopeless=3.0)
    assert len(slow) == 1
    assert len(fast) == 6
    assert list(times["slow"]) == [4.0]
    assert list(times["fast"]) == [1.0] * 5


def test_what_is_known_to_be_hopeless_is_not_run(monkeypatch):
    clock, fast, slow, other = Clock(monkeypatch), [], [], []
    contenders = {n: clock.contender(1.0, calls) for n, calls in (("fast", fast), ("slow", slow), ("other", other))}
    times = race(contenders, rounds=2, seconds=100.0, took={"slow": 9.0, "other": 2.0})
    assert (len(fast), len(slow), len(other)) == (3, 0, 2)
    assert list(times["slow"]) == [9.0]
    assert list(times["other"]) == [1.0] * 2


def test_a_slow_contender_without_rivals_is_timed_like_the_others(monkeypatch):
    clock = Clock(monkeypatch)
    contenders = {
        ("a", 1): clock.contender(1.0, []),
        ("b", 1): clock.contender(9.0, []),
        ("a", 2): clock.contender(9.0, []),
    }
    times = race(contenders, rounds=3, seconds=1000.0, rivals=lambda name: name[0])
    assert {name: len(t) for name, t in times.items()} == {("a", 1): 3, ("b", 1): 3, ("a", 2): 1}


def test_rounds_end_with_the_time_allowed_but_one_is_always_run(monkeypatch):
    clock = Clock(monkeypatch)
    assert len(race({"a": clock.contender(1.0, [])}, rounds=99, seconds=5.5)["a"]) == 5
    assert len(race({"a": clock.contender(1.0, [])}, rounds=99, seconds=0.0)["a"]) == 1
    assert len(race({"a": clock.contender(1.0, [])}, rounds=99, seconds=99, deadline=clock.now + 3.5)["a"]) == 3


def test_quick_contenders_are_called_many_times_a_round(monkeypatch):
    clock, calls = Clock(monkeypatch), []
    times = race({"a": clock.contender(1e-4, calls)}, rounds=2, seconds=1.0)
    assert len(calls) == 3 + 2 * 5
    np.testing.assert_allclose(times["a"], 1e-4)


def test_one_that_breaks_down_is_named():
    def raises():
        raise ValueError("no")

    with pytest.raises(BrokeDown) as caught:
        race({"good": lambda: 1, "bad": raises}, rounds=1, seconds=1.0)
    assert caught.value.name == "bad"
    assert isinstance(caught.value.__cause__, ValueError)


def test_the_fastest_is_told_from_others_under_drift():
    """Two per cent, where rounds differ by half: only within a round do the two compare."""
    drift = np.exp(np.random.default_rng(0).normal(0, 0.5, 15))
    noise = np.exp(np.random.default_rng(1).normal(0, 0.005, (2, 15)))
    times = {"a": 1.02 * drift * noise[0], "b": drift * noise[1], "hopeless": np.array([0.1])}
    assert fastest(times) == "b"
    assert fastest({"alone": np.array([1.0])}) == "alone"


def test_changes_between_xla_and_others_are_charged_but_not_much():
    times = {name: np.full(5, took) for name, took in {"many": 0.0100, "few": 0.0102, "none": 0.0104}.items()}
    assert fastest(times, {"many": 20, "few": 4, "none": 0}.__getitem__) == "few"
    assert fastest(times, {"many": 12, "few": 9, "none": 9}.__getitem__) == "many"
    assert fastest(times) == "many"


def test_no_contenders_have_no_times():
    assert race({}, rounds=3, seconds=0.1) == {}


def test_the_spread_is_the_distance_between_quartiles():
    assert quartile_spread(np.arange(5.0)) == 2.0
    assert quartile_spread(np.array([3.0])) == 0.0


# Comparing

NAN, INF = float("nan"), float("inf")
F8 = ml_dtypes.float8_e4m3fn


@pytest.mark.parametrize(
    ("got", "wanted", "error"),
    [
        ([1.0, 2.0], [1.0, 2.0], 0.0),
        ([1.0, 2.5], [1.0, 2.0], 0.25),
        ([0.1, -8.0], [0.0, -8.0], 0.0125),
        ([NAN, 1.0], [NAN, 1.0], 0.0),
        ([NAN, 1.0], [1.0, NAN], INF),
        ([NAN, 1.0], [0.0, 1.0], INF),
        ([0.0, 1.0], [NAN, 1.0], INF),
        ([INF, 1.0], [INF, 1.0], 0.0),
        ([INF, 1.0], [-INF, 1.0], INF),
        ([INF, 1.0], [NAN, 1.0], INF),
        ([INF, 3.0], [INF, 2.0], 0.5),
        ([NAN, NAN], [NAN, NAN], 0.0),
        ([0.0, -0.0], [0.0, 0.0], 0.0),
        ([1e-30, 0.0], [0.0, 0.0], INF),
        ([3e38, 1.0], [-3e38, 1.0], INF),
        ([], [], 0.0),
    ],
)
@pytest.mark.parametrize("dtype", [np.float32, ml_dtypes.bfloat16])
def test_relative_error(got, wanted, error, dtype):
    found = relative_error(np.asarray(got, dtype), np.asarray(wanted, dtype))
    assert found == error or abs(found - error) < 0.01 * error


@pytest.mark.parametrize(
    ("got", "wanted", "error"),
    [
        (np.array([1, 2]), np.array([1, 2]), 0.0),
        (np.array([1, 2]), np.array([1, 3]), INF),
        (np.array([True]), np.array([False]), INF),
        (np.zeros((0, 3), np.int8), np.zeros((0, 3), np.int8), 0.0),
        (np.zeros((0, 3), np.float32), np.zeros((3, 0), np.float32), INF),
        (np.zeros(2, np.float32), np.zeros(2, np.float64), INF),
        (np.zeros(2, np.float32), np.zeros((1, 2), np.float32), INF),
        (np.array([1 + 1j]), np.array([1 + 1j]), 0.0),
        (np.array([3 + 4j]), np.array([0 + 5j]), abs(3 - 1j) / 5),
        (np.array([complex(NAN, 0)]), np.array([1 + 0j]), INF),
        (np.float32(2.0), np.float32(1.0), 1.0),
        (np.array([1.0], F8), np.array([1.125], F8), 0.125 / 1.125),
        (np.array([NAN], F8), np.array([NAN], F8), 0.0),
        (jnp.array([1.0], jnp.bfloat16), jnp.array([1.0], jnp.bfloat16), 0.0),
    ],
)
def test_relative_error_by_kind_of_array(got, wanted, error):
    found = relative_error(got, wanted)
    assert found == error or abs(found - error) < 1e-9


def test_the_largest_error_is_that_of_the_worst_result():
    ones = np.ones(2, np.float32)
    assert largest_error([ones, ones * 1.5], [ones, ones]) == 0.5
    assert largest_error([], []) == 0.0
    assert largest_error([ones], [ones, ones]) == INF


def tolerance_of(fun, *args):
    graph = trace_function(fun, *args)
    return tolerance(Region.of(graph, graph.nodes))


def test_the_tolerance_grows_with_the_length_of_sums():
    def dot(length):
        return tolerance_of(jnp.dot, np.ones((2, length), np.float32), np.ones((length, 2), np.float32))

    assert dot(1) == dot(16) < dot(64) < dot(4096)
    assert dot(6400) == pytest.approx(10 * dot(64))
    assert dot(4096) < 1e-4


def test_the_tolerance_follows_the_coarsest_dtype():
    assert tolerance_of(jnp.sin, np.ones(2, np.float32)) < tolerance_of(jnp.sin, jnp.ones(2, np.float16))
    assert tolerance_of(jnp.sin, jnp.ones(2, np.float16)) < tolerance_of(jnp.sin, jnp.ones(2, jnp.bfloat16))
    assert tolerance_of(lambda x: x + 1, np.ones(2, np.int32)) == 0.0


@pytest.mark.parametrize("dtype", [jnp.float8_e5m2, jnp.float8_e4m3fn, jnp.bfloat16])
def test_no_tolerance_lets_zeros_pass(dtype):
    assert tolerance_of(lambda x: x * x, jnp.ones(2, dtype)) < 1.0


@pytest.mark.parametrize(
    ("fun", "args", "length"),
    [
        (lambda x: jnp.sum(x, 1), (np.ones((3, 50), np.float32),), 50),
        (lambda x: jnp.max(x), (np.ones((3, 50), np.float32),), 150),
        (lambda x: jnp.cumsum(x, 1), (np.ones((3, 50), np.float32),), 50),
        (lambda x: jnp.sin(x), (np.ones((3, 50), np.float32),), 1),
        (lambda x: jnp.sum(x, 0), (np.ones((0, 5), np.float32),), 1),
        (lambda x, y: jnp.einsum("bij,bjk->bik", x, y), (np.ones((2, 3, 7)), np.ones((2, 7, 5))), 7),
        (lambda x: jax.lax.reduce_window(x, 0.0, jax.lax.add, (3, 2), (1, 1), "VALID"), (np.ones((9, 9)),), 6),
        (lambda x, k: jax.lax.conv_general_dilated(x, k, (1, 1), "SAME", feature_group_count=2),
            (np.ones((1, 8, 9, 9)), np.ones((6, 4, 3, 3))), 36),
    ],
)  # fmt: skip
def test_the_length_of_a_sum_is_read_off_its_operation(fun, args, length):
    graph = trace_function(fun, *(np.asarray(a, np.float32) for a in args))
    assert max(reduction_length(n) for n in graph.nodes) == length


# Inputs

AVALS = [
    ((3, 4), d) for d in ("float32", "bfloat16", "float16", "int32", "uint8", "bool", "complex64", "float8_e4m3fn")
]


def values():
    return [Value(jax.ShapeDtypeStruct(s, jnp.dtype(d))) for s, d in [*AVALS, ((), "float32"), ((0, 3), "float32")]]


@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
def test_inputs_are_the_same_each_time(distribution):
    for value, one, two in zip(values(), draw(values(), distribution), draw(values(), distribution), strict=True):
        assert one.shape == value.shape
        assert one.dtype == value.dtype
        assert np.asarray(one).tobytes() == np.asarray(two).tobytes()


def test_inputs_differ_by_seed_distribution_and_place():
    value = Value(jax.ShapeDtypeStruct((50,), jnp.float32))
    drawn = [*draw([value, value]), *draw([value], seed=1), *draw([value], "wide")]
    assert len({np.asarray(a).tobytes() for a in drawn}) == 4


def test_wide_inputs_hold_zeros_and_span_orders_of_magnitude():
    (wide,) = draw([Value(jax.ShapeDtypeStruct((5000,), jnp.float32))], "wide")
    sizes = np.abs(np.asarray(wide))
    assert 0.05 < np.mean(sizes == 0) < 0.2
    assert np.max(sizes) / np.min(sizes[sizes > 0]) > 1e6
    assert np.isfinite(sizes).all()


def test_keys_are_drawn_too():
    (key,) = draw([Value(jax.eval_shape(lambda: jax.random.key(0)))])
    assert jnp.issubdtype(key.dtype, jax.dtypes.prng_key)


def test_inputs_are_the_same_in_another_process():
    script = """
import jax, hashlib, numpy as np
from collage_jax.graph.ir import Value
from collage_jax.measure.inputs import draw
arrays = draw([Value(jax.ShapeDtypeStruct((7, 5), d)) for d in ("float32", "int32", "complex64")], "wide")
print(hashlib.sha256(b"".join(np.asarray(a).tobytes() for a in arrays)).hexdigest())
"""
    env = {"PATH": "", "JAX_PLATFORMS": "cpu", "PYTHONPATH": ":".join(filter(None, sys.path))}
    there = subprocess.run(
        [sys.executable, "-P", "-c", script], env=env, capture_output=True, text=True, check=True
    ).stdout
    here = draw([Value(jax.ShapeDtypeStruct((7, 5), d)) for d in ("float32", "int32", "complex64")], "wide")
    assert there.strip() == hashlib.sha256(b"".join(np.asarray(a).tobytes() for a in here)).hexdigest()
