"""The gradient of a convolution's weights.

JAX writes it as a convolution of the source with the gradient of the result as its kernel, as large as the image:
batch and features have changed places, strides and dilation too, and groups of features have become groups of the
batch (``_conv_general_dilated_transpose_rhs`` in JAX). The library has an operation of its own for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from ...graph.ir import Node
from ..base import Unsupported
from .call import Call, Operand
from .sliding import keys, padding
from .views import View


def is_one(node: Node) -> bool:
    """True for a ``conv_general_dilated`` that is better seen as such a gradient.

    Without groups it is no other operation than a convolution with a large kernel; but where the batch comes before the
    features hardly any is a gradient, and elsewhere hardly any is not.
    """
    params = node.params
    if int(params["batch_group_count"]) > 1:
        return True
    if int(params["feature_group_count"]) > 1 or any(int(d) != 1 for d in params["lhs_dilation"]):
        return False
    lhs_spec, rhs_spec, out_spec = params["dimension_numbers"]
    if lhs_spec[0] < lhs_spec[1]:
        return False
    kernel = prod(node.inputs[1].shape[a] for a in rhs_spec[2:])
    return kernel > prod(node.out.shape[a] for a in out_spec[2:])


def plan(node: Node) -> Call | Unsupported:
    """The call for ``node``, whose arrays the library takes."""
    params = node.params
    groups = int(params["batch_group_count"])
    if any(int(d) != 1 for d in params["lhs_dilation"]):
        return Unsupported("oneDNN has no gradient for the weights of a transposed convolution in groups of the batch")
    lhs, rhs = node.inputs
    lhs_spec, rhs_spec, out_spec = params["dimension_numbers"]
    src, diff, weights = (
        View.of(value).memory(tuple((a,) for a in (spec[1], spec[0], *spec[2:])))
        for value, spec in ((lhs, lhs_spec), (rhs, rhs_spec), (node.out, out_spec))
    )
    assert src is not None and diff is not None and weights is not None  # dtypes are known, every axis is a dimension
    strides, dilation = params["rhs_dilation"], params["window_strides"]
    low = [before for before, _ in padding(node)]
    high = _padding_after(src.dims[2:], weights.dims[2:], diff.dims[2:], strides, dilation, low)
    if high is None or min(low) < 0:
        return Unsupported(f"oneDNN's gradient of weights takes no negative padding, got {padding(node)}")
    return Call(
        op="conv_weights",
        labels=("conv_weights",),
        nodes=(node,),
        result=node.out,
        sources=(("src", Operand(src, (lhs,))), ("diff", Operand(diff, (rhs,)))),
        dst=weights.split_first(groups) if groups > 1 else weights,
        groups=(),
        keys=keys(strides, dilation, low, high),
    )


def _padding_after(
    source: Sequence[int],
    kernel: Sequence[int],
    result: Sequence[int],
    strides: Sequence[int],
    dilation: Sequence[int],
    low: Sequence[int],
) -> list[int] | None:
    """What the convolution itself was padded with behind, the least that gives ``result``; None if that is negative."""
    found: list[int] = []
    for size, taps, count, stride, gap, before in zip(source, kernel, result, strides, dilation, low, strict=True):
        least = (count - 1) * int(stride) + (taps - 1) * int(gap) + 1 - size - before
        if least + int(stride) <= 0:  # with any less than a stride more there are as many results
            return None
        found.append(max(0, least))
    return found
