"""Kernels compared where they stand: what is tried, and what is taken."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from fakes import fake_graph

from collage_jax.backends.onednn import BACKEND as ONEDNN
from collage_jax.backends.registry import get
from collage_jax.candidates import XLA, Candidate, Candidates
from collage_jax.costs import Cost, Failed, Measured
from collage_jax.graph.region import Region
from collage_jax.graph.split import split
from collage_jax.graph.trace import trace_function
from collage_jax.lowering.build import APART, Lowered, lower
from collage_jax.lowering.plan import Plan
from collage_jax.measure import inside
from collage_jax.search.op_level import Charges
from collage_jax.tuning.contenders import REFINED, refined_plan


def chain(count: int) -> tuple[Plan, Candidates]:
    """A plan of single-node regions in a row, all on ``a``, with candidates on ``a``, ``b`` and ``c``."""
    graph = fake_graph([[]] + [[i] for i in range(count - 1)])
    regions = [Region.of(graph, (node,)) for node in graph.nodes]
    found = [Candidate(r, name, name, f"kind{i % 2}") for i, r in enumerate(regions) for name in ("a", "b", "c")]
    return Plan(graph, tuple((r, "a") for r in regions)), Candidates(graph, tuple(found), ())


def names(plan: Plan) -> list[str]:
    return [name for _, name in plan.placed]


def test_kernels_near_alone_are_tried():
    plan, options = chain(4)
    costs: dict[tuple[str, str], Cost] = {(kind, "a"): Measured(10.0) for kind in ("kind0", "kind1")}
    costs |= {("kind0", "b"): Measured(12.0), ("kind1", "b"): Measured(14.0)}
    costs |= {("kind0", "c"): Failed("verify", "wrong"), ("kind1", "c"): Measured(9.0)}
    tried = inside.variants(plan, options, costs)
    assert list(map(names, tried)) == [["a", "a", "a", "a"], ["b", "c", "b", "c"]]
    assert all([r for r, _ in each.placed] == [r for r, _ in plan.placed] for each in tried)


def timed(times: dict[str, float]) -> Any:
    """A lowering whose programs say that a kernel of a backend took ``times[backend]``."""

    def build(plan: Plan) -> Lowered:
        def run(prepared: Any) -> Any:
            numbers = [i for i, (_, name) in enumerate(plan.placed) if name in times]
            took = [times[plan.placed[i][1]] for i in numbers]
            return (), {(APART, *numbers): jnp.asarray([0.001, *took], jnp.float32)}

        return Lowered(lambda: ((), ()), run)

    return build


def test_equal_regions_share_the_mean_of_their_times():
    plan, options = chain(4)
    costs = {(kind, name): Measured(10.0) for kind in ("kind0", "kind1") for name in "abc"}
    build = timed({"a": 10.0, "b": 9.0})
    took = inside.timed(inside.variants(plan, options, costs), options, build, [], [], float("inf"))
    # ``c`` does not run as a step.
    assert took == {(kind, name): us for kind in ("kind0", "kind1") for name, us in {"a": 10.0, "b": 9.0}.items()}


def test_past_the_deadline_no_other_program_is_built():
    plan, options = chain(2)
    costs = {(kind, name): Measured(10.0) for kind in ("kind0", "kind1") for name in "abc"}
    tried = inside.variants(plan, options, costs)
    took = inside.timed(tried, options, timed({"a": 10.0, "b": 9.0}), [], [], 0.0)
    assert len(tried) == 3 and {name for _, name in took} == {"a"}


def pairs() -> tuple[Plan, Candidates]:
    """Four nodes in a row; ``joined`` takes two at a time, ``apart`` and ``other`` take each."""
    graph = fake_graph([[], [0], [1], [2]])
    twos = [Region.of(graph, graph.nodes[i : i + 2]) for i in (0, 2)]
    ones = [Region.of(graph, (node,)) for node in graph.nodes]
    found = [Candidate(r, "joined", "joined", "two") for r in twos]
    found += [Candidate(r, name, name, "one") for r in ones for name in ("apart", "other", XLA)]
    return Plan(graph, tuple((r, "joined") for r in twos)), Candidates(graph, tuple(found), ())


COSTS: dict[tuple[str, str], Cost] = {
    ("two", "joined"): Measured(10.0),
    ("one", "apart"): Measured(6.0),
    ("one", "other"): Measured(8.0),
    ("one", XLA): Measured(100.0),
}


def test_costs_where_they_stand():
    _, options = pairs()
    inside_us = {("two", "joined"): 8.0, ("one", "apart"): 3.0}
    standing = inside.where_they_stand(options, COSTS, inside_us)
    assert {kind: cost.median_us for kind, cost in standing.items() if isinstance(cost, Measured)} == {
        ("two", "joined"): 8.0,
        ("one", "apart"): 3.0,
        ("one", "other"): pytest.approx(8.0 * 11 / 16),  # as both that run the same nodes
        ("one", XLA): 100.0,
    }
    only_own = inside.where_they_stand(options, COSTS, {("one", "apart"): 3.0})[("two", "joined")]
    assert isinstance(only_own, Measured) and only_own.median_us == 5.0


@pytest.mark.parametrize(("apart_us", "wanted"), [(3.0, ["apart"] * 4), (5.0, ["joined"] * 2)])
def test_regions_that_cover_the_same_are_chosen_anew(apart_us: float, wanted: list[str]) -> None:
    plan, options = pairs()
    build = timed({"joined": 9.0, "apart": apart_us})
    args = options, COSTS, Charges(), build, ([], []), float("inf"), {}, []
    found, standing = refined_plan({"op-level": plan}, *args)
    assert standing["one", "apart"] == Measured(apart_us)
    assert names(found["refined"] if found else plan) == wanted


def test_what_goes_wrong_inside_costs_that_plan_only():
    plan, options = pairs()
    notes: list[str] = []

    def build(plan: Plan) -> Lowered:
        raise RuntimeError("no step")

    args = options, COSTS, Charges(), build, ([], []), float("inf")
    assert refined_plan({"op-level": plan}, *args, {}, notes) == ({}, COSTS)
    assert refined_plan({"op-level": plan}, *args, {REFINED: "it ended the process"}, notes) == ({}, COSTS)
    assert [note.rpartition(": ")[2] for note in notes] == ["no step", "it ended the process"]


def test_nothing_is_built_where_there_is_no_choice():
    plan, options = chain(3)
    only = Candidates(options.graph, tuple(c for c in options.chosen_from if c.backend == "a"), ())
    costs: dict[tuple[str, str], Cost] = {(kind, "a"): Measured(1.0) for kind in ("kind0", "kind1")}

    def build(plan: Plan) -> Lowered:
        raise AssertionError

    args = only, costs, Charges(), build, ([], []), float("inf"), {}, []
    assert refined_plan({"op-level": plan}, *args) == ({}, costs)


@pytest.mark.skipif(ONEDNN.available() is not None, reason="there is no oneDNN here")
def test_a_timed_program_gives_the_same_and_a_time_for_each_step():
    def fun(x: Any, v: Any, w: Any) -> Any:
        return jnp.tanh(jnp.tanh(x @ v) @ w)

    args = [jnp.asarray(np.random.default_rng(i).standard_normal((8, 8)), jnp.float32) for i in range(3)]
    graph = trace_function(fun, *args)
    first, second = (Region.of(graph, graph.nodes[i : i + 2]) for i in (0, 2))
    parts = split(graph, [])
    plan = Plan(graph, ((second, "onednn"), (first, "onednn")))
    run = jax.jit(lower(plan, parts, {"onednn": get("onednn")}, timed=True).run)
    (got,), times = run(([], []), *args)
    np.testing.assert_allclose(got, fun(*args), rtol=1e-5, atol=1e-6)
    ((numbers, took),) = times.items()
    assert sorted(numbers) == [0, 1]
    assert took.shape == (2,)
    assert (took > 0).all()
