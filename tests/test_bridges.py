"""What XLA does between kernels, done by kernels: which of it, that the whole is right, and what is left as it is."""

from __future__ import annotations

from collections import Counter

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from placing import BACKENDS

import collage_jax
from collage_jax.backends import own_kernels, registry
from collage_jax.backends.fused_elementwise import BACKEND
from collage_jax.backends.fused_elementwise.kernel import STEP
from collage_jax.candidates import XLA, find
from collage_jax.costs import Measured
from collage_jax.lowering.build import compiled_prepare, lower, step_times
from collage_jax.lowering.plan import Plan
from collage_jax.problem import problem_of
from collage_jax.search.op_level import choose
from collage_jax.tuning.bridges import bridged

native = own_kernels.load(STEP)
pytestmark = pytest.mark.skipif(not native, reason=getattr(native, "reason", ""))


def normal(*shape, seed=0):
    return jnp.asarray(np.random.default_rng([seed, *shape]).standard_normal(shape) / 4, jnp.float32)


X, W, V = normal(8, 64), normal(64, 64, seed=1), normal(64, 64, seed=2)


def products_alone(fun, *args):
    """The plan with matrix products on kernels and all else left to XLA, its options, costs and backends."""
    problem = problem_of(jax.make_jaxpr(fun)(*args), ())
    each = problem.split.each
    options = find(each, BACKENDS)
    costs = {}
    for c in options.chosen_from:
        is_cheap = len(c.region.nodes) == 1 and (c.region.ops == ("dot_general",)) != (c.backend == XLA)
        costs[c.key, c.backend] = Measured(1.0 if is_cheap else 1e6)
    plan = Plan.of(each, {each: choose(options, costs).placed})
    assert {op for region, _ in plan.placed for op in region.ops} == {"dot_general"}
    return problem, plan, options, costs, registry.with_reference(BACKENDS)


def bridges(fun, *args):
    """The operations of each bridge, after a check of the whole; none if there is no plan with bridges."""
    problem, plan, options, costs, backends = products_alone(fun, *args)
    made = bridged(plan, options, costs, backends)
    if made is None:
        return []
    arrays = problem.divided(jax.tree.leaves(args))
    lowered = lower(made, problem.split, backends)
    got = jax.jit(lowered.run)(compiled_prepare(lowered)(*arrays[0]), *arrays[1])
    wanted = jax.tree.leaves(jax.jit(fun)(*args))
    for ours, theirs in zip(got, wanted, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)
    return sorted(region.ops for region, name in made.placed if name == BACKEND.name)


def programs(fun, *args):
    """How many native calls there are without and with bridges."""
    problem, plan, options, costs, backends = products_alone(fun, *args)
    made = bridged(plan, options, costs, backends)
    counts = []
    for each in (plan, made):
        lowered = lower(each, problem.split, backends)
        text = jax.jit(lowered.run).lower(lowered.prepare(), *jax.tree.leaves(args)).as_text()
        counts.append(
            Counter(line.split("@")[1].split("(")[0] for line in text.splitlines() if "custom_call @" in line)
        )
    return counts


def masked(x, w, v):
    y = x @ w
    return jnp.where(y > 0, 2 * y, 0.0) @ v


def test_what_is_between_two_kernels_is_one_pass():
    (ops,) = bridges(masked, X, W, V)
    assert {"gt", "select_n", "mul"} <= set(ops)
    before, after = programs(masked, X, W, V)
    assert before.total() == 2 and after == {"collage_program_v1": 1}


def test_parts_of_a_result():
    def fun(x, w, v):
        left, right = jnp.split(x @ w, 2, axis=1)
        return (left - 0.5 * right) @ v[:32], right[:, ::2] @ v[:16]

    assert len(bridges(fun, X, W, V)) >= 2
    before, after = programs(fun, X, W, V)
    assert before.total() > 1 and after == {"collage_program_v1": 1}


def test_all_calls_of_a_region_count_for_its_time():
    def fun(x, w, v):
        left, right = jnp.split(x @ w, 2, axis=1)
        return left @ v[:32] + right @ v[32:]

    problem, plan, options, costs, backends = products_alone(fun, X, W, V)
    made = bridged(plan, options, costs, backends)
    lowered = lower(made, problem.split, backends, timed=True)
    _, times = jax.jit(lowered.run)(lowered.prepare(), X, W, V)
    (numbers,) = times
    (divided,) = [i for i, (region, _) in enumerate(made.placed) if region.ops == ("split",)]
    assert numbers.count(divided) == 2
    (took,) = times.values()
    each = [float(us) for number, us in zip(numbers, took, strict=True) if number == divided]
    assert step_times(times)[divided] == sum(each)


def test_padding_and_what_only_changes_a_shape():
    def fun(x, w, v):
        y = (x @ w).reshape(8, 2, 32)
        y = lax.pad(y * y, jnp.float32(0), ((0, 0, 0), (1, 0, 1), (0, 0, 0)))
        return y.reshape(8, 128) @ jnp.concatenate([v, v])

    assert ("mul", "pad") in bridges(fun, X, W, V)


def test_an_island_that_is_not_wholly_done_stays_with_xla():
    def fun(x, w, v):
        y = x @ w
        return (2 * jnp.expm1(y + 1) - y) @ v

    assert not bridges(fun, X, W, V)
    assert len(bridges(lambda x, w, v: (fun(x, w, v), masked(x, w, v)), X, W, V)) == 1


def test_what_no_kernel_waits_for_stays_with_xla():
    def fun(x, w, v):
        w = w * 2 - 1
        return (x @ w) * 3 + x, w - 0.1 * v

    assert not bridges(fun, X, W, V)


def test_a_kernel_that_takes_an_operation_alone_goes_before_ours():
    def fun(x, w, v):
        y = x @ w
        return jnp.concatenate([y, y * 2], 1) @ jnp.concatenate([v, v])

    _, plan, options, costs, backends = products_alone(fun, X, W, V)
    if "onednn" not in backends:
        pytest.skip("there is no kernel that joins arrays")
    made = bridged(plan, options, costs, backends)
    assert {name: region.ops for region, name in made.placed if name != "sgemm"}["onednn"] == ("concatenate",)
    assert bridges(fun, X, W, V) == [("mul",)]


def test_a_function_that_allows_other_backends_alone_has_none():
    _, plan, options, costs, backends = products_alone(masked, X, W, V)
    assert bridged(plan, options, costs, {k: v for k, v in backends.items() if k != BACKEND.name}) is None


def test_whole_programs_with_and_without_take_part(tmp_path, monkeypatch):
    monkeypatch.setenv("COLLAGE_JAX_CACHE_DIR", str(tmp_path))

    def step(w, v, x):
        def loss(weights):
            y = jax.nn.relu(x @ weights[0])
            left, right = jnp.split(y, 2, axis=1)
            return jnp.sum(((left + 1) * right) @ weights[1] ** 2)

        return jax.grad(loss)((w, v))

    w, v, x = normal(512, 1024), normal(512, 512, seed=1), normal(256, 512, seed=2)
    placed = collage_jax.jit(step, budget_s=20)
    for ours, theirs in zip(placed(w, v, x), jax.jit(step)(w, v, x), strict=True):
        assert np.abs(ours - theirs).max() <= 1e-5 * np.abs(theirs).max()
    loaded = collage_jax.jit(step, placement=placed.placement(w, v, x))
    np.testing.assert_array_equal(loaded(w, v, x)[0], placed(w, v, x)[0])
