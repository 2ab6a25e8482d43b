"""Convolutions whose kernel is as large as their source: products of matrices.

So JAX writes the gradient of a pointwise convolution's weights: the source and the gradient of the result, multiplied
and summed over all pixels of all images.
"""

from __future__ import annotations

from math import prod

from .ir import Node


def contracted(node: Node) -> tuple[tuple[int, int], ...] | None:
    """The pairs of axes of the two operands of ``node``, a ``conv_general_dilated``, that its result sums over.

    None if its kernel has one tap, or does not meet every pixel of the source just once.
    """
    params = node.params
    lhs_spec, rhs_spec, _ = params["dimension_numbers"]
    lhs, rhs = ([v.shape[a] for a in spec[2:]] for v, spec in zip(node.inputs, (lhs_spec, rhs_spec), strict=True))
    steps = (*params["window_strides"], *params["lhs_dilation"], *params["rhs_dilation"])
    groups = int(params["feature_group_count"]) * int(params["batch_group_count"])
    if lhs != rhs or prod(rhs) == 1 or groups != 1 or any(int(n) != 1 for n in steps):
        return None
    if any(int(n) for pair in params["padding"] for n in pair):
        return None
    return tuple((int(a), int(b)) for a, b in zip(lhs_spec[1:], rhs_spec[1:], strict=True))
