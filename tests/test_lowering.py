"""Plans and their lowering: whatever is placed where, the program computes the same."""

import random
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from fakes import CHEAP, Fake, Program, assert_same, fake_graph, programs, random_reads, random_regions
from hypothesis import given
from hypothesis import strategies as st

from collage_jax import _compat
from collage_jax.graph.evaluate import evaluate
from collage_jax.graph.ir import Constant
from collage_jax.graph.region import Region
from collage_jax.graph.split import split
from collage_jax.graph.trace import trace_function
from collage_jax.lowering.build import lower
from collage_jax.lowering.plan import Plan

X = np.linspace(-1, 1, 12, dtype=np.float32).reshape(3, 4)
W = np.linspace(0.5, 2, 16, dtype=np.float32).reshape(4, 4)


def plan_of(graph, rng, *, inside=True):
    """Random regions of ``graph`` and of the bodies in it, all placed."""
    placed = tuple((region, "fake") for region in random_regions(rng, graph))
    taken = {n for region, _ in placed for n in region.nodes}
    inner = {
        node: {name: tuple(plan_of(g, rng) for g in graphs) for name, graphs in node.subgraphs.items()}
        for node in graph.nodes
        if inside and node.subgraphs and node not in taken
    }
    return Plan(graph, placed, inner)


def run_placed(fun, args, frozen, make_plan, backend):
    """Results of ``fun`` placed by ``make_plan(graph)``, and the plan."""
    graph = trace_function(fun, *args)
    parts = split(graph, [graph.inputs[i] for i in frozen])
    plan = make_plan(parts.each)
    lowered = lower(plan, parts, {"fake": backend})
    prepared = jax.jit(lowered.prepare)(*(args[i] for i in frozen))
    others = [a for i, a in enumerate(args) if i not in frozen]
    return jax.jit(lowered.run)(prepared, *others), plan


def assert_places(fun, args, frozen=(), *, seeds=range(2), packs=False):
    wanted = jax.tree.leaves(jax.jit(fun)(*args))
    placed = 0
    for seed in seeds:
        backend = Fake(packs=packs)
        got, plan = run_placed(fun, args, frozen, lambda graph, seed=seed: plan_of(graph, random.Random(seed)), backend)
        assert_same(got, wanted)
        assert backend.emits == len(list(plan.everything()))
        placed += backend.emits
    return placed


def everything(graph):
    """The graph's nodes as one region."""
    return Plan(graph, ((Region.of(graph, graph.nodes), "fake"),))


def mixed(x, w):
    y = jnp.tanh(x @ jnp.sin(w) + w[0])
    return (y - y.mean(-1, keepdims=True)) * 0.5, jax.nn.relu(y), x


@pytest.mark.parametrize("packs", [False, True])
@pytest.mark.parametrize("frozen", [(), (0,), (1,)])
def test_random_placements_compute_the_same(frozen, packs):
    assert assert_places(mixed, (X, W), frozen, packs=packs) > 0


def test_a_whole_graph_in_one_region_computes_the_same():
    got, _ = run_placed(mixed, (X, W), (1,), everything, Fake())
    assert_same(got, jax.jit(mixed)(X, W))


def test_a_lone_result_may_come_without_a_tuple():
    backend = Fake(change=lambda kernel: lambda *arrays: kernel(*arrays)[0])
    got, _ = run_placed(lambda x: jnp.sin(x) + 1, (X,), (), everything, backend)
    assert_same(got, [np.sin(X) + 1])


def test_results_are_as_weakly_typed_as_jaxs():
    class Strong(Fake):
        def emit(self, region):
            return lambda x: jnp.sin(jnp.asarray(x, jnp.float32))

    (got,), _ = run_placed(jnp.sin, (0.5,), (), everything, Strong())
    assert got.weak_type and jax.jit(jnp.sin)(0.5).weak_type


def test_a_kernel_with_a_result_too_few_is_an_error():
    backend = Fake(change=lambda kernel: lambda *arrays: kernel(*arrays)[:1])
    with pytest.raises(ValueError, match="zip"):
        run_placed(mixed, (X, W), (), everything, backend)


