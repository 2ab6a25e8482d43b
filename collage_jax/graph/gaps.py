"""A convolution of an array with gaps by a kernel of one tap, as the one without gaps, whose results are spread.

So JAX writes the gradient of a strided convolution without extent. All but one of its products in every few are with
the zeros in the gaps; what is left is a matrix product.
"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
from jax import lax

from .ir import Graph, Node
from .splice import rewritten


def close_gaps(graph: Graph) -> Graph:
    """``graph`` with such convolutions as ones without gaps, and a ``pad`` that puts zeros between their results.

    A weight that is not finite makes no NaN of the zeros any more.
    """
    return rewritten(
        graph, lambda node: (_without_gaps(node.params), node.inputs) if _has_gaps_for_nothing(node) else None
    )


def _has_gaps_for_nothing(node: Node) -> bool:
    if node.op != "conv_general_dilated" or node.barrier or not jnp.issubdtype(node.out.dtype, jnp.floating):
        return False
    sizes = [n for v in (*node.inputs, node.out) for n in v.shape]
    if not all(isinstance(n, int) for n in sizes) or 0 in sizes:
        return False
    params = node.params
    kernel = [node.inputs[1].shape[axis] for axis in params["dimension_numbers"].rhs_spec[2:]]
    return (
        any(int(n) > 1 for n in params["lhs_dilation"])
        and all(n == 1 for n in (*kernel, *map(int, params["window_strides"])))
        and all(int(n) >= 0 for pad in params["padding"] for n in pad)
    )


def _without_gaps(params: Any) -> Any:
    around = zip(params["padding"], params["lhs_dilation"], strict=True)
    spread = [(int(low), int(high), int(gap) - 1) for (low, high), gap in around]
    config = [(0, 0, 0)] * (len(spread) + 2)
    for axis, one in zip(params["dimension_numbers"].out_spec[2:], spread, strict=True):
        config[axis] = one
    kept = {
        **params,
        "padding": tuple((0, 0) for _ in spread),
        "lhs_dilation": (1,) * len(spread),
    }

    def fun(lhs: Any, rhs: Any) -> Any:
        dense = lax.conv_general_dilated_p.bind(lhs, rhs, **kept)
        return lax.pad(dense, jnp.zeros((), dense.dtype), config)

    return fun
