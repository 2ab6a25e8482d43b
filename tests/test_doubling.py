"""x + x becomes 2 x, to the bit, and nothing else does."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from collage_jax.graph.doubling import double
from collage_jax.graph.evaluate import callable_of
from collage_jax.graph.trace import trace_function


def ops(graph):
    return [node.op for node in graph.nodes]


SPECIAL = jnp.asarray([0.0, -0.0, 1e-45, -1e-39, 3e38, -3e38, np.inf, -np.inf, np.nan, 1 / 3], jnp.float32)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16, jnp.float16])
def test_the_same_bits(dtype):
    fun = lambda x: jnp.sin(x) + jnp.sin(x)  # noqa: E731
    x = SPECIAL.astype(dtype)
    graph = double(trace_function(lambda x: x + x, x))
    assert ops(graph) == ["mul"]
    run = jax.jit(callable_of(graph.nodes, graph.inputs, graph.outputs))
    np.testing.assert_array_equal(np.asarray(run(x)[0]).view(np.uint8), np.asarray(x + x).view(np.uint8))
    assert ops(double(trace_function(fun, x))) == ["sin", "mul"]


def test_what_reads_the_sum_reads_the_product():
    graph = double(trace_function(lambda x: (jnp.tanh(x + x), x + x), jnp.ones((3, 4))))
    assert ops(graph) == ["mul", "tanh"]
    assert graph.outputs[1] is graph.nodes[0].out


def test_other_sums_stay():
    x = jnp.ones(3)
    assert ops(double(trace_function(lambda x, y: x + y, x, x))) == ["add"]
    assert ops(double(trace_function(lambda n: n + n, jnp.arange(3)))) == ["add"]