def test_what_a_kernel_packed_is_not_kept_in_its_plain_form_too():
    graph = trace_function(lambda x, w: x @ w, X, W)
    parts = split(graph, [graph.inputs[1]])
    lowered = lower(everything(parts.each), parts, {"fake": Fake(packs=True)})
    plain, packed = lowered.prepare(W)
    assert plain == []
    assert [a.shape for (a,) in packed] == [(16,)]
    assert_same(lowered.run((plain, packed), X), [X @ W])


def test_what_a_kernel_packed_is_kept_if_something_else_reads_it():
    graph = trace_function(lambda x, w: (x @ w, w), X, W)
    parts = split(graph, [graph.inputs[1]])
    backend = Fake(packs=True)
    plain, packed = lower(everything(parts.each), parts, {"fake": backend}).prepare(W)
    assert len(plain) == len(packed) == 1
    assert backend.packed_emits == 1


def test_constants_closed_over_are_packed_ahead():
    def fun(x):
        return x @ jnp.asarray(W) + np.arange(4, dtype=np.float32)

    graph = trace_function(fun, X)
    parts = split(graph, ())
    lowered = lower(everything(parts.each), parts, {"fake": Fake(packs=True)})
    prepared = lowered.prepare()
    assert_same(jax.jit(lowered.run)(prepared, X), [fun(X)])


def test_a_frozen_value_that_is_an_output_is_handed_out():
    got, _ = run_placed(lambda x, w: (w, jnp.sin(w), x, 2.0), (X, W), (1,), Plan, Fake())
    assert_same(got, [W, np.sin(W), X, 2.0], types=False)


LOOPS = {
    "scan": lambda x, w: jax.lax.scan(lambda c, v: (jnp.tanh(c @ w) + v, jax.nn.relu(c) * 2), x[0], x),
    "while": lambda x, w: jax.lax.while_loop(
        lambda s: (s[0] < 3) & (jnp.sum(s[1]) < 1e6), lambda s: (s[0] + 1, jnp.sin(s[1] @ w) + s[0]), (0, x)
    ),
    "fori": lambda x, w: jax.lax.fori_loop(0, 3, lambda i, s: s * 2.0 + i, x),
    "cond": lambda x, w: jax.lax.cond(jnp.sum(x) > 0, lambda v: jnp.sin(v @ w) + 1, lambda v: jnp.cos(v) * 0.0, x),
    "constant branch": lambda x, w: jax.lax.cond(
        jnp.sum(x) > 0, lambda v: (jnp.sin(v[0, 0]), v), lambda v: (0.0, v + 1), x
    ),
    "switch": lambda x, w: jax.lax.switch(jnp.int32(2), [jnp.sin, jnp.cos, lambda v: v @ w + 1], x),
    "weak carry": lambda x, w: jax.lax.scan(lambda c, v: (c * 1.5, jnp.sum(v) + c), 1.0, x),
    "nested": lambda x, w: jax.lax.scan(
        lambda c, v: (
            jax.lax.fori_loop(0, 2, lambda i, s: jnp.tanh(s @ w) + i, c),
            jax.lax.cond(v[0] > 0, jnp.sin, jnp.cos, v),
        ),
        x[0],
        x,
    ),
    "constants in the body": lambda x, w: jax.lax.scan(
        lambda c, v: (jnp.sin(c + np.arange(4.0, dtype=np.float32)), v), x[0], x
    ),
    "reverse": lambda x, w: jax.lax.scan(lambda c, v: (c + v, c * v), x[0], x, reverse=True, unroll=2),
    "no carry": lambda x, w: jax.lax.map(lambda v: jnp.sin(v @ w), x),
    "gradient": jax.grad(lambda x, w: jnp.sum(jax.lax.scan(lambda c, v: (jnp.tanh(c @ w) + v, c), x[0], x)[1])),
}


@pytest.mark.parametrize("name", LOOPS)
def test_bodies_of_control_flow_are_placed(name):
    def inside_only(graph):
        inner = {
            n: {k: tuple(inside_only(g) for g in v) for k, v in n.subgraphs.items()} for n in graph.nodes if n.subgraphs
        }
        whole = () if inner or not graph.nodes else ((Region.of(graph, graph.nodes), "fake"),)
        return Plan(graph, whole, inner)

    backend = Fake()
    got, plan = run_placed(LOOPS[name], (X, W), (1,), inside_only, backend)
    assert_same(got, jax.tree.leaves(jax.jit(LOOPS[name])(X, W)))
    assert not plan.is_plain
    assert backend.runs > 0


