"""Convolutions: every dimension numbering by strides, in groups, dilated, and transposed ones as deconvolutions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from jax import lax

from ...graph.ir import Graph, Node, Value
from ...graph.strides import row_major
from ...graph.windows import Window
from ..base import Unsupported
from . import weights_gradient
from .call import Call, Operand
from .memory import times
from .sliding import keys, padding, refused_arrays
from .taps import trimmed
from .views import View


def absorbable(graph: Graph, node: Node) -> tuple[Node, ...]:
    """The reversal of a transposed convolution's kernel, which the library's own form undoes."""
    reverse = graph.producer.get(node.inputs[1])
    if reverse is None or reverse.op != "rev" or graph.only_user(reverse.out) is not node or not _is_transposed(node):
        return ()
    spatial = {a for a in node.params["dimension_numbers"].rhs_spec[2:] if reverse.out.shape[a] > 1}
    reversed_axes = {int(d) for d in reverse.params["dimensions"] if reverse.out.shape[int(d)] > 1}
    return (reverse,) if spatial == reversed_axes else ()


def plan(graph: Graph, node: Node, absorbed: frozenset[Node]) -> Call | Unsupported:
    """The call for a ``conv_general_dilated``; ``absorbed`` may hold the reversal of its kernel."""
    refusal = refused_arrays(node)
    if refusal is not None:
        return refusal
    if weights_gradient.is_one(node):
        return weights_gradient.plan(node)
    if int(node.params["batch_group_count"]) != 1:
        return Unsupported(f"oneDNN convolutions have no batch groups, got {node.params['batch_group_count']}")
    lhs, rhs = node.inputs
    lhs_spec, rhs_spec, out_spec = node.params["dimension_numbers"]
    groups = tuple((a,) for a in out_spec)
    src = View.of(lhs).memory(tuple((a,) for a in lhs_spec))
    wei = View.of(rhs).memory(tuple((a,) for a in rhs_spec))
    dst = View.of(node.out).memory(groups)
    assert src is not None and wei is not None and dst is not None  # dtypes are known, every axis is its own dimension
    feature_groups = int(node.params["feature_group_count"])
    kernel = wei.dims[2:]
    call = Call(
        op="conv",
        labels=("conv",),
        nodes=(node,),
        result=node.out,
        sources=(("src", Operand(src, (lhs,))),),
        dst=dst,
        groups=groups,
        weights=Operand(wei.split_first(feature_groups) if feature_groups > 1 else wei, (rhs,)),
        bias_dim=1,
        fuses=True,
    )
    if _is_transposed(node):
        return _transposed(graph, call, node, kernel, absorbed)
    low, high = zip(*padding(node), strict=True)
    if min(*low, *high) < 0:
        return Unsupported(f"oneDNN convolutions take no negative padding, got {padding(node)}")
    found = trimmed(_windows(node), high)
    if found is not None:
        taps, low, high = found
        call = replace(call, weights=_sliced(rhs, rhs_spec, taps, feature_groups))
    return replace(call, keys=keys(node.params["window_strides"], node.params["rhs_dilation"], low, high))


def _windows(node: Node) -> list[Window]:
    params = node.params
    lhs_spec, rhs_spec, out_spec = params["dimension_numbers"]
    sizes = zip(
        (node.inputs[0].shape[a] for a in lhs_spec[2:]),
        (node.out.shape[a] for a in out_spec[2:]),
        (node.inputs[1].shape[a] for a in rhs_spec[2:]),
        strict=True,
    )
    steps = zip(params["window_strides"], params["rhs_dilation"], padding(node), strict=True)
    return [
        Window(*size, int(stride), int(gap), low) for size, (stride, gap, (low, _)) in zip(sizes, steps, strict=True)
    ]


def _sliced(kernel: Value, rhs_spec: Sequence[int], taps: Sequence[slice], feature_groups: int) -> Operand:
    """The weights with the taps left out that only meet padding."""
    kept = [slice(None)] * kernel.ndim
    for axis, along in zip(rhs_spec[2:], taps, strict=True):
        kept[axis] = along
    sizes = tuple(len(range(*s.indices(n))) for s, n in zip(kept, kernel.shape, strict=True))
    view = View(kernel, sizes, row_major(sizes))
    memory = view.memory(tuple((a,) for a in rhs_spec))
    assert memory is not None  # its dtype is known, every axis is its own dimension
    memory = memory.split_first(feature_groups) if feature_groups > 1 else memory
    return Operand(memory, (kernel,), lambda array: array[tuple(kept)])


def _transposed(
    graph: Graph, call: Call, node: Node, kernel: Sequence[int], absorbed: frozenset[Node]
) -> Call | Unsupported:
    """JAX slides a kernel over a dilated input; the library scatters the reversed kernel over the output."""
    if any(int(s) != 1 for s in node.params["window_strides"]):
        strides = times(node.params["window_strides"])
        return Unsupported(f"oneDNN has no transposed convolution with window strides too, got {strides}")
    reach = [(k - 1) * int(d) for k, d in zip(kernel, node.params["rhs_dilation"], strict=True)]
    low = [r - lo for r, (lo, _) in zip(reach, padding(node), strict=True)]
    high = [r - hi for r, (_, hi) in zip(reach, padding(node), strict=True)]
    if min(*low, *high) < 0:
        return Unsupported(
            f"a transposed convolution in oneDNN cannot pad more than the kernel reaches {reach}, got {padding(node)}"
        )
    assert call.weights is not None
    spatial = [int(a) for a in node.params["dimension_numbers"].rhs_spec[2:]]
    reverse = next(iter(absorbable(graph, node)), None)
    if reverse is not None and reverse in absorbed:
        weights, nodes = replace(call.weights, values=reverse.inputs), (reverse, node)
    else:
        weights, nodes = replace(call.weights, make=lambda kernel: lax.rev(kernel, spatial)), (node,)
    window = keys(node.params["lhs_dilation"], node.params["rhs_dilation"], low, high)
    return replace(call, op="deconv", labels=("deconv",), nodes=nodes, weights=weights, keys=window)


def _is_transposed(node: Node) -> bool:
    return any(int(d) > 1 for d in node.params["lhs_dilation"])


ANCHORS = {"conv_general_dilated": plan}
