"""Gates, where(x > 0, dy, 0): seen through the ReLU's result, and part of the kernel that makes dy."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collage_jax.backends import registry
from collage_jax.graph.evaluate import callable_of
from collage_jax.graph.gates import ask_the_relu
from collage_jax.graph.region import Region
from collage_jax.graph.trace import trace_function
from collage_jax.problem import problem_of

SPECIAL = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0, 1.0, -1.0, 1e-30, -1e-30], np.float32)


def random(*shape, seed=0):
    return np.random.default_rng([seed, *shape]).standard_normal(shape).astype(np.float32)


def rewritten(fun, *args):
    return ask_the_relu(trace_function(fun, *args))


def comparison(graph):
    (node,) = (node for node in graph.nodes if node.op == "gt")
    return node


def test_the_gradient_of_a_relu_asks_its_result():
    graph = rewritten(lambda x, dy: (jax.nn.relu(x), jax.vjp(jax.nn.relu, x)[1](dy)), SPECIAL, SPECIAL)
    assert graph.producer[comparison(graph).inputs[0]].op == "max"


@pytest.mark.parametrize("dtype", [np.float32, np.float16, jnp.bfloat16])
def test_it_says_the_same_of_every_number(dtype):
    def fun(x):
        return jnp.maximum(x, 0), x > 0

    x = jnp.asarray(SPECIAL).astype(dtype)
    graph = rewritten(fun, x)
    y, gated = callable_of(graph.nodes, graph.inputs, graph.outputs)(x)
    np.testing.assert_array_equal(np.float32(y), np.float32(fun(x)[0]))
    np.testing.assert_array_equal(gated, fun(x)[1])


@pytest.mark.parametrize(
    "fun",
    [
        lambda x: (jnp.maximum(x, 0), x > 1),
        lambda x: (jnp.maximum(x, 1), x > 0),
        lambda x: (jnp.maximum(x, 0), x < 0),
        lambda x: (jnp.maximum(x, 0), x >= 0),
        lambda x: (jnp.maximum(-x, 0), x > 0),
        lambda x: (x > 0, jnp.maximum(x, 0)),  # it would have to wait for the ReLU
    ],
)
def test_other_comparisons_stay(fun):
    graph = rewritten(fun, SPECIAL)
    (asked,) = (node.inputs[0] for node in graph.nodes if node.op in ("gt", "lt", "ge"))
    assert asked is graph.inputs[0]


def nhwc(x, w, groups=1, stride=1):
    return jax.lax.conv_general_dilated(
        x, w, (stride,) * 2, "SAME", feature_group_count=groups, dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


def gated(y, v):
    return jnp.where(y > 0, v, 0)


def products(rows, columns):
    return lambda a, b: a @ b, (random(rows, 24), random(24, columns))


def convolutions(pixels, channels, groups):
    return lambda x, w: nhwc(x, w, groups), (random(2, pixels, 5, channels), random(3, 3, channels // groups, channels))


TAILS = {"gate": lambda y, v, r: gated(y, v), "sum+gate": lambda y, v, r: gated(y, v + r)}


def check(name, tail, product, args):
    """The kernel with a gate computes what JAX does, on numbers of every kind in the gate."""
    backend = registry.get(name)
    if (reason := backend.available()) is not None:
        pytest.skip(reason.reason)
    result = np.asarray(product(*args))
    y, r = random(*result.shape, seed=1), random(*result.shape, seed=2)
    y.flat[: len(SPECIAL)] = SPECIAL[: y.size]

    def fun(y, r, *args):
        return TAILS[tail](y, product(*args), r)

    graph = problem_of(jax.make_jaxpr(fun)(y, r, *args), ()).split.each
    regions = {p.label: Region.of(graph, p.nodes) for p in backend.propose(graph) if p.refused is None}
    region = next(
        region
        for label, region in regions.items()
        if label.endswith(f"+{tail}") and label.count("+") == tail.count("+") + 1
    )
    assert backend.supports(region) is None
    given_as = dict(zip(graph.inputs, (y, r, *args), strict=True))
    arrays = [given_as[v] for v in region.entries]
    (made,) = jax.jit(backend.emit(region))(*arrays)
    wanted = np.asarray(fun(y, r, *args))
    np.testing.assert_allclose(made, wanted, rtol=2e-5, atol=2e-5)
    closed = ~(y > 0)
    assert not np.any(np.asarray(made)[closed]) and not np.any(np.signbit(made)[closed])  # 0, not -0


@pytest.mark.parametrize("tail", TAILS)
@settings(deadline=None)
@given(st.integers(1, 40), st.integers(1, 70))
def test_products(tail, rows, columns):
    check("sgemm", tail, *products(rows, columns))


@pytest.mark.parametrize("tail", TAILS)
@settings(deadline=None)
@given(st.integers(1, 14), st.sampled_from([(8, 8), (24, 3), (32, 8), (20, 20)]))
def test_convolutions_in_groups(tail, pixels, channels):
    check("grouped", tail, *convolutions(pixels, *channels))


@pytest.mark.parametrize("tail", TAILS)
@settings(deadline=None)
@given(st.integers(1, 9), st.sampled_from([(16, 1), (12, 2)]))
def test_convolutions_by_the_library(tail, pixels, channels):
    check("onednn", tail, *convolutions(pixels, *channels))


def refused_tails():
    other = random(19, 37, seed=3)
    return {
        "another number instead": lambda v: jnp.where(other > 0, v, 1.0),
        "a negative zero instead": lambda v: jnp.where(other > 0, v, -0.0),
        "the other way round": lambda v: jnp.where(other > 0, 0.0, v),
        "another bound": lambda v: jnp.where(other > 0.5, v, 0.0),
        "a comparison that others read": lambda v: (jnp.where(other > 0, v, 0.0), other > 0),
        "itself": lambda v: jnp.where(v > 0, v, 0.0),
    }


@pytest.mark.parametrize("kind", refused_tails())
def test_what_is_no_gate_is_no_part_of_the_kernel(kind):
    product, args = products(19, 37)
    graph = problem_of(jax.make_jaxpr(lambda *args: refused_tails()[kind](product(*args)))(*args), ()).split.each
    assert not any("gate" in p.label for p in registry.get("sgemm").propose(graph))


def test_nothing_follows_a_gate():
    product, args = products(19, 37)
    other = random(19, 37, seed=3)
    graph = problem_of(
        jax.make_jaxpr(lambda *args: jax.nn.relu(gated(other, product(*args)) + other))(*args), ()
    ).split.each
    for name in ("sgemm", "onednn"):
        assert not any("gate+" in p.label for p in registry.get(name).propose(graph)), name


def test_a_training_step_keeps_relus_and_gates_in_kernels():
    """Without the rewrite no ReLU would be part of the convolution before it, since the gradient reads its operand."""

    def loss(x, *weights):
        for w in weights:
            x = jax.nn.relu(nhwc(x, w))
        return jnp.sum(x * x)

    args = random(1, 6, 6, 8), *(random(1, 1, 8, 8, seed=i) for i in range(3))
    graph = problem_of(jax.make_jaxpr(jax.grad(loss, argnums=(1, 2, 3)))(*args), ()).split.each
    labels = [p.label for p in registry.get("sgemm").propose(graph) if p.refused is None]
    assert labels.count("conv+relu") == 3 and labels.count("conv+gate") == 2
