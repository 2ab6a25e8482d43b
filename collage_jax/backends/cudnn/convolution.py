"""Convolutions of one to three spatial dimensions, and their gradients by the source and by the weights.

JAX writes all three as ``conv_general_dilated``: the gradient by the source as a convolution of a dilated array with
the kernel reversed, that by the weights with batch and features exchanged (``_conv_general_dilated_transpose_lhs`` and
``_rhs`` in JAX).
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

from jax import lax

from ...graph.ir import Constant, Graph, Node
from ...graph.origins import Inside
from ..base import Unsupported
from .fusion import Fusion, Step
from .tensors import Kind, Operand, Tensor, arranged, in_memory, kind_of, strides_of, type_name, widened


def plan(node: Node) -> Fusion | Unsupported:
    """``node`` alone."""
    refusal = _refusal(node)
    if refusal is not None:
        return refusal
    if _is_by_weights(node):
        return _by_weights(node)
    if int(node.params["batch_group_count"]) != 1:
        return Unsupported("cuDNN's convolutions have no groups of the batch")
    return _by_source(node, ()) if _is_transposed(node) else _forward(node)


def preceded(graph: Graph, fusion: Fusion, inside: Inside) -> Fusion | None:
    """The gradient by the source with the reversal of its kernel, which cuDNN's own form undoes."""
    node = fusion.nodes[0]
    if node.op != "conv_general_dilated" or fusion.steps[0].op == "conv_wgrad":
        return None
    reverse = graph.producer.get(node.inputs[1])
    if reverse is None or reverse.op != "rev" or not inside(reverse) or graph.only_user(reverse.out) is not node:
        return None
    shape = reverse.out.shape
    spatial = {a for a in node.params["dimension_numbers"].rhs_spec[2:] if shape[a] > 1}
    if spatial != {int(d) for d in reverse.params["dimensions"] if shape[int(d)] > 1}:
        return None
    found = _by_source(node, (reverse,))
    return None if isinstance(found, Unsupported) else found


def _refusal(node: Node) -> Unsupported | None:
    lhs, rhs = node.inputs
    if isinstance(lhs, Constant) or isinstance(rhs, Constant):
        return Unsupported("an operand is a scalar of the program")
    if type_name(lhs.dtype) in (None, "BOOLEAN") or not lhs.dtype == rhs.dtype == node.out.dtype:
        return Unsupported(f"one floating-point type is needed, got {lhs.dtype}, {rhs.dtype} giving {node.out.dtype}")
    if not 3 <= lhs.ndim <= 5:
        return Unsupported(f"cuDNN's convolutions have 1 to 3 spatial dimensions, got {lhs.ndim - 2}")
    if 0 in (*lhs.shape, *rhs.shape, *node.out.shape):
        return Unsupported(f"an array is empty: {lhs.shape}, {rhs.shape} giving {node.out.shape}")
    for precision in _precisions(node):
        if precision is not None and not isinstance(precision, lax.Precision):
            return Unsupported(f"a particular algorithm is asked for, {precision}")
    return None


def _precisions(node: Node) -> tuple[Any, ...]:
    asked = node.params.get("precision")
    return asked if isinstance(asked, tuple) else (asked,)


def _numbers(node: Node, name: str) -> list[int]:
    return [int(n) for n in node.params[name]]


def _padding(node: Node) -> tuple[list[int], list[int]]:
    pairs = [(int(low), int(high)) for low, high in node.params["padding"]]
    return [low for low, _ in pairs], [high for _, high in pairs]


def _is_transposed(node: Node) -> bool:
    return any(n > 1 for n in _numbers(node, "lhs_dilation"))


