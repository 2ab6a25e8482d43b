"""Which operations are products that can be run."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import prod
from typing import Any

import jax.numpy as jnp

from ...graph.ir import Node, Value
from ...graph.whole_kernels import contracted
from ..base import Unsupported
from ..own_kernels import refused_arrays
from .product import DIMENSIONS, Product, Weights

#: Of the gradient of a pointwise convolution's weights. What is gathered of more leaves the cache before it is used
#: again: on Zen 3 170 GFLOP/s at 784 pixels, 144 at 3136, 80 at 12544, where others have 140.
MOST_PIXELS = 4096


def plan(node: Node) -> Product | Unsupported:
    """``node``, a ``dot_general`` or ``conv_general_dilated``, as the kernels see it."""
    refusal = refused_arrays(node)
    if refusal is not None:
        return refusal
    return ANCHORS[node.op](node)


def _of_dot(node: Node) -> Product | Unsupported:
    lhs, rhs = node.inputs
    contracted, batch = node.params["dimension_numbers"]
    if any(len(axes) for axes in batch):
        return Unsupported("the kernels have no batches of weights")
    return _product((node,), ("dot",), (lhs, rhs), zip(*contracted, strict=True))


def transposed(node: Node, transpose: Node) -> Product | None:
    """The product ``node`` with its operands swapped, which gives what ``transpose`` makes of it, or None."""
    lhs, rhs = node.inputs
    contracted, _ = node.params["dimension_numbers"]
    rows, columns = (v.ndim - len(axes) for v, axes in zip((lhs, rhs), contracted, strict=True))
    if tuple(transpose.params["permutation"]) != (*range(rows, rows + columns), *range(rows)):
        return None
    found = _product((node, transpose), ("dot", "transpose"), (rhs, lhs), zip(*reversed(contracted), strict=True))
    return found if isinstance(found, Product) else None


def _product(
    nodes: tuple[Node, ...], labels: tuple[str, ...], operands: tuple[Value, Value], axes: Iterable[tuple[Any, Any]]
) -> Product | Unsupported:
    """The product of ``operands``, summed over the pairs ``axes`` of one of each, that the last of ``nodes`` gives."""
    source, weights = operands
    pairs = sorted((int(a), int(b)) for a, b in axes)
    summed, count = [a for a, _ in pairs], len(pairs)
    depth = prod(source.shape[a] for a in summed)
    rows = source.size // depth
    if summed == list(range(source.ndim - count, source.ndim)):
        lie, across = (rows, depth), 1
    elif summed == list(range(count)):
        lie, across = (rows, 1), rows
    else:
        return Unsupported("the axes summed over must be the first or the last ones of the left operand")
    return Product(
        nodes=nodes,
        labels=labels,
        result=nodes[-1].out,
        source=source,
        weights=_weights(weights, [b for _, b in pairs]),
        sizes=(rows, depth, weights.size // depth),
        rows=(lie,),
        across=across,
    )


def _of_convolution(node: Node) -> Product | Unsupported:
    lhs, rhs = node.inputs
    lhs_spec, rhs_spec, out_spec = node.params["dimension_numbers"]
    if (pairs := contracted(node)) is not None:
        if (pixels := prod(lhs.shape[a] for a, _ in pairs)) > MOST_PIXELS:
            return Unsupported(f"the kernels are slow at sums over more than {MOST_PIXELS} pixels, got {pixels}")
        if out_spec[0] < out_spec[1]:
            return _product((node,), ("conv_weights",), (lhs, rhs), pairs)
        return _product((node,), ("conv_weights",), (rhs, lhs), [(b, a) for a, b in pairs])
    last = (0, lhs.ndim - 1, *range(1, lhs.ndim - 1))
    if tuple(lhs_spec) != last or tuple(out_spec) != last:
        return Unsupported("the kernels take and give arrays with the batch first and the channels last")
    if any(rhs.shape[axis] != 1 for axis in rhs_spec[2:]):
        return Unsupported(f"a convolution is a product if its kernel has size 1, got {rhs!r}")
    if any(int(n) for pad in node.params["padding"] for n in pad):
        return Unsupported("the kernels have no padding")
    if int(node.params["feature_group_count"]) != 1 or int(node.params["batch_group_count"]) != 1:
        return Unsupported("the kernels have no groups")
    if any(int(n) != 1 for n in node.params["lhs_dilation"]):
        return Unsupported("the kernels have no transposed convolutions")
    if lhs.ndim > DIMENSIONS + 1:
        return Unsupported(f"the kernels have at most 3 spatial dimensions, got {lhs.ndim - 2}")
    strides = (1, *(int(n) for n in node.params["window_strides"]))
    rows = [
        (size, stride * prod(lhs.shape[axis + 1 :]))
        for axis, (size, stride) in enumerate(zip(node.out.shape[:-1], strides, strict=True))
    ]
    return Product(
        nodes=(node,),
        labels=("conv",),
        result=node.out,
        source=lhs,
        weights=_weights(rhs, [int(rhs_spec[1])]),
        sizes=(prod(node.out.shape[:-1]), lhs.shape[-1], node.out.shape[-1]),
        rows=_merged(rows),
    )


def _merged(rows: Sequence[tuple[int, int]]) -> tuple[tuple[int, int], ...]:
    """The same places along fewer dimensions."""
    merged: list[tuple[int, int]] = []
    for size, step in rows:
        if merged and merged[-1][1] == size * step:
            merged[-1] = (merged[-1][0] * size, step)
        elif merged and merged[-1][0] == 1:
            merged[-1] = (size, step)
        elif size > 1 or not merged:
            merged.append((size, step))
    return tuple(merged)


def _weights(value: Value, summed: Sequence[int]) -> Weights:
    """``value`` as a matrix whose rows are the axes ``summed``, in that order, and whose columns are the others."""
    depth = prod(value.shape[a] for a in summed)
    columns = [a for a in range(value.ndim) if a not in summed]
    is_long = lambda axis: value.shape[axis] > 1  # noqa: E731
    in_order = list(filter(is_long, range(value.ndim)))
    if list(filter(is_long, (*summed, *columns))) == in_order:
        return Weights(value, value.size // depth, 1)
    if list(filter(is_long, (*columns, *summed))) == in_order:
        return Weights(value, 1, depth)
    return Weights(value, value.size // depth, 1, lambda array: jnp.transpose(array, (*summed, *columns)))


#: How to see a node as a product, by operation.
ANCHORS = {"dot_general": _of_dot, "conv_general_dilated": _of_convolution}
