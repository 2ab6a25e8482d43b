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
from collage_jax.candidates import Candidate, Candidates
from collage_jax.costs import Failed, Measured
from collage_jax.graph.region import Region
from collage_jax.graph.split import split
from collage_jax.graph.trace import trace_function
from collage_jax.lowering import APART, Lowered, lower
from collage_jax.measure import inside
from collage_jax.plan import Plan


def chain(count: int) -> tuple[Plan, Candidates]:
    """A plan of single-node regions in a row, all on ``a``, with candidates on ``a``, ``b`` and ``c``."""
    graph = fake_graph([[]] + [[i] for i in range(count - 1)])
    regions = [Region.of(graph, (node,)) for node in graph.nodes]
    found = [Candidate(r, name, name, f"kind{i % 2}") for i, r in enumerate(regions) for name in ("a", "b", "c")]
    return Plan(graph, tuple((r, "a") for r in regions)), Candidates(graph, tuple(found), ())


def test_rivals_are_the_kernels_near_alone():
    plan, options = chain(4)
    costs = {(kind, "a"): Measured(10.0) for kind in ("kind0", "kind1")}
    costs |= {("kind0", "b"): Measured(12.0), ("kind1", "b"): Measured(14.0)}
    costs |= {("kind0", "c"): Failed("verify", "wrong"), ("kind1", "c"): Measured(9.0)}
    assert inside.rivals(plan, options, costs) == [("kind0", ("a", "b")), ("kind1", ("a", "c"))] * 2


def timed(times: dict[str, float]) -> Any:
    """A lowering whose programs say that a kernel of a backend took ``times[backend]``."""

    def build(plan: Plan) -> Lowered:
        def run(prepared: Any) -> Any:
            numbers = [i for i, (_, name) in enumerate(plan.placed) if name in times]
            took = [times[plan.placed[i][1]] for i in numbers]
            return (), {(APART, *numbers): jnp.asarray([0.001, *took], jnp.float32)}

        return Lowered(lambda: ((), ()), run)

    return build


def names(plan: Plan) -> list[str]:
    return [name for _, name in plan.placed]


@pytest.mark.parametrize(
    ("times", "wanted"),
    [
        ({"a": 10.0, "b": 9.0, "c": 11.0}, ["b", "b", "b", "b"]),
        ({"a": 10.0, "b": 9.95, "c": 20.0}, ["a", "a", "a", "a"]),
        ({"a": 10.0, "b": 9.0, "c": 5.0}, ["b", "c", "b", "c"]),
        ({"b": 9.0, "c": 5.0}, ["a", "a", "a", "a"]),
        ({"a": 10.0}, ["a", "a", "a", "a"]),
    ],
)
def test_the_fastest_inside_takes_the_region(times: dict[str, float], wanted: list[str]) -> None:
    plan, _ = chain(4)
    contenders = [("kind0", ("a", "b")), ("kind1", ("a", "b", "c"))] * 2
    chosen = inside.refined(plan, contenders, timed(times), [], [], float("inf"))
    assert names(chosen) == wanted
    assert [r for r, _ in chosen.placed] == [r for r, _ in plan.placed]


def test_nothing_is_built_where_there_is_no_choice():
    plan, _ = chain(3)

    def build(plan: Plan) -> Lowered:
        raise AssertionError

    assert inside.refined(plan, [("kind", ("a",))] * 3, build, [], [], float("inf")) is plan


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
