"""The pattern language: what a pattern finds, what it captures, and what it refuses."""

import time

import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from collage_jax.graph.region import Region
from collage_jax.graph.trace import trace_function
from collage_jax.patterns import (
    Pattern,
    PatternError,
    any_,
    const,
    gelu,
    global_avg_pool,
    leaky_relu,
    match,
    one_of,
    op,
    optional,
    relu,
    same,
    softmax,
    spread,
)
from collage_jax.patterns.recognise import recognise

X = jax.ShapeDtypeStruct((8, 16), np.float32)
W = jax.ShapeDtypeStruct((16, 16), np.float32)
B = jax.ShapeDtypeStruct((16,), np.float32)

DOT = op("dot_general")(any_("x"), any_("w")).named("dot")


def found(pattern, fun, *args, **options):
    """Matches of ``pattern`` in the recognised graph of ``fun``."""
    if not isinstance(pattern, Pattern):
        pattern = Pattern("test", pattern, **options)
    return match(recognise(trace_function(fun, *args)), pattern)


def ops(matches):
    return [tuple(node.op for node in m.nodes) for m in matches]


def dense(x, w, b):
    return jax.nn.relu(x @ w + b)


def test_pattern_captures_the_bias_before_its_broadcast():
    (m,) = found(relu(op("add")(DOT, any_("bias"))), dense, X, W, B)
    assert set(m) == {"x", "w", "bias", "dot"}
    assert (m["x"].shape, m["bias"].shape, m["bias"].dtype) == ((8, 16), (16,), "float32")
    assert m.dims("bias") == (1,)
    assert m.root.op == "relu"
    assert m.params["dot"]["dimension_numbers"] == (((1,), (0,)), ((), ()))
    assert [n.op for n in m.nodes if n.op != "broadcast_in_dim"] == ["dot_general", "add", "relu"]
    assert set(Region.of(m.graph, m.nodes).entries) == {m["x"], m["w"], m["bias"]}


@pytest.mark.parametrize("swap", [False, True])
@pytest.mark.parametrize("rows", [1, 8])
def test_bias_is_found_on_either_side_and_at_any_batch(swap, rows):
    def fun(x, w, b):
        return b + x @ w if swap else x @ w + b

    (m,) = found(op("add")(DOT, any_("bias")), fun, jax.ShapeDtypeStruct((rows, 16), np.float32), W, B)
    assert m["bias"].shape == (16,)
    assert m.dims("bias") == (1,)


def test_dims_tell_where_a_vector_is_spread():
    (m,) = found(op("add")(DOT, any_("bias")), lambda x, w, b: x @ w + b[:, None], W, W, B)
    assert m.dims("bias") == (0,)


def test_broadcast_read_elsewhere_stays_outside_the_match():
    def fun(x, w, b):
        wide = b.reshape(1, 16)
        return x @ w + wide, wide * 2

    (m,) = found(op("add")(DOT, any_("bias")), fun, X, W, B)
    assert ops([m]) == [("dot_general", "add")]
    assert m["bias"].shape == (1, 16)


def test_exact_wildcard_keeps_its_broadcast():
    (m,) = found(op("add")(DOT, any_("bias", exact=True)), lambda x, w, b: x @ w + b, X, W, B)
    assert m["bias"].shape != (16,)


def test_operands_of_a_product_are_captured_as_they_are():
    (m,) = found(DOT, lambda x, w: x @ w[:, 0].reshape(16, 1), X, W)
    assert m["w"].shape == (16, 1)


def test_order_matters_where_the_operation_does_not_commute():
    assert found(op("sub")(any_("x"), 1), lambda x: x - 1, X)
    assert not found(op("sub")(1, any_("x")), lambda x: x - 1, X)


@pytest.mark.parametrize("name", ["add", "mul", "max", "min"])
def test_commutative_operands_are_tried_both_ways(name):
    fun = {"add": jnp.add, "mul": jnp.multiply, "max": jnp.maximum, "min": jnp.minimum}[name]
    pattern = op(name)(op("sin")(any_("x")), op("cos")(any_("y")))
    assert found(pattern, lambda x: fun(jnp.sin(x), jnp.cos(x)), X)
    assert found(pattern, lambda x: fun(jnp.cos(x), jnp.sin(x)), X)


def test_same_name_is_the_same_value():
    pattern = op("mul")(op("sin")(any_("x")), op("cos")(any_("x")))
    assert found(pattern, lambda x, y: jnp.sin(x) * jnp.cos(x), X, X)
    assert not found(pattern, lambda x, y: jnp.sin(x) * jnp.cos(y), X, X)


