"""Which operations are gradients of pooling, and how the kernels see them.

The derivative of a maximum over windows is ``select_and_scatter_add``: to the largest of each window goes what the
window's own gradient is. That of a sum over windows is the gradient of the result with zeros around it and, as wide as
the strides were, between its elements, summed over windows in turn: each gradient goes to all places of its window.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Any

import numpy as np

from ...graph.ir import Constant, Graph, Node, Value
from ...graph.origins import Inside
from ..base import Unsupported

SELECTED, SUMMED = "select_and_scatter_add", "reduce_window_sum"
ANCHORS = frozenset({SELECTED, SUMMED})

#: JAX's comparisons by which a window chooses.
CHOICES = {"ge": "max", "le": "min"}

MOST_DIMENSIONS = 3


@dataclass(frozen=True, eq=False)
class Windows:
    """The gradient of a pooling: ``operands`` are that of its result, then what was pooled if that matters.

    ``window``, ``strides`` and the padding before, ``low``, are those of the pooling, for each dimension.
    """

    nodes: tuple[Node, ...]
    result: Value
    operands: tuple[Value, ...]
    op: str
    window: tuple[int, ...]
    strides: tuple[int, ...]
    low: tuple[int, ...]

    @property
    def label(self) -> str:
        return "pool gradient"

    @property
    def worked(self) -> range:
        """The dimensions that windows go over, and those between."""
        gradient, ones = self.operands[0], (1, 1, 0)
        sizes = zip(self.window, self.strides, self.low, gradient.shape, self.result.shape, strict=True)
        axes = [a for a, (*window, before, after) in enumerate(sizes) if tuple(window) != ones or before != after]
        return range(axes[0], axes[-1] + 1) if axes else range(0)

    @property
    def text(self) -> str:
        """What the native side reads."""
        gradient, axes = self.operands[0], self.worked
        tokens = {
            "op": self.op,
            "outer": prod(gradient.shape[: axes.start]),
            "size": _three(self.result.shape[a] for a in axes),
            "result": _three(gradient.shape[a] for a in axes),
            "window": _three(self.window[a] for a in axes),
            "strides": _three(self.strides[a] for a in axes),
            "low": _three((self.low[a] for a in axes), 0),
            "inner": prod(gradient.shape[axes.stop :]),
        }
        return " ".join(f"{key}={value}" for key, value in tokens.items())


def plan(node: Node) -> Windows | Unsupported:
    """``node`` as the kernels see it."""
    work = _selected(node) if node.op == SELECTED else _summed(node)
    return work if isinstance(work, Unsupported) else _checked(work)


def with_zeros(graph: Graph, work: Windows, inside: Inside) -> Windows | None:
    """``work``, a sum, with the zeros around and between what it sums, if something puts them there."""
    pad = graph.producer.get(work.operands[0])
    if work.op != "sum" or pad is None or pad.op != "pad" or not inside(pad):
        return None
    filler = pad.inputs[1]
    if isinstance(pad.inputs[0], Constant) or not (isinstance(filler, Constant) and filler.val == 0):
        return None
    if any(int(low) < 0 or int(high) < 0 for low, high, _ in pad.params["padding_config"]):
        return None  # what is cut off goes nowhere
    config = [(int(low), int(gap) + 1) for low, _, gap in pad.params["padding_config"]]
    padded = replace(
        work,
        nodes=(pad, *work.nodes),
        operands=(pad.inputs[0],),
        strides=tuple(stride for _, stride in config),
        low=tuple(before - low for before, (low, _) in zip(work.low, config, strict=True)),
    )
    found = _checked(padded)
    return None if isinstance(found, Unsupported) else found


def is_gradient(nodes: Sequence[Node]) -> bool:
    """False for a sum over windows by itself, which is a pooling."""
    return len(nodes) > 1 or nodes[0].op != SUMMED


def _checked(work: Windows) -> Windows | Unsupported:
    operands = work.operands
    if any(isinstance(v, Constant) for v in operands) or any(v.dtype != np.float32 for v in operands):
        return Unsupported(f"the kernels take float32 arrays, got {', '.join(str(v.dtype) for v in operands)}")
    gradient, axes = operands[0], work.worked
    if gradient.size == 0 or work.result.size == 0:
        return Unsupported(f"an array is empty: {gradient.shape} giving {work.result.shape}")
    if not axes:
        return Unsupported("no window has more than one place")
    if len(axes) > MOST_DIMENSIONS:
        return Unsupported(f"the kernels work on {MOST_DIMENSIONS} neighbouring dimensions, got {list(axes)}")
    if axes.stop == gradient.ndim:
        return Unsupported("the kernels work on many channels at a time, which must come last")
    if min(work.low) < 0:
        return Unsupported(f"padding must not be negative, got {work.low} before")
    return work


def _selected(node: Node) -> Windows | Unsupported:
    params = node.params
    op = CHOICES.get(params["select_prim"].name)
    if op is None:
        return Unsupported(f"windows choose by ge or le, got {params['select_prim'].name}")
    low = tuple(int(before) for before, _ in params["padding"])
    window, strides = _numbers(params["window_dimensions"]), _numbers(params["window_strides"])
    return Windows((node,), node.out, node.inputs, op, window, strides, low)


def _summed(node: Node) -> Windows | Unsupported:
    params = node.params
    ones = (1,) * node.inputs[0].ndim
    for what in ("window_strides", "window_dilation", "base_dilation"):
        if _numbers(params.get(what) or ones) != ones:
            return Unsupported(f"the gradient of a sum has windows next to each other and without gaps, got {what}")
    window = _numbers(params["window_dimensions"])
    low = tuple(k - 1 - int(before) for k, (before, _) in zip(window, params["padding"], strict=True))
    return Windows((node,), node.out, node.inputs, "sum", window, ones, low)


def _numbers(sizes: Iterable[Any]) -> tuple[int, ...]:
    return tuple(int(n) for n in sizes)


def _three(sizes: Iterable[Any], filler: int = 1) -> str:
    found = _numbers(sizes)
    return "x".join(map(str, (*[filler] * (MOST_DIMENSIONS - len(found)), *found)))
