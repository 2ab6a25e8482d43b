"""Regions: convexity, entries and exits, and keys that are equal for equal work."""

import random
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from fakes import fake_graph, random_reads

from collage_jax.graph.canonical import region_key, region_text
from collage_jax.graph.region import Region
from collage_jax.graph.trace import trace_function

X = np.ones((3, 4), np.float32)


def region_at(graph, *places):
    return Region.of(graph, [graph.nodes[i] for i in places])


def is_convex_by_paths(reads, inside):
    """True if no node outside lies both behind and before nodes inside."""
    behind = [set() for _ in reads]
    for i, before in enumerate(reads):
        behind[i] = set(before).union(*(behind[j] for j in before))
    return not any(
        i not in inside and behind[i] & inside and any(i in behind[j] for j in inside) for i in range(len(reads))
    )


@pytest.mark.parametrize("seed", range(20))
def test_convexity_agrees_with_a_search_of_all_paths(seed):
    rng = random.Random(seed)
    outcomes = set()
    for _ in range(40):
        count = rng.randrange(1, 11)
        reads = random_reads(rng, count, rng.choice((0.15, 0.3, 0.6)))
        inside = set(rng.sample(range(count), rng.randrange(1, count + 1)))
        expected = is_convex_by_paths(reads, inside)
        assert region_at(fake_graph(reads), *inside).is_convex is expected, (reads, inside)
        outcomes.add(expected)
    assert outcomes == {True, False}


@pytest.mark.parametrize("seed", range(10))
def test_entries_and_exits_are_what_crosses_the_border(seed):
    rng = random.Random(seed)
    count = rng.randrange(2, 10)
    reads = random_reads(rng, count)
    returned = rng.sample(range(count), 2)
    graph = fake_graph(reads, returned)
    inside = set(rng.sample(range(count), rng.randrange(1, count + 1)))
    region = region_at(graph, *inside)
    made = {n.out: i for i, n in enumerate(graph.nodes)}
    entries = {j for i in inside for j in reads[i]} - inside
    exits = {i for i in inside if i in returned or any(i in reads[j] for j in range(count) if j not in inside)}
    assert {made[v] for v in region.entries if v in made} == entries
    assert [made[v] for v in region.exits] == sorted(exits)
    assert (graph.inputs[0] in region.entries) == any(not reads[i] for i in inside)


def test_a_region_keeps_topological_order_and_each_node_once():
    graph = fake_graph([[], [0], [1]])
    assert region_at(graph, 2, 0, 2, 1).indices == (0, 1, 2)


def test_scalars_of_the_program_are_no_entries():
    graph = trace_function(lambda x: x * 2 + 1, X)
    assert region_at(graph, 0, 1).entries == graph.inputs


def test_a_region_around_effects_that_must_stay_in_order_is_not_convex():
    # node 1 prints what node 0 made; node 2 has an effect as well, so it comes after; node 3 reads nodes 0 and 2
    graph = fake_graph([[], [0], [], [0, 2]], [3], effects=[1, 2])
    assert not region_at(graph, 0, 3).is_convex
    assert region_at(fake_graph([[], [0], [], [0, 2]], [3]), 0, 3).is_convex


# Keys


def key_of(fun, *args, places=None, marked=()):
    graph = trace_function(fun, *args)
    region = region_at(graph, *(range(len(graph.nodes)) if places is None else places))
    return region_key(region, [region.entries[i] for i in marked])


def layer(x, w):
    return jnp.tanh(x @ w) * 0.5 + x


W = np.ones((4, 4), np.float32)


def test_equal_layers_have_equal_keys():
    graph = trace_function(lambda x, a, b: jnp.sin(layer(layer(jnp.cos(x), a), b)), X, W, W)
    assert [n.op for n in graph.nodes] == ["cos", *["dot_general", "tanh", "mul", "add"] * 2, "sin"]
    assert region_key(region_at(graph, 1, 2, 3, 4)) == region_key(region_at(graph, 5, 6, 7, 8))


def test_names_of_functions_do_not_enter_keys():
    def one(x):
        return jax.nn.relu(x) + 1

    def two(y):
        return jnp.maximum(y, 0.0) + 1

    assert key_of(jax.jit(one), X) == key_of(jax.jit(two), X)


def test_values_of_arrays_do_not_enter_keys():
    assert key_of(lambda x: x + np.arange(4.0, dtype=np.float32), X) == key_of(lambda x: x + np.ones(4, np.float32), X)


SUM = (lambda x: jnp.sum(x, 0), X)
DIFFERENT = {
    "parameters": (lambda x: jnp.sum(x, 1), X),
    "shapes": (lambda x: jnp.sum(x, 0), X[:2]),
    "dtypes": (lambda x: jnp.sum(x, 0), X.astype(np.int32)),
    "operations": (lambda x: jnp.max(x, 0), X),
    "ranks": (lambda x: jnp.sum(x, 0), X[None]),
}