def test_same_attribute_name_is_the_same_attribute():
    pattern = op("div")(
        spread(op("reduce_max")(any_("x"), axes=same("axes"))), spread(op("reduce_sum")(any_("y"), axes=same("axes")))
    )
    (m,) = found(pattern, lambda x: x.max(1) / x.sum(1), X)
    assert m.attributes == {"axes": (1,)}
    assert not found(pattern, lambda x: x.max(1) / x.sum(0), W)


def test_attributes_are_literals_or_predicates():
    def power(x):
        return x**3

    assert found(op("integer_pow")(any_("x"), y=3), power, X)
    assert not found(op("integer_pow")(any_("x"), y=2), power, X)
    assert found(op("integer_pow")(any_("x"), y=lambda y: y > 2), power, X)
    assert not found(op("integer_pow")(any_("x"), z=3), power, X)
    assert found(leaky_relu(any_("x"), alpha=0.2), lambda x: jax.nn.leaky_relu(x, 0.2), X)


@pytest.mark.parametrize("dtype", [np.float32, jnp.bfloat16, np.float16])
def test_constant_matches_as_its_dtype_rounds_it(dtype):
    x = jax.ShapeDtypeStruct((4,), dtype)
    assert found(op("mul")(any_("x"), 0.044715), lambda x: x * 0.044715, x)
    assert not found(op("mul")(any_("x"), 0.044715), lambda x: x * 0.0455, x)
    assert found(op("mul")(any_("x"), const(0.044715, 0.1)), lambda x: x * 0.0455, x)


def test_constant_matches_through_broadcasts_and_is_captured():
    def fun(x):
        return jnp.where(x > 0, x, jnp.full_like(x, 0.25))

    (m,) = found(op("select_n")(op("gt"), const(name="other"), any_("x")), fun, X)
    assert m.numbers == {"other": 0.25}
    assert set(Region.of(m.graph, m.nodes).entries) == {m["x"]}


def test_zero_and_infinity_match_only_themselves():
    pattern = op("add")(any_("x"), 0)
    assert not found(pattern, lambda x: x + 1e-30, X)
    assert not found(op("max")(any_("x"), -np.inf), lambda x: jnp.maximum(x, -3e38), X)


def test_optional_matches_with_and_without():
    pattern = optional(relu)(op("add")(DOT, any_("bias")))
    assert [m.root.op for m in found(pattern, dense, X, W, B)] == ["add", "relu"]
    assert ops(found(optional(relu)(DOT), lambda x, w: x @ w, X, W)) == [("dot_general",)]
    chain = optional(op("tanh"))(optional(lambda p: op("sin")(p))(any_("x")))
    with pytest.raises(PatternError, match="end in an operation"):
        Pattern("p", chain)


def test_inner_value_read_outside_needs_multi_exit():
    def fun(x, w):
        y = x @ w
        return jax.nn.relu(y), jnp.sin(y)

    assert not found(relu(DOT), fun, X, W)
    (m,) = found(relu(DOT), fun, X, W, multi_exit=True)
    assert len(Region.of(m.graph, m.nodes).exits) == 2


def test_multi_exit_match_is_convex():
    pattern = op("add")(op("sin")(any_("x")), op("tanh")(any_("z")))

    def around(x):
        y = jnp.sin(x)
        return y + jnp.tanh(jnp.cos(y))

    assert not found(pattern, around, X, multi_exit=True)


def test_wildcard_may_be_a_value_made_inside_the_match():
    def fun(x):
        y = jnp.sin(x)
        return y + jnp.cos(y)

    (m,) = found(op("add")(op("sin"), op("cos")(any_("y"))), fun, X)
    assert m["y"] is m.nodes[0].out


def test_alternatives_and_roots_come_in_a_fixed_order():
    pattern = Pattern("p", one_of(op("sin")(op("cos")(any_("x"))), op("sin")(any_("x")), op("cos")(any_("x"))))

    def fun(x):
        return jnp.sin(jnp.cos(jnp.sin(x)))

    wanted = [("sin",), ("cos",), ("cos", "sin"), ("sin",)]
    assert ops(found(pattern, fun, X)) == ops(found(pattern, fun, X)) == wanted


def test_where_sees_the_captures():
    def narrow(m):
        return m["x"].dtype == "bfloat16"

    assert not found(relu(any_("x")), jax.nn.relu, X, where=narrow)
    assert found(relu(any_("x")), jax.nn.relu, jax.ShapeDtypeStruct((4,), jnp.bfloat16), where=narrow)


