"""Splitting a graph by frozen inputs: the halves together compute what the whole does."""

import random

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from fakes import CHEAP, Program, assert_same, programs
from hypothesis import given
from hypothesis import strategies as st

from collage_jax.graph.evaluate import evaluate
from collage_jax.graph.split import split
from collage_jax.graph.trace import trace_function

X = np.linspace(-1, 1, 12, dtype=np.float32).reshape(3, 4)
W = np.linspace(0.5, 2, 20, dtype=np.float32).reshape(4, 5)


def recombined(graph, parts, arrays):
    """The graph's outputs by way of both halves."""
    given_arrays = dict(zip(graph.inputs, arrays, strict=True))
    kept = evaluate(parts.once, *(given_arrays[v] for v in parts.once.inputs))
    assert len(kept) == len(parts.kept)
    others = parts.each.inputs[len(parts.kept) :]
    return evaluate(parts.each, *kept, *(given_arrays[v] for v in others))


def split_at(fun, args, frozen):
    graph = trace_function(fun, *args)
    parts = split(graph, [graph.inputs[i] for i in frozen])
    assert parts.each.inputs[: len(parts.kept)] == parts.kept
    assert set(parts.once.inputs) == {graph.inputs[i] for i in frozen}
    assert parts.each.constants == ()
    assert_same(recombined(graph, parts, args), evaluate(graph, *args))
    return graph, parts


def ops(graph):
    return [n.op for n in graph.nodes]


def test_what_depends_on_frozen_inputs_alone_is_computed_once():
    _, parts = split_at(lambda x, w: x @ jnp.sin(w), (X, W), [1])
    assert ops(parts.once) == ["sin"]
    assert ops(parts.each) == ["dot_general"]


def test_nothing_frozen_leaves_the_graph_whole():
    graph, parts = split_at(lambda x, w: x @ w + 1, (X, W), [])
    assert parts.kept == ()
    assert parts.each.nodes == graph.nodes


def test_everything_frozen_is_computed_once():
    _, parts = split_at(lambda x, w: jnp.tanh(x @ w), (X, W), [0, 1])
    assert ops(parts.each) == []


def test_broadcasts_of_frozen_arrays_stay_with_the_calls():
    _, parts = split_at(lambda x, b: x * 2 + jnp.broadcast_to(b, (3, 4)), (X, X[0]), [1])
    assert ops(parts.once) == []
    assert [v.shape for v in parts.kept] == [(4,)]


def test_broadcasts_used_for_frozen_results_alone_are_computed_once():
    def fun(x, w, scale):
        return x @ (w * scale)

    _, parts = split_at(fun, (X, W, W[0]), [1, 2])
    assert ops(parts.each) == ["dot_general"]
    assert [v.shape for v in parts.kept] == [(4, 5)]


def test_a_scalar_spread_over_frozen_arrays_does_not_hold_them_back():
    _, parts = split_at(lambda x, w: x @ (w + jnp.full_like(w, 3) * jnp.arange(5, dtype=np.float32)), (X, W), [1])
    assert ops(parts.each) == ["dot_general"]


def test_what_depends_on_no_array_stays_with_the_calls():
    _, parts = split_at(lambda x, w: jnp.where(jnp.tri(3, 4, dtype=bool), x, 0.0) @ w, (X, W), [1])
    assert ops(parts.once) == []
    assert [v.shape for v in parts.kept] == [(4, 5)]


def test_frozen_inputs_and_results_may_be_returned():
    _, parts = split_at(lambda x, w: (w, jnp.sin(w), x, 1.0, jnp.broadcast_to(w, (2, 4, 5))), (X, W), [1])
    assert ops(parts.once) == ["sin"]


def test_frozen_inputs_that_nothing_reads_are_still_inputs_of_the_first_half():
    graph, parts = split_at(lambda x, w: x + 1, (X, W), [1])
    assert parts.once.inputs == (graph.inputs[1],)
    assert parts.kept == ()


def test_constants_closed_over_count_as_frozen():
    _, parts = split_at(lambda x: x @ jnp.sin(jnp.asarray(W)), (X,), [])
    assert ops(parts.once) == ["sin"]
    assert len(parts.once.constants) == 1
    _, parts = split_at(lambda x: x @ jnp.asarray(W), (X,), [])
    assert ops(parts.once) == []
    assert [v.shape for v in parts.kept] == [(4, 5)]


def test_effects_and_randomness_of_frozen_inputs_happen_at_each_call():
    def fun(x, w):
        jax.debug.callback(lambda _: None, w)
        return x + jax.random.normal(jax.random.wrap_key_data(w), (4,)), jnp.sin(w.astype(np.float32))

    graph = trace_function(fun, X, np.array([1, 2], np.uint32))
    parts = split(graph, [graph.inputs[1]])
    assert "sin" in ops(parts.once)
    assert not any(n.barrier for n in parts.once.nodes)
    assert "debug_callback" in ops(parts.each)


@pytest.mark.parametrize("frozen", [[0], [1], [2], [0, 1], [1, 2]])
def test_control_flow_over_frozen_inputs_is_split_too(frozen):
    def fun(x, y, z):
        a, _ = jax.lax.scan(lambda c, v: (c + jnp.sin(v), None), x[0], y)
        return a * z[0], jax.lax.cond(jnp.sum(z) > 0, jnp.sin, jnp.cos, z)

    split_at(fun, (X, X + 1, X - 1), frozen)


@given(programs(steps=CHEAP), st.integers(0, 2**16))
def test_halves_of_random_programs_recombine(program: Program, seed):
    count = len(program.inputs)
    frozen = [i for i in range(count) if random.Random(seed + i).random() < 0.6]
    graph, parts = split_at(program, program.inputs, frozen)
    changing = {graph.inputs[i] for i in range(count) if i not in frozen}
    assert set(parts.each.inputs[len(parts.kept) :]) == changing