@pytest.mark.parametrize("name", DIFFERENT)
def test_different_work_has_different_keys(name):
    fun, argument = DIFFERENT[name]
    assert key_of(fun, argument) != key_of(*SUM)


@pytest.mark.parametrize(
    ("one", "two"),
    [
        (lambda x: x * 2.0, lambda x: x * 3.0),
        (lambda x: x * 0.0, lambda x: x * -0.0),
        (lambda x: x * np.float32(0.1), lambda x: x * np.nextafter(np.float32(0.1), np.float32(1))),
        (lambda x: x * np.float32(1e-9), lambda x: x * np.float32(1.00000011e-9)),
        (lambda x: jnp.sin(x) - jnp.cos(x), lambda x: jnp.cos(x) - jnp.sin(x)),
        (lambda x: x - jnp.sin(x), lambda x: jnp.sin(x) - x),
        (lambda x: jnp.sin(x), lambda x: (jnp.sin(x), jnp.sin(jnp.sin(x)))),
        (lambda x: (jnp.sin(x), jnp.cos(jnp.sin(x))), lambda x: jnp.cos(jnp.sin(x))),
    ],
    ids=["scalars", "zero's sign", "neighbours", "small neighbours", "order", "operands", "length", "exits"],
)
def test_details_enter_keys(one, two):
    assert key_of(one, X) != key_of(two, X)


def test_double_precision_scalars_enter_keys_in_full():
    with jax.enable_x64(True):
        x = X.astype(np.float64)
        assert key_of(lambda x: x * np.float64(0.1), x) != key_of(lambda x: x * (np.float64(0.1) + 1e-12), x)
        assert key_of(lambda x: x * np.float64(0.1), x) == key_of(lambda x: x * np.float64(0.1), x)


def test_weak_types_enter_keys():
    assert key_of(lambda x: jnp.sin(x), 1.0) != key_of(lambda x: jnp.sin(x), np.float32(1))


def test_which_operand_an_entry_feeds_enters_keys():
    assert key_of(lambda x, y: x * y - x, X, X) != key_of(lambda x, y: x * y - y, X, X)


def test_marked_entries_enter_keys():
    keys = [key_of(layer, X, W, marked=marked) for marked in ((), (0,), (1,), (0, 1))]
    assert len(set(keys)) == 4


def scanned(factor):
    return lambda x: jax.lax.scan(lambda c, v: (jax.nn.relu(c) * factor + v, jnp.sin(c)), x[0], x)


def test_bodies_of_control_flow_enter_keys():
    assert key_of(scanned(2.0), X) == key_of(scanned(2.0), X)
    assert key_of(scanned(2.0), X) != key_of(scanned(3.0), X)
    with jax.enable_x64(True):
        x = X.astype(np.float64)
        assert key_of(scanned(np.float64(0.1)), x) != key_of(scanned(np.float64(0.1) + 1e-12), x)


def test_weak_types_inside_control_flow_enter_keys():
    def counted(start):
        return lambda x: jax.lax.while_loop(lambda s: s[0] < 3, lambda s: (s[0] + 1, s[1] * 2), (start, x))

    assert key_of(counted(0), X) != key_of(counted(np.int32(0)), X)


def test_custom_rules_inside_control_flow_have_stable_texts():
    def body(c, v):
        return jax.nn.relu(c) + jax.nn.relu6(v) + jax.nn.silu(c), None

    graph = trace_function(lambda x: jax.lax.scan(body, x[0], x)[0], X)
    assert "0x" not in region_text(region_at(graph, *range(len(graph.nodes))))


SCRIPT = """
import jax, jax.numpy as jnp, numpy as np
from collage_jax.graph.canonical import region_key
from collage_jax.graph.region import Region
from collage_jax.graph.trace import trace_function

def fun(x):
    y = jax.lax.scan(lambda c, v: (jax.nn.relu(c) * 2 + v, jax.nn.gelu(v)), x[0], x)
    z = x.at[jnp.array([0, 2])].add(1.0)
    p = jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, (2, 2), (1, 1), "SAME")
    c = jax.lax.conv_general_dilated(x[None, None], x[None, None], (1, 1), "SAME")
    return y, z, p, c, jax.nn.softmax(x), jax.checkpoint(lambda v: jax.nn.silu(v))(x)

graph = trace_function(fun, np.ones((3, 4), np.float32))
for node in graph.nodes:
    print(node.op, region_key(Region.of(graph, [node])))
"""


def test_keys_are_equal_in_another_process():
    def run(seed):
        env = {
            "PATH": "",
            "JAX_PLATFORMS": "cpu",
            "PYTHONHASHSEED": seed,
            "PYTHONPATH": ":".join(filter(None, sys.path)),
        }
        command = [sys.executable, "-c", SCRIPT]
        return subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True)

    texts = [process.communicate()[0] for process in [run("1"), run("2")]]
    assert texts[0]
    assert texts[0] == texts[1]
