"""x + x as 2 x: the same number exactly, and a factor can be part of the kernel that makes x."""

from __future__ import annotations

import jax.numpy as jnp

from .ir import Graph, Node, Value
from .splice import Instead, rewritten

_ADDS = ("add", "add_any")


def double(graph: Graph) -> Graph:
    """``graph`` with every sum of a floating-point array and itself as a multiplication by 2.

    Two poolings of one array that are added to each other have become one by then, as equal nodes do.
    """
    return rewritten(graph, _doubled)


def _doubled(node: Node) -> Instead | None:
    if node.op not in _ADDS or node.inputs[0] is not node.inputs[1] or not _is_array(node.inputs[0]) or node.barrier:
        return None
    return lambda x: x * 2, node.inputs[:1]


def _is_array(value: Value) -> bool:
    return value.ndim > 0 and jnp.issubdtype(value.dtype, jnp.floating)
