"""Batched products with the batch axes of size 1 that ``jnp.matmul`` takes away before and puts back after.

Without them a product of heads looks other at batch 1 than at batch 2, and no longer like what it is a part of.
"""

from __future__ import annotations

from typing import Any

from jax import lax

from .ir import Graph, Node, Value
from .simplify import drop_dead
from .splice import Instead, rewritten


def rebatch(graph: Graph) -> Graph:
    """``graph`` with dot_general(squeeze(x), squeeze(y)) and its broadcast back as one batched product of x and y."""

    def instead(node: Node) -> Instead | None:
        pair = _operands(graph, node)
        return None if pair is None else (_batched(graph.producer[node.inputs[0]]), pair)

    return drop_dead(rewritten(graph, instead))


def _operands(graph: Graph, node: Node) -> tuple[Value, Value] | None:
    """x and y, where ``node`` puts a first axis of size 1 back on the batched product of both without theirs."""
    if node.op != "broadcast_in_dim" or len(node.inputs) != 1 or node.out.ndim < 3:
        return None
    product = graph.producer.get(node.inputs[0])
    if product is None or product.op != "dot_general" or graph.only_user(product.out) is not node or product.barrier:
        return None
    axes = tuple(int(d) for d in node.params["broadcast_dimensions"])
    if node.out.shape != (1, *product.out.shape):  # it repeats the product, too
        return None
    if (
        axes != tuple(range(1, node.out.ndim))
        or node.out.shape[0] != 1
        or not product.params["dimension_numbers"][1][0]
    ):
        return None
    found = [_unsqueezed(graph, value) for value in product.inputs]
    return (found[0], found[1]) if found[0] is not None and found[1] is not None else None


def _unsqueezed(graph: Graph, value: Value) -> Value | None:
    """What ``value`` is without its first axis, of size 1."""
    node = graph.producer.get(value)
    if node is None or node.op not in ("squeeze", "reshape") or node.inputs[0].shape != (1, *value.shape):
        return None
    return node.inputs[0] if node.params.get("dimensions") in (None, (0,)) else None


def _batched(product: Node) -> Any:
    (contracted, batch), params = product.params["dimension_numbers"], product.params

    def moved(axes: Any) -> tuple[int, ...]:
        return tuple(int(a) + 1 for a in axes)

    def fun(x: Any, y: Any) -> Any:
        summed = moved(contracted[0]), moved(contracted[1])
        batches = (0, *moved(batch[0])), (0, *moved(batch[1]))
        kept = {name: params.get(name) for name in ("precision", "preferred_element_type", "out_sharding")}
        return lax.dot_general(x, y, (summed, batches), **kept)

    return fun