def _is_by_weights(node: Node) -> bool:
    """True for what is better seen as a gradient by the weights.

    That has groups of the batch, or a kernel larger than the result where the batch comes after the features.
    """
    if int(node.params["batch_group_count"]) > 1:
        return True
    if int(node.params["feature_group_count"]) > 1 or _is_transposed(node):
        return False
    lhs_spec, rhs_spec, out_spec = node.params["dimension_numbers"]
    kernel = prod(node.inputs[1].shape[a] for a in rhs_spec[2:])
    return lhs_spec[0] > lhs_spec[1] and kernel > prod(node.out.shape[a] for a in out_spec[2:])


def _forward(node: Node) -> Fusion | Unsupported:
    lhs, rhs = node.inputs
    lhs_spec, rhs_spec, out_spec = node.params["dimension_numbers"]
    low, high = _padding(node)
    if min(*low, *high) < 0:
        return Unsupported(f"cuDNN's convolutions take no negative padding, got {node.params['padding']}")
    kind = kind_of(lhs, lhs_spec) or "last"
    step = _sliding("conv_fprop", ("x", "w"), "y", low, high, *map(_numbers, (node,) * 2, _STEPS))
    return _fusion(
        node, (node,), "conv", step, kind, (arranged(lhs, lhs_spec, kind), arranged(rhs, rhs_spec, kind)), out_spec
    )


_STEPS = ("window_strides", "rhs_dilation")


def _by_source(node: Node, reversal: tuple[Node, ...]) -> Fusion | Unsupported:
    """JAX slides the reversed kernel over a dilated array; cuDNN scatters the kernel over the result."""
    lhs, rhs = node.inputs
    lhs_spec, rhs_spec, out_spec = node.params["dimension_numbers"]
    if any(n != 1 for n in _numbers(node, "window_strides")):
        return Unsupported("cuDNN has no transposed convolution with window strides too")
    strides, dilation = _numbers(node, "lhs_dilation"), _numbers(node, "rhs_dilation")
    kernel, sizes, counts = (
        [value.shape[a] for a in spec[2:]] for value, spec in ((rhs, rhs_spec), (node.out, out_spec), (lhs, lhs_spec))
    )
    reach = [(k - 1) * d for k, d in zip(kernel, dilation, strict=True)]
    low = [r - p for r, p in zip(reach, _padding(node)[0], strict=True)]
    high = _padding_after(sizes, reach, counts, strides, low)
    if high is None or min(low) < 0:
        return Unsupported(f"the padding {node.params['padding']} is that of no convolution's gradient")
    kind = kind_of(lhs, lhs_spec) or "last"
    weights = _scattered(node, kind, reversal)
    step = _sliding("conv_dgrad", ("dy", "w"), "dx", low, high, strides, dilation)
    return _fusion(node, (*reversal, node), "deconv", step, kind, (arranged(lhs, lhs_spec, kind), weights), out_spec)


def _scattered(node: Node, kind: Kind, reversal: tuple[Node, ...]) -> Operand:
    """The kernel as that of the convolution whose gradient this is: filters of what is the source here."""
    rhs, groups = node.inputs[1], int(node.params["feature_group_count"])
    out_axis, in_axis, *spatial = node.params["dimension_numbers"].rhs_spec
    filters, channels = groups * rhs.shape[in_axis], rhs.shape[out_axis] // groups
    dims = widened([filters, channels, *(rhs.shape[a] for a in spatial)], 1)
    tensor = Tensor(dims, strides_of(dims, kind), type_name(rhs.dtype) or "")
    value = reversal[0].inputs[0] if reversal else rhs
    order = in_memory(range(2 + len(spatial)), kind)

    def make(array: Any) -> Any:
        kernel = (array if reversal else lax.rev(array, spatial)).transpose((out_axis, in_axis, *spatial))
        split = kernel.reshape(groups, channels, *kernel.shape[1:])
        return split.swapaxes(1, 2).reshape(filters, channels, *kernel.shape[2:]).transpose(order)

    return Operand(tensor, (value,), make)


