"""Products of heads look alike at every batch size."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from collage_jax.graph.evaluate import callable_of
from collage_jax.graph.rebatching import rebatch
from collage_jax.graph.trace import trace_function


def normal(*shape):
    return jnp.asarray(np.random.default_rng(shape).standard_normal(shape), jnp.float32)


def attend(q, k, v):
    return jax.nn.softmax(q @ k.mT / 4, axis=-1) @ v


def ops(graph):
    return [node.op for node in graph.nodes]


@pytest.mark.parametrize("batch", [1, 2])
def test_attention_is_the_same_program_at_every_batch_size(batch):
    arrays = [normal(batch, 3, 5, 8), normal(batch, 3, 7, 8), normal(batch, 3, 7, 4)]
    graph = rebatch(trace_function(attend, *arrays))
    assert "squeeze" not in ops(graph)
    products = [node for node in graph.nodes if node.op == "dot_general"]
    assert [tuple(node.params["dimension_numbers"][1][0]) for node in products] == [(0, 1), (0, 1)]
    run = jax.jit(callable_of(graph.nodes, graph.inputs, graph.outputs))
    np.testing.assert_allclose(run(*arrays)[0], attend(*arrays), rtol=1e-6, atol=1e-6)


def test_precision_is_kept():
    fun = lambda x, y: jnp.matmul(x, y, precision="highest", preferred_element_type=jnp.float32)  # noqa: E731
    graph = rebatch(
        trace_function(fun, normal(1, 2, 3, 4).astype(jnp.bfloat16), normal(1, 2, 4, 5).astype(jnp.bfloat16))
    )
    (product,) = (node for node in graph.nodes if node.op == "dot_general")
    assert product.out.dtype == jnp.float32 and product.out.shape == (1, 2, 3, 5)
    assert product.params["precision"] == (jax.lax.Precision.HIGHEST, jax.lax.Precision.HIGHEST)


def test_a_product_that_is_repeated_stays():
    def fun(x, y):
        product = jax.lax.dot_general(x[0], y[0], (((2,), (1,)), ((0,), (0,))))
        return jnp.broadcast_to(product, (1, 4, 3, 5)).sum(2)

    arrays = normal(1, 4, 1, 8), normal(1, 4, 8, 5)
    graph = rebatch(trace_function(fun, *arrays))
    run = jax.jit(callable_of(graph.nodes, graph.inputs, graph.outputs))
    np.testing.assert_allclose(run(*arrays)[0], fun(*arrays), rtol=1e-5)


def test_what_has_no_heads_or_is_read_in_between_stays():
    plain = trace_function(lambda x, y: x @ y, normal(1, 3, 4), normal(1, 4, 5))
    assert ops(rebatch(plain)) == ops(plain)

    def both(x, y):
        z = jax.lax.dot_general(x[0], y[0], (((2,), (1,)), ((0,), (0,))))
        return z[None], z.sum()

    graph = trace_function(both, normal(1, 2, 3, 4), normal(1, 2, 4, 5))
    assert ops(rebatch(graph)) == ops(graph)
