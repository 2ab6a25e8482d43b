"""A traced graph computes what the function computes, and looks as the matcher expects."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from fakes import CHEAP, Program, array_of, assert_same, doubled, programs, tripled
from hypothesis import given
from jax.experimental.xla_metadata import set_xla_metadata

from collage_jax.graph.evaluate import evaluate
from collage_jax.graph.ir import Constant
from collage_jax.graph.trace import trace_function

X = np.linspace(-2.0, 2.0, 12, dtype=np.float32).reshape(3, 4)


def ops(graph):
    return [node.op for node in graph.nodes]


def constants_read(graph):
    return [v.val for node in graph.nodes for v in node.inputs if isinstance(v, Constant)]


def assert_graph_computes(fun, *args, jit=True):
    """The graph of ``fun``, once it has been seen to compute the same."""
    graph = trace_function(fun, *args)
    run = lambda *arrays: evaluate(graph, *arrays)  # noqa: E731
    got = (jax.jit(run) if jit else run)(*jax.tree.leaves(args))
    assert_same(got, jax.tree.leaves(jax.jit(fun)(*args)), types=jit)
    return graph


# Flattening


def test_nested_jit_is_flattened():
    graph = assert_graph_computes(lambda x: jax.jit(lambda y: jnp.sin(jax.jit(jnp.cos)(y)))(x) + 1, X)
    assert ops(graph) == ["cos", "sin", "add"]


def test_custom_jvp_and_custom_vjp_are_inlined():
    graph = assert_graph_computes(lambda x: tripled(doubled(x)), X)
    assert ops(graph) == ["add", "add", "add"]


def test_the_body_of_a_checkpoint_is_inlined():
    assert ops(assert_graph_computes(lambda x: jax.checkpoint(lambda y: jnp.cos(jnp.sin(y)))(x), X)) == ["sin", "cos"]


@pytest.mark.parametrize("prevent_cse", [True, False])
def test_what_a_checkpoint_computes_again_waits_for_the_backward_pass(prevent_cse):
    def fun(x):
        return jnp.sum(jax.checkpoint(lambda y: jnp.sin(jnp.sin(y)), prevent_cse=prevent_cse)(x))

    graph = assert_graph_computes(jax.value_and_grad(fun), X)
    assert ops(graph).count("sin") == (3 if prevent_cse else 2)  # those of the forward pass, and what cos is of, anew
    if prevent_cse:
        (barrier,) = (node for node in graph.nodes if node.op == "optimization_barrier")
        assert all(
            barrier.outputs[0] in node.inputs for node in graph.nodes[graph.position[barrier] :] if node.op == "sin"
        )


def test_some_operands_of_a_checkpoint_may_be_shared():
    def fun(x, y):
        return jnp.sum(jax.checkpoint(lambda x, y: jnp.sin(x * jnp.sin(y)), prevent_cse=(True, False))(x, y))

    graph = assert_graph_computes(jax.value_and_grad(fun), X, X + 1)
    (barrier,) = (node for node in graph.nodes if node.op == "optimization_barrier")
    assert graph.inputs[0] in barrier.inputs and graph.inputs[1] not in barrier.inputs


def test_relu_is_one_max_with_zero():
    graph = assert_graph_computes(jax.nn.relu, X)
    assert ops(graph) == ["max"]
    assert float(constants_read(graph)[0]) == 0.0


def test_gradients_of_custom_rules_use_the_rules():
    assert_graph_computes(jax.grad(lambda x: jnp.sum(tripled(x) * jax.nn.relu(x))), X)


def test_arrays_closed_over_become_constants_of_the_graph():
    weights = np.arange(4, dtype=np.float32)
    graph = assert_graph_computes(lambda x: jax.jit(lambda y: y * weights)(x) + jnp.asarray(weights), X)
    assert all(v in {value for value, _ in graph.constants} for n in graph.nodes for v in n.inputs if v.shape == (4,))


def test_constants_that_nothing_reads_are_dropped():
    def fun(x):
        _ = x * np.arange(4, dtype=np.float32)
        return x

    assert trace_function(fun, X).constants == ()


def test_jit_with_donation_is_flattened_since_within_another_it_donates_nothing():
    donating = jax.jit(lambda y: y * 3, donate_argnums=0)
    assert ops(assert_graph_computes(lambda x: donating(x + 1) + x, X)) == ["add", "mul", "add"]
    x = jnp.asarray(X)
    jax.block_until_ready(jax.jit(lambda x: donating(x))(x))
    assert not x.is_deleted()


def test_jit_with_shardings_is_kept_whole():
    here = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    sharded = jax.jit(lambda y: y * 3, out_shardings=here)
    assert "jit" in ops(assert_graph_computes(lambda x: sharded(x + 1), X))


def test_operations_under_xla_metadata_are_barriers_and_calls_are_kept_whole():
    def fun(x):
        with set_xla_metadata(kind="special"):
            y = jax.jit(jnp.sin)(x) * 2
        return y + 1

    graph = assert_graph_computes(fun, X)
    assert [(n.op, n.barrier) for n in graph.nodes] == [("jit", True), ("mul", True), ("add", False)]


def test_operations_under_compute_on_are_barriers():
    compute_on = pytest.importorskip("jax.experimental.compute_on").compute_on

    def fun(x):
        with compute_on("device_host"):
            y = x * 2
        return y + 1

    try:
        jax.make_jaxpr(fun)(X)
    except TypeError:  # from 0.12 it wraps a function
        pytest.skip("compute_on is not a context manager in this JAX")
    assert [(n.op, n.barrier) for n in trace_function(fun, X).nodes] == [("mul", True), ("add", False)]


@pytest.mark.parametrize(
    "fun",
    [
        lambda x: jax.random.normal(jax.random.key(3), x.shape) + x,
        lambda x: jax.pure_callback(np.cos, jax.ShapeDtypeStruct(x.shape, x.dtype), x) + x,
        lambda x: jax.lax.optimization_barrier(x) + x,
    ],
    ids=["randomness", "callback", "optimization barrier"],
)
def test_what_must_keep_its_place_is_a_barrier(fun):
    graph = assert_graph_computes(fun, X)
    assert any(n.barrier for n in graph.nodes)
    assert not graph.nodes[-1].barrier


# Simplifying


def test_no_ops_are_forwarded():
    def fun(x):
        y = jax.lax.stop_gradient(jnp.array(x, copy=True)).astype(jnp.float32)
        return jnp.sin(y)

    assert ops(assert_graph_computes(fun, X)) == ["sin"]


def test_a_conversion_that_only_strengthens_a_type_is_kept():
    graph = assert_graph_computes(lambda x: jax.lax.convert_element_type(x, np.float32), 1.0)
    assert ops(graph) == ["convert_element_type"]


def test_equal_nodes_are_merged():
    graph = assert_graph_computes(lambda x: (jnp.sin(x) + jnp.cos(x)) * (jnp.sin(x) + jnp.cos(x)), X)
    assert sorted(ops(graph)) == ["add", "cos", "mul", "sin"]


def test_equal_scalars_make_equal_nodes_nan_included():
    graph = assert_graph_computes(lambda x: (x * np.float32(np.nan), x * np.float32(np.nan)), X)
    assert ops(graph) == ["mul"]


@pytest.mark.parametrize(
    "fun",
    [
        lambda x: (x * 0.0, x * -0.0),
        lambda x: (x * np.float32(0.1), x * np.nextafter(np.float32(0.1), np.float32(1))),
        lambda x: (
            jax.lax.full((2,), 1, np.int8),
            jax.lax.full((2,), 1, np.uint8),
            jax.lax.full((2,), 1.0, np.float32),
        ),
        lambda x: (x.astype(np.float16), x.astype(jnp.bfloat16)),
        lambda x: (jnp.sum(x, 0), jnp.sum(x, 1)),
        lambda x: (x - x[:1], x[:1] - x),
    ],
    ids=["zero's sign", "neighbours", "dtypes of constants", "dtypes", "parameters", "order of operands"],
)
def test_nodes_that_differ_are_not_merged(fun):
    graph = assert_graph_computes(fun, X)
    assert len(set(graph.outputs)) == len(graph.outputs)


def test_double_precision_scalars_that_differ_late_are_not_merged():
    with jax.enable_x64(True):
        graph = trace_function(lambda x: (x * np.float64(0.1), x * (np.float64(0.1) + 1e-12)), X.astype(np.float64))
        assert len(graph.nodes) == 2
        assert_graph_computes(lambda x: (x * np.float64(0.1) - x * np.float32(0.1)) * 1e6, X.astype(np.float64))


def test_effects_are_neither_merged_nor_dropped():
    seen = []

    def note(x):
        seen.append(float(x))

    def fun(x):
        jax.debug.callback(note, x)
        jax.debug.callback(note, x)
        return x + 1

    graph = trace_function(fun, np.float32(2))
    assert len(graph.nodes) == 3
    assert graph.has_effects
    evaluate(graph, np.float32(2))
    jax.effects_barrier()
    assert seen == [2.0, 2.0]


def test_two_mutable_arrays_with_the_same_start_stay_two():
    def fun(x):
        a, b = jax.new_ref(x), jax.new_ref(x)
        a[...] += 1
        return a[...], b[...]

    graph = trace_function(fun, X)
    assert_same(jax.jit(lambda x: evaluate(graph, x))(X), [X + 1, X], types=False)


def test_dead_nodes_are_dropped():
    def fun(x):
        _ = jnp.sin(jnp.cos(x))
        return x * 2

    assert ops(trace_function(fun, X)) == ["mul"]


def test_each_user_of_a_broadcast_has_its_own():
    def fun(x, bias):
        return jnp.sin(x + bias) * jnp.cos(x * bias)

    graph = assert_graph_computes(fun, X, X[0])
    spread = [n for n in graph.nodes if n.op == "broadcast_in_dim"]
    assert len(spread) >= 2
    for node in spread:
        assert graph.only_user(node.out) is not None


def test_a_broadcast_of_a_broadcast_is_copied_with_it():
    def fun(x, s):
        y = jnp.broadcast_to(jnp.broadcast_to(s, (4,))[None, :], (3, 4))
        return (x + y) * jnp.sin(y)

    graph = assert_graph_computes(fun, X, np.float32(2))
    assert all(graph.only_user(n.out) for n in graph.nodes if n.op == "broadcast_in_dim")


def test_a_broadcast_that_is_returned_is_not_lost():
    assert_graph_computes(lambda s: (jnp.broadcast_to(s, (2, 3)), jnp.broadcast_to(s, (2, 3)) + 1), np.float32(2))


def test_a_broadcast_that_only_adds_an_axis_is_copied_too():
    graph = assert_graph_computes(lambda x, bias: (x + bias) * jnp.sin(bias - x), X, X[0])
    spread = [n for n in graph.nodes if n.op == "broadcast_in_dim"]
    assert all(graph.only_user(n.out) is not None for n in spread)


def test_a_copy_that_is_returned_is_not_the_argument():
    graph = trace_function(lambda x: (jnp.array(x, copy=True), jnp.sin(jnp.array(x, copy=True))), X)
    assert set(graph.inputs).isdisjoint(graph.outputs)


# Control flow


def test_bodies_of_control_flow_are_graphs_of_their_own():
    def fun(x):
        y, _ = jax.lax.scan(lambda c, v: (jax.nn.relu(c) + v, None), x[0], x)
        z = jax.lax.while_loop(lambda s: jnp.sum(s) < 9.0, lambda s: doubled(s) + 1.0, y)
        return jax.lax.cond(jnp.sum(z) > 0.0, jnp.sin, lambda v: jax.jit(jnp.cos)(v), z)

    graph = assert_graph_computes(fun, X)
    held = {n.op: {k: [ops(g) for g in v] for k, v in n.subgraphs.items()} for n in graph.nodes if n.subgraphs}
    assert held["scan"] == {"jaxpr": [["max", "add"]]}
    assert held["while"]["body_jaxpr"] == [["add", "add"]]
    assert "lt" in held["while"]["cond_jaxpr"][0]
    assert sorted(held["cond"]["branches"]) == [["cos"], ["sin"]]


def test_a_scan_with_effects_is_a_barrier_without_subgraphs():
    def body(c, v):
        jax.debug.callback(lambda _: None, v)
        return c + v, None

    (node,) = (n for n in trace_function(lambda x: jax.lax.scan(body, x[0], x)[0], X).nodes if n.op == "scan")
    assert node.barrier
    assert not node.subgraphs


# Evaluating

FUNCTIONS = {
    "input returned": lambda x: x,
    "input returned twice": lambda x: (x, x, x + 1),
    "constants returned": lambda x: (x, 1.0, 2, np.float32(3), np.arange(3), True, 2j),
    "an array closed over returned": lambda x: (X, jnp.asarray(X), x + X),
    "no output": lambda x: (),
    "softmax": lambda x: jax.nn.softmax(x),
    "layer norm": lambda x: (x - x.mean(-1, keepdims=True)) / jnp.sqrt(x.var(-1, keepdims=True) + 1e-5),
    "gelu": jax.nn.gelu,
    "matmul": lambda x: x @ x.T @ x,
    "gradient": jax.grad(lambda x: jnp.sum(jax.nn.gelu(x @ x.T))),
    "jvp of grad": lambda x: jax.jvp(jax.grad(lambda y: jnp.sum(jnp.tanh(y) ** 3)), (x,), (x,)),
    "vmapped cond": lambda x: jax.vmap(lambda v: jax.lax.cond(v[0] > 0, jnp.sin, jnp.cos, v))(x),
    "conv": lambda x: jax.lax.conv_general_dilated(x[None, :, :, None], x[:2, :2, None, None], (1, 1), "SAME",
        dimension_numbers=("NHWC", "HWIO", "NHWC")),
    "pooling": lambda x: jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, (2, 2), (1, 1), "SAME"),
    "gather and scatter": lambda x: x.at[jnp.array([0, 2])].add(x[jnp.array([1, 1])]),
    "sort": lambda x: jax.lax.sort((x, x * 2), dimension=1),
    "top_k": lambda x: jax.lax.top_k(x, 2),
    "linear algebra": lambda x: jnp.linalg.qr(x.T),
    "fft": lambda x: jnp.abs(jnp.fft.fft(x)),
    "checkpoint": jax.grad(lambda x: jnp.sum(jax.checkpoint(lambda y: jnp.sin(jax.nn.relu(y)))(x))),
    "linear solve": lambda x: jnp.linalg.solve(x[:3, :3] + 5 * jnp.eye(3), x[:3, 0]),
    "custom root": lambda x: jax.lax.custom_root(lambda y: y**3 - jnp.sum(x**2), 1.0,
        lambda f, y: jax.lax.fori_loop(0, 30, lambda _, v: v - f(v) / (3 * v**2), y), lambda g, y: y / g(1.0)),
    "associative scan": lambda x: jax.lax.associative_scan(jnp.add, x),
    "cumulative": lambda x: (jnp.cumsum(x, 1), jnp.cumprod(x, 0)),
    "map": lambda x: jax.lax.map(lambda v: jnp.sum(v) * v, x),
    "switch": lambda x: jax.lax.switch(jnp.int32(1), [jnp.sin, lambda v: jnp.zeros_like(v), jnp.cos], x),
    "nothing but constants": lambda x: jnp.ones((2, 3)) * 2,
    "einsum": lambda x: jnp.einsum("ij,kj->ik", x, x, precision="highest"),
    "reduce precision": lambda x: jax.lax.reduce_precision(x, 8, 7),
    "zero size": lambda x: (x[:0], jnp.sum(x[:0]), jnp.concatenate([x[:0], x])),
    "nested control flow": lambda x: jax.lax.scan(
        lambda c, v: (jax.lax.cond(v[0] > 0, lambda: c + v, lambda: jax.lax.fori_loop(0, 2, lambda i, s: s + i, c)), c),
        x[0],
        x,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_graph_computes_the_function(name):
    assert_graph_computes(FUNCTIONS[name], X)


def test_arguments_may_be_trees_and_shapes():
    graph = trace_function(lambda p: p["a"] @ p["b"][0], {"a": X, "b": (jax.ShapeDtypeStruct((4, 2), np.float32),)})
    assert [v.shape for v in graph.inputs] == [(3, 4), (4, 2)]
    assert [v.shape for v in graph.outputs] == [(3, 2)]


def test_python_scalars_stay_weakly_typed():
    graph = assert_graph_computes(lambda x, s: x * s, jnp.asarray(X, jnp.bfloat16), 2.0)
    assert graph.inputs[1].aval.weak_type


@given(programs())
def test_random_programs_are_computed_by_their_graphs(program: Program):
    assert_graph_computes(program, *program.inputs)


@pytest.mark.parametrize("name", ["input returned twice", "constants returned", "gelu", "map", "zero size"])
def test_the_graph_computes_the_function_outside_of_jit(name):
    assert_graph_computes(FUNCTIONS[name], X, jit=False)


@given(programs(steps=CHEAP))
def test_random_programs_in_double_precision_are_computed_by_their_graphs(program: Program):
    with jax.enable_x64(True):
        wider = ("float64", "int64", "complex128")
        inputs = [array_of(x.shape, wider[i], i) for i, x in enumerate(program.inputs)]
        assert_graph_computes(program, *inputs)


@given(programs(steps=CHEAP))
def test_every_node_of_a_graph_reads_what_exists_already(program: Program):
    graph = trace_function(program, *program.inputs)
    known = set(graph.inputs) | {v for v, _ in graph.constants}
    for node in graph.nodes:
        assert all(v in known or isinstance(v, Constant) for v in node.inputs)
        known.update(node.outputs)
    assert all(v in known or isinstance(v, Constant) for v in graph.outputs)
    assert len(set(graph.nodes)) == len(graph.nodes)
