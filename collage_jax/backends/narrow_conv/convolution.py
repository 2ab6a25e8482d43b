"""Which convolutions can be run, and how the kernels see them.

Vectors of output channels would be nearly empty, so pixels are multiplied with the weights of all taps at once: a
matrix product with taps x channels columns, of which each result then adds up its own.

Errors. The products of a tap are summed 256 at a time, and then those sums and the taps, in float32: relative to the
largest result, on normal numbers and for windows of 3x3 with 512 channels, below 1e-6.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import inf
from typing import Any

from ...graph.ir import Node, Value
from ..base import Unsupported
from ..own_kernels import refused_arrays

#: Output channels.
MOST = 16


@dataclass(frozen=True, eq=False)
class Convolution:
    """A convolution with what follows it, in this order: ``bias``, ``low``, ``high``.

    In one dimension the height is 1.
    """

    nodes: tuple[Node, ...]
    labels: tuple[str, ...]
    result: Value
    source: Value
    weights: Value
    weights_axes: tuple[int, ...]  # that bring the weights into the order in, height, width, out
    src: tuple[int, ...]
    dst: tuple[int, ...]
    kernel: tuple[int, ...]
    dilation: tuple[int, ...]
    pads: tuple[int, ...]  # before
    bias: Value | None = None
    low: float = -inf
    high: float = inf

    @property
    def label(self) -> str:
        return "+".join(self.labels)

    @property
    def tail(self) -> tuple[Value, ...]:
        """Operands of what follows."""
        return () if self.bias is None else (self.bias,)

    @property
    def is_bounded(self) -> bool:
        return (self.low, self.high) != (-inf, inf)

    def followed_by(self, label: str, nodes: tuple[Node, ...], **tail: Any) -> Convolution:
        labels, longer = (*self.labels, label), (*self.nodes, *nodes)
        return replace(self, nodes=longer, labels=labels, result=nodes[-1].out, **tail)

    def spec(self, packed: bool) -> str:
        """All but the first token of the text that the native side reads."""
        names = ("src", "dst", "kernel", "dilation", "pads")
        sizes = [f"{name}={'x'.join(map(str, getattr(self, name)))}" for name in names]
        tail = f"bias={int(self.bias is not None)} low={self.low!r} high={self.high!r}"
        return " ".join([*sizes, tail, f"packed={int(packed)}"])


def plan(node: Node) -> Convolution | Unsupported:
    """``node``, a ``conv_general_dilated``, as the kernels see it."""
    refusal = _refusal(node)
    if refusal is not None:
        return refusal
    lhs, rhs = node.inputs
    out_axis, in_axis, *spatial = node.params["dimension_numbers"].rhs_spec
    flat = [1] * (4 - lhs.ndim)  # a dimension that is missing
    return Convolution(
        nodes=(node,),
        labels=("conv",),
        result=node.out,
        source=lhs,
        weights=rhs,
        weights_axes=(in_axis, *spatial, out_axis),
        src=(lhs.shape[0], *flat, *lhs.shape[1:]),
        dst=(node.out.shape[0], *flat, *node.out.shape[1:]),
        kernel=(*flat, *(rhs.shape[axis] for axis in spatial)),
        dilation=(*flat, *(int(n) for n in node.params["rhs_dilation"])),
        pads=(*(0 for _ in flat), *(int(low) for low, _ in node.params["padding"])),
    )


def _refusal(node: Node) -> Unsupported | None:
    lhs, rhs = node.inputs
    refusal = refused_arrays(node)
    if refusal is not None:
        return refusal
    if lhs.ndim not in (3, 4):
        return Unsupported(f"the kernels have 1 or 2 spatial dimensions, got {lhs.ndim - 2}")
    lhs_spec, (out_axis, _, *spatial), out_spec = node.params["dimension_numbers"]
    last = (0, lhs.ndim - 1, *range(1, lhs.ndim - 1))
    if tuple(lhs_spec) != last or tuple(out_spec) != last:
        return Unsupported("the kernels take and give arrays with the batch first and the channels last")
    if int(node.params["feature_group_count"]) != 1 or int(node.params["batch_group_count"]) != 1:
        return Unsupported("the kernels have no groups")
    if rhs.shape[out_axis] > MOST:
        return Unsupported(f"the kernels are for at most {MOST} output channels, got {rhs.shape[out_axis]}")
    if all(rhs.shape[axis] == 1 for axis in spatial):
        return Unsupported("a window of size 1 is a matrix product")
    for name in ("window_strides", "lhs_dilation"):
        if any(int(n) != 1 for n in node.params[name]):
            return Unsupported(f"the kernels slide by 1 over what is there, got {name} {node.params[name]}")
    return None
