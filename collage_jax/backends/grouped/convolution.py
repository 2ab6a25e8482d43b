"""Which convolutions can be run, and how the kernels see them.

Errors. The products of a result are summed in a row, in float32, as by the definition: relative to the largest result,
on normal numbers and for windows of 3x3 with 32 channels, below 1e-6.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import inf
from typing import Any

from ...graph.ir import Node, Value
from ..base import Unsupported
from ..own_kernels import refused_arrays

#: Channels of a group, besides multiples of the last one.
GROUPS = (1, 2, 4, 8, 16)


@dataclass(frozen=True, eq=False)
class Pointwise:
    """A convolution without extent: the axes of ``weights`` in the order in, out, and then those of size 1."""

    weights: Value
    axes: tuple[int, ...]
    columns: int


@dataclass(frozen=True, eq=False)
class Convolution:
    """A convolution with what follows it, in this order: ``bias``, ``summand``, ``low``, ``high``; and a ReLU before.

    In one dimension the height is 1. A depthwise one may be followed at once by a pointwise one, all in the same call.
    """

    nodes: tuple[Node, ...]
    labels: tuple[str, ...]
    result: Value
    source: Value
    weights: Value
    weights_axes: tuple[int, ...]  # that bring the weights into the order height, width, in, out
    src: tuple[int, ...]
    dst: tuple[int, ...]
    kernel: tuple[int, ...]
    group: int
    strides: tuple[int, ...]
    dilation: tuple[int, ...]
    pads: tuple[int, ...]  # before
    pointwise: Pointwise | None = None
    relu: bool = False
    bias: Value | None = None
    summand: Value | None = None
    low: float = -inf
    high: float = inf
    gate: Value | None = None  # where it is not positive, the result is 0

    @property
    def label(self) -> str:
        return "+".join(self.labels)

    @property
    def tail(self) -> tuple[Value, ...]:
        """Operands of what follows."""
        return tuple(v for v in (self.bias, self.summand, self.gate) if v is not None)

    @property
    def is_bounded(self) -> bool:
        return (self.low, self.high) != (-inf, inf)

    def followed_by(self, label: str, nodes: tuple[Node, ...], **tail: Any) -> Convolution:
        labels, longer = (*self.labels, label), (*self.nodes, *nodes)
        return replace(self, nodes=longer, labels=labels, result=nodes[-1].out, **tail)

    def spec(self, packed: bool) -> str:
        """All but the first token of the text that the native side reads."""
        return f"{self._convolution(packed)} {self._tail()}"

    def separable_spec(self) -> str:
        """The same for the convolution with the pointwise one after it."""
        assert self.pointwise is not None
        return f"columns={self.pointwise.columns} {self._tail()} depthwise: {self._convolution(packed=True)}"

    def _convolution(self, packed: bool) -> str:
        names = ("src", "dst", "kernel", "strides", "dilation", "pads")
        sizes = [f"{name}={'x'.join(map(str, getattr(self, name)))}" for name in names]
        return " ".join([*sizes, f"group={self.group} relu={int(self.relu)} packed={int(packed)}"])

    def _tail(self) -> str:
        flags = f"bias={int(self.bias is not None)} add={int(self.summand is not None)}"
        flags += " gate=1" if self.gate is not None else ""
        return f"{flags} low={self.low!r} high={self.high!r}"


def plan(node: Node) -> Convolution | Unsupported:
    """``node``, a ``conv_general_dilated``, as the kernels see it."""
    refusal = _refusal(node)
    if refusal is not None:
        return refusal
    lhs, rhs = node.inputs
    out_axis, in_axis, *spatial = node.params["dimension_numbers"].rhs_spec
    flat = [1] * (4 - lhs.ndim)  # dimensions that are missing
    pads = [int(low) for low, _ in node.params["padding"]]
    return Convolution(
        nodes=(node,),
        labels=("conv",),
        result=node.out,
        source=lhs,
        weights=rhs,
        weights_axes=(*spatial, in_axis, out_axis),
        src=(lhs.shape[0], *flat, *lhs.shape[1:]),
        dst=(node.out.shape[0], *flat, *node.out.shape[1:]),
        kernel=(*flat, *(rhs.shape[axis] for axis in spatial)),
        group=rhs.shape[in_axis],
        strides=(*flat, *_numbers(node, "window_strides")),
        dilation=(*flat, *_numbers(node, "rhs_dilation")),
        pads=(*(0 for _ in flat), *pads),
    )


def pointwise(node: Node, conv: Convolution) -> Pointwise | None:
    """``node``, which reads ``conv``'s result, as a convolution without extent; None if it is none."""
    if node.op != "conv_general_dilated" or node.inputs[0] is not conv.result or refused_arrays(node) is not None:
        return None
    rhs = node.inputs[1]
    lhs_spec, (out_axis, in_axis, *spatial), out_spec = node.params["dimension_numbers"]
    last = (0, conv.result.ndim - 1, *range(1, conv.result.ndim - 1))
    whole = {name: all(n == 1 for n in _numbers(node, name)) for name in ("window_strides", "lhs_dilation")}
    groups = int(node.params["feature_group_count"]) * int(node.params["batch_group_count"])
    if tuple(lhs_spec) != last or tuple(out_spec) != last or groups != 1 or not all(whole.values()):
        return None
    if any(rhs.shape[a] != 1 for a in spatial) or any(int(n) for pair in node.params["padding"] for n in pair):
        return None
    return Pointwise(rhs, (in_axis, out_axis, *spatial), rhs.shape[out_axis])


def _refusal(node: Node) -> Unsupported | None:
    lhs, rhs = node.inputs
    refusal = refused_arrays(node)
    if refusal is not None:
        return refusal
    if lhs.ndim not in (3, 4):
        return Unsupported(f"the kernels have 1 or 2 spatial dimensions, got {lhs.ndim - 2}")
    lhs_spec, rhs_spec, out_spec = node.params["dimension_numbers"]
    last = (0, lhs.ndim - 1, *range(1, lhs.ndim - 1))
    if tuple(lhs_spec) != last or tuple(out_spec) != last:
        return Unsupported("the kernels take and give arrays with the batch first and the channels last")
    channel_groups, batch_groups = (int(node.params[f"{of}_group_count"]) for of in ("feature", "batch"))
    if batch_groups != 1:
        return Unsupported(f"the kernels are for groups of channels, got {batch_groups} groups of the batch")
    if channel_groups == 1:
        return Unsupported("the kernels are for convolutions in groups, got one group with all channels")
    if lhs.shape[-1] != node.out.shape[-1]:
        return Unsupported(f"a group must have as many channels out as in, got {lhs.shape[-1]} to {node.out.shape[-1]}")
    group = rhs.shape[rhs_spec[1]]
    if group not in GROUPS and group % GROUPS[-1]:
        return Unsupported(f"a group has {GROUPS} channels or a multiple of {GROUPS[-1]}, got {group}")
    if any(n != 1 for n in _numbers(node, "lhs_dilation")):
        return Unsupported("the kernels have no transposed convolutions")
    if any(int(n) < 0 for pair in node.params["padding"] for n in pair):
        return Unsupported(f"the kernels cut nothing off the source, got padding {node.params['padding']}")
    return None


def _numbers(node: Node, name: str) -> Sequence[int]:
    return [int(n) for n in node.params[name]]