def test_composites_are_matched_by_name():
    (m,) = found(gelu(DOT, approximate=True), lambda x, w: jax.nn.gelu(x @ w), X, W)
    assert m.root.op == "gelu"
    assert not found(gelu(DOT, approximate=False), lambda x, w: jax.nn.gelu(x @ w), X, W)
    assert found(softmax(any_("x"), axis=1), jax.nn.softmax, X)


def test_global_average_pool_is_a_mean_over_spatial_dimensions():
    image = jax.ShapeDtypeStruct((2, 8, 8, 4), np.float32)
    assert found(global_avg_pool(any_("x")), lambda x: x.mean((1, 2)), image)
    assert not found(global_avg_pool(any_("x")), lambda x: x.mean((0, 1)), image)


def test_uncalled_operation_and_ellipsis_leave_operands_open():
    def fun(x, y):
        return jnp.concatenate([x, y, jnp.sin(x)])

    assert found(op("concatenate"), fun, X, X)
    assert found(op("concatenate")(any_("first"), ...), fun, X, X)
    assert not found(op("concatenate")(any_("first")), fun, X, X)


def test_casts_are_looked_through_only_when_asked():
    def fun(x, w):
        return jnp.tanh((x @ w).astype(np.float32))

    narrow = jax.ShapeDtypeStruct((16, 16), jnp.bfloat16)
    assert not found(op("tanh")(DOT), fun, narrow, narrow)
    (m,) = found(op("tanh")(DOT), fun, narrow, narrow, through_casts=True)
    assert ops([m]) == [("dot_general", "convert_element_type", "tanh")]


def test_spread_matches_with_and_without_broadcasts():
    pattern = op("sub")(any_("x"), spread(op("reduce_max")(any_("x"), axes=(1,)).named("max")))
    (m,) = found(pattern, lambda x: x - x.max(1, keepdims=True), X)
    assert m.dims("max") == (0,)
    (m,) = found(pattern, lambda x: x - x.max(1), W)
    assert m.dims("max") == (1,)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: op(), "names of operations"),
        (lambda: op("add")(any_("x"), "y"), r"got 'y'; use any_"),
        (lambda: op("add")(any_("x"), any_("y"))(any_("z")), "operands once"),
        (lambda: any_(""), "non-empty string"),
        (lambda: const("1"), r"number or None, got '1'"),
        (lambda: const(1, -1), "at least 0"),
        (lambda: one_of(), "at least one"),
        (lambda: optional(any_("x")), "function of a pattern"),
        (lambda: Pattern("", relu(any_("x"))), "non-empty string"),
        (lambda: Pattern("p", "relu"), r"built from op"),
        (lambda: Pattern("p", any_("x")), "not a wildcard"),
        (lambda: Pattern("p", relu(any_("x")), where=True), "function of the match"),
        (lambda: Pattern("p", relu(any_("x")).named("x")), "two names"),
    ],
)
def test_malformed_pattern_says_what_and_how_to_mend(build, message):
    with pytest.raises(PatternError, match=message):
        build()


OPS = {"sin": jnp.sin, "cos": jnp.cos, "tanh": jnp.tanh, "exp": jnp.exp}


@hypothesis.settings(deadline=None, max_examples=30)
@hypothesis.given(names=st.lists(st.sampled_from(sorted(OPS)), min_size=1, max_size=6), data=st.data())
def test_a_chain_is_found_wherever_it_stands(names, data):
    start = data.draw(st.integers(0, len(names) - 1))
    length = data.draw(st.integers(1, len(names) - start))
    wanted = names[start : start + length]
    term = any_("x")
    for name in wanted:
        term = op(name)(term)

    def fun(x):
        for name in names:
            x = OPS[name](x)
        return x

    places = [i for i in range(len(names)) if names[i : i + length] == wanted]
    graph = trace_function(fun, X)
    assert [graph.position[m.nodes[0]] for m in match(graph, Pattern("chain", term))] == places


def test_matching_a_large_graph_is_quick():
    def deep(x, w, b):
        for _ in range(300):
            x = jnp.tanh(lax.dot_general(x, w, (((1,), (0,)), ((), ()))) + b)
        return x

    graph = trace_function(deep, X, W, B)
    start = time.process_time()
    assert len(match(graph, Pattern("p", op("tanh")(op("add")(DOT, any_("bias")))))) == 300
    assert time.process_time() - start < 2.0
