"""Convolutions as sums of matrix products: slower than a good kernel, but far faster than what XLA:CPU does with some.

XLA:CPU hands convolutions without groups to Eigen. Those in groups of features it runs as one loop over every product;
those in groups of the batch, which is how JAX writes the gradient of the weights of one in groups, it turns into one
without groups first, most of which is thrown away.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import product
from math import prod
from typing import Any

import jax.numpy as jnp
from jax import lax

from .ir import Node

#: No convolution is written as more products than this.
MOST_PRODUCTS = 256
#: Seconds that XLA:CPU takes for a multiplication with its addition. JAX 0.10.2 on 2 cores at 2.5 GHz: in groups of
#: features 2.9 to 8.0 ns with one channel in each, 1.9 to 2.3 with four, 0.2 with sixteen; in groups of the batch, for
#: each product of the convolution without groups, 1.1 to 4.2 ns.
LOOP_S = 4e-9
DENSE_S = 1e-9


def laborious_s(node: Node) -> float:
    """About how long XLA:CPU takes for ``node``, in seconds, rather less, if it is a convolution in groups.

    0 for others, and where products cannot replace it.
    """
    if node.op != "conv_general_dilated" or by_products(node) is None:
        return 0.0
    groups, of_batch = int(node.params["feature_group_count"]), int(node.params["batch_group_count"])
    lhs_spec, rhs_spec, _ = node.params["dimension_numbers"]
    lhs, rhs = node.inputs
    features = rhs.shape[rhs_spec[0]]
    products = rhs.size / max(1, features) * node.out.size
    if of_batch > 1:
        is_depthwise = of_batch == features == lhs.shape[lhs_spec[0]]
        return products * (LOOP_S if is_depthwise else DENSE_S * of_batch)
    return products * LOOP_S / max(1, rhs.shape[rhs_spec[1]]) if groups > 1 else 0.0


def by_products(node: Node) -> Callable[[Any, Any], Any] | None:
    """A function that computes the convolution ``node`` by products of matrices.

    None for what is no convolution, or would be too many products.
    """
    if node.op != "conv_general_dilated" or not jnp.issubdtype(node.out.dtype, jnp.inexact):
        return None
    if not all(isinstance(n, int) for v in (*node.inputs, node.out) for n in v.shape):
        return None  # under shape polymorphism sizes are expressions
    params = node.params
    lhs_spec, rhs_spec, out_spec = params["dimension_numbers"]
    kernel = [node.inputs[1].shape[axis] for axis in rhs_spec[2:]]
    result = [node.out.shape[axis] for axis in out_spec[2:]]
    if not 0 < min(prod(kernel), prod(result)) <= MOST_PRODUCTS:
        return None
    by_taps = prod(kernel) <= prod(result)
    groups, of_batch = int(params["feature_group_count"]), int(params["batch_group_count"])
    # Numbers of eight bits have no promotion.
    is_narrow = jnp.issubdtype(node.out.dtype, jnp.floating) and jnp.finfo(node.out.dtype).bits < 32
    dtype = jnp.float32 if is_narrow else node.out.dtype

    def run(lhs: Any, rhs: Any) -> Any:
        around = zip(params["padding"], params["lhs_dilation"], strict=True)
        padding = [(0, 0, 0), (0, 0, 0), *((int(low), int(high), int(gap) - 1) for (low, high), gap in around)]
        image = lax.pad(jnp.transpose(lhs, lhs_spec), jnp.zeros((), lhs.dtype), padding).astype(dtype)
        weights = jnp.transpose(rhs, rhs_spec).astype(dtype)
        count = groups * of_batch
        weights = weights.reshape(count, weights.shape[0] // count, *weights.shape[1:])
        if of_batch > 1:
            image = image.reshape(of_batch, image.shape[0] // of_batch, *image.shape[1:])
        else:
            image = image.reshape(image.shape[0], groups, image.shape[1] // groups, *image.shape[2:]).swapaxes(0, 1)
        summed = _over_taps if by_taps else _over_results
        found = summed(image, weights, result, params)  # [groups, batch, features, *space]
        if of_batch > 1:
            found = found.swapaxes(0, 1).reshape(found.shape[1], -1, *result)
        else:
            found = found.transpose(1, 0, 2, *range(3, found.ndim)).reshape(found.shape[1], -1, *result)
        return jnp.transpose(found, _inverse(out_spec)).astype(node.out.dtype)

    return run


def _over_taps(image: Any, weights: Any, result: Sequence[int], params: Mapping[str, Any]) -> Any:
    """The sum over the kernel's taps of what each contributes to all results."""
    strides, gaps = params["window_strides"], params["rhs_dilation"]
    total: Any = 0.0
    for tap in product(*map(range, weights.shape[3:])):
        window = _slices([t * int(g) for t, g in zip(tap, gaps, strict=True)], result, strides)
        total += jnp.einsum(
            "gnc...,goc->gno...", image[(..., *window)], weights[(..., *tap)], precision=lax.Precision.HIGHEST
        )
    return total


def _over_results(image: Any, weights: Any, result: Sequence[int], params: Mapping[str, Any]) -> Any:
    """Each result by itself, a product over all of the kernel."""
    strides, gaps = params["window_strides"], params["rhs_dilation"]
    kernel = weights.shape[3:]
    parts = []
    for place in product(*map(range, result)):
        window = _slices([p * int(d) for p, d in zip(place, strides, strict=True)], kernel, gaps)
        covered = image[(..., *window)]
        flat = covered.reshape(*covered.shape[:2], -1), weights.reshape(*weights.shape[:2], -1)
        parts.append(jnp.einsum("gnk,gok->gno", *flat, precision=lax.Precision.HIGHEST))
    return jnp.stack(parts, -1).reshape(*parts[0].shape, *result)


def _slices(starts: Sequence[int], counts: Sequence[int], steps: Sequence[Any]) -> tuple[slice, ...]:
    found = zip(starts, counts, map(int, steps), strict=True)
    return tuple(slice(start, start + (count - 1) * step + 1, step) for start, count, step in found)


def _inverse(order: Sequence[int]) -> list[int]:
    return [list(order).index(axis) for axis in range(len(order))]