@pytest.mark.parametrize("name", ["scan", "while", "nested"])
def test_parts_of_bodies_of_control_flow_are_placed(name):
    assert assert_places(LOOPS[name], (X, W), (1,), packs=True) > 0


def test_a_plan_whose_bodies_are_all_plain_leaves_the_loop_as_it_is():
    graph = trace_function(LOOPS["scan"], X, W)
    (scan,) = (n for n in graph.nodes if n.op == "scan")
    plan = Plan(graph, (), {scan: {"jaxpr": tuple(map(Plan, scan.subgraphs["jaxpr"]))}})
    assert plan.is_plain
    parts = split(graph, ())
    lowered = lower(replace(plan, graph=parts.each), parts, {})
    assert_same(lowered.run(lowered.prepare(), X, W), jax.tree.leaves(LOOPS["scan"](X, W)), types=False)


def test_effects_keep_their_order():
    seen = []

    def note(label):
        return lambda x: seen.append(label)

    def fun(x):
        jax.debug.callback(note("first"), x, ordered=True)
        y = jnp.sin(x)
        jax.debug.callback(note("second"), y[0, 0], ordered=True)
        jax.debug.callback(note("third"), x, ordered=True)
        return jnp.cos(y) + x

    for seed in range(4):
        seen.clear()
        got, _ = run_placed(fun, (X,), (), lambda graph, seed=seed: plan_of(graph, random.Random(seed)), Fake())
        jax.effects_barrier()
        assert seen == ["first", "second", "third"]
        assert_same(got, [jnp.cos(jnp.sin(X)) + X])


@given(programs(steps=CHEAP), st.integers(0, 2**16), st.booleans())
def test_random_programs_placed_at_random_compute_the_same(program: Program, seed, packs):
    rng = random.Random(seed)
    frozen = tuple(i for i in range(len(program.inputs)) if rng.random() < 0.5)
    got, _ = run_placed(
        program, program.inputs, frozen, lambda graph: plan_of(graph, random.Random(seed)), Fake(packs=packs)
    )
    assert_same(got, evaluate(trace_function(program, *program.inputs), *program.inputs))


# Steps


@pytest.mark.parametrize("seed", range(10))
def test_steps_respect_what_nodes_read_and_the_order_of_effects(seed):
    rng = random.Random(seed)
    for _ in range(10):
        count = rng.randrange(1, 12)
        effects = rng.sample(range(count), rng.randrange(count))
        graph = fake_graph(random_reads(rng, count), effects=effects)
        plan = Plan(graph, tuple((region, "fake") for region in random_regions(rng, graph, 0.6)))
        done, order = set(graph.inputs), []
        for region, _ in plan.steps:
            assert done.issuperset(region.entries)
            done.update(region.made)
            order += region.indices
        assert sorted(order) == list(range(count))
        assert [i for i in order if i in effects] == sorted(effects)


def test_regions_that_feed_each_other_are_an_error():
    graph = fake_graph([[], [], [0], [1]])
    regions = [Region.of(graph, [graph.nodes[i] for i in places]) for places in ((0, 3), (1, 2))]
    with pytest.raises(ValueError, match="circle"):
        Plan(graph, tuple((r, "fake") for r in regions)).steps  # noqa: B018


def test_a_chain_of_many_nodes_is_ordered_without_deep_recursion():
    graph = fake_graph([[i - 1] if i else [] for i in range(5000)])
    assert len(Plan(graph).steps) == 5000


def test_a_number_that_is_a_result_keeps_its_weak_type():
    graph = trace_function(lambda x, w: (x @ w, jnp.sum(x)), X, W)
    quarter = Constant(_compat.shaped((), np.float32, weak_type=True), np.float32(0.25))
    graph = replace(graph, outputs=(graph.outputs[0], quarter))
    lowered = lower(everything(graph), split(graph, ()), {"fake": Fake()})
    _, got = jax.jit(lowered.run)(([], []), X, W)
    assert got == 0.25
    assert got.weak_type