def _by_weights(node: Node) -> Fusion | Unsupported:
    lhs, rhs = node.inputs
    if _is_transposed(node):
        return Unsupported("cuDNN has no gradient for the weights of a transposed convolution in groups of the batch")
    lhs_axes, rhs_axes, out_axes = ((spec[1], spec[0], *spec[2:]) for spec in node.params["dimension_numbers"])
    strides, dilation = _numbers(node, "rhs_dilation"), _numbers(node, "window_strides")
    sizes, kernel, counts = (
        [value.shape[a] for a in axes[2:]] for value, axes in ((lhs, lhs_axes), (node.out, out_axes), (rhs, rhs_axes))
    )
    low = _padding(node)[0]
    reach = [(k - 1) * d for k, d in zip(kernel, dilation, strict=True)]
    high = _padding_after(sizes, reach, counts, strides, low)
    if high is None or min(low) < 0:
        return Unsupported(f"the padding {node.params['padding']} is that of no convolution's gradient")
    kind = kind_of(lhs, lhs_axes) or "last"
    step = _sliding("conv_wgrad", ("x", "dy"), "dw", low, high, strides, dilation)
    operands = arranged(lhs, lhs_axes, kind), arranged(rhs, rhs_axes, kind)
    # Of the result, features out come first: what JAX calls its batch are features in.
    return _fusion(node, (node,), "conv_weights", step, kind, operands, out_axes)


def _padding_after(
    sizes: Sequence[int], reach: Sequence[int], counts: Sequence[int], strides: Sequence[int], low: Sequence[int]
) -> list[int] | None:
    """The least padding behind with which a convolution makes ``counts`` of ``sizes``; None if no padding does."""
    found: list[int] = []
    for size, extent, count, stride, before in zip(sizes, reach, counts, strides, low, strict=True):
        least = (count - 1) * stride + extent + 1 - size - before
        if least + stride <= 0:  # with any less than a stride more there are as many
            return None
        found.append(max(0, least))
    return found


def _sliding(
    op: str,
    inputs: tuple[str, str],
    output: str,
    low: Sequence[int],
    high: Sequence[int],
    strides: Sequence[int],
    dilation: Sequence[int],
) -> Step:
    """The step of a convolution; what it makes is filled in by ``_fusion``."""
    attributes = {
        "pre": widened(low, 0, lead=0),
        "post": widened(high, 0, lead=0),
        "stride": widened(strides, 1, lead=0),
        "dilation": widened(dilation, 1, lead=0),
    }
    return Step(op, {inputs[0]: 1, inputs[1]: 2}, output, Tensor((), (), ""), attributes)


def _fusion(
    node: Node,
    nodes: tuple[Node, ...],
    label: str,
    step: Step,
    kind: Kind,
    operands: tuple[Operand, Operand],
    axes: Sequence[int],
) -> Fusion:
    """``axes`` are those of the result in cuDNN's order."""
    out = node.out
    dims = widened([out.shape[a] for a in axes], 1)
    made = Tensor(dims, strides_of(dims, kind), type_name(out.dtype) or "")
    stored = in_memory(axes, kind)
    is_straight = kind_of(out, axes) == kind or stored == tuple(range(out.ndim))
    precise = any(p in (lax.Precision.HIGH, lax.Precision.HIGHEST) for p in _precisions(node))
    return Fusion(
        nodes=nodes,
        labels=(label,),
        result=out,
        axes=_widened_axes(axes),
        operands=operands,
        steps=(Step(step.op, step.inputs, step.output, made, step.attributes),),
        compute="DOUBLE" if made.dtype == "DOUBLE" else "FLOAT",
        precise=precise and made.dtype == "FLOAT",
        kind=kind,
        stored=out.shape if is_straight else tuple(out.shape[a] for a in stored),
        permutation=None if is_straight else tuple(stored.index(a) for a in range(out.ndim)),
        fuses=is_straight and label != "conv_weights",
    )


def _widened_axes(axes: Sequence[int]) -> tuple[int | None, ...]:
    missing = 4 - len(axes)
    return (*axes[:2], *(None,) * max(0, missing), *axes[2:])


ANCHORS = {"conv_general_dilated": plan}
