"""Which operations work on rows, and how the kernels see them.

Errors. A row is summed in as many parts as a vector has lanes (8 or 16), and those one after the other: relative to the
largest result, on normal numbers and for up to 4096 columns, below 1e-6.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from ...graph.ir import Constant, Node, Value
from ..base import Unsupported


@dataclass(frozen=True, eq=False)
class Rows:
    """An operation on each row of ``source``; ``vectors`` have a number for each column."""

    nodes: tuple[Node, ...]
    result: Value
    source: Value
    vectors: tuple[Value, ...]
    text: str

    @property
    def label(self) -> str:
        return self.nodes[0].op

    def spec(self) -> str:
        """The text that the native side reads."""
        return self.text


def plan(node: Node) -> Rows | Unsupported:
    """``node`` as the kernels see it."""
    source = node.inputs[0]
    if isinstance(source, Constant) or any(v.dtype != np.float32 for v in (*node.inputs, node.out)):
        return Unsupported(f"the kernels take float32, got {', '.join(str(v.dtype) for v in node.inputs)}")
    if source.size == 0:
        return Unsupported(f"an array is empty: {source.shape}")
    axis = int(node.params["axis"])
    if axis != source.ndim - 1:
        return Unsupported(f"rows must lie along the last axis, got {axis} of {source.ndim} dimensions")
    columns = source.shape[axis]
    return ANCHORS[node.op](node, source.size // columns, columns)


def _softmax(node: Node, rows: int, columns: int) -> Rows | Unsupported:
    return Rows((node,), node.out, node.inputs[0], (), f"op=softmax rows={rows} columns={columns}")


def _layer_norm(node: Node, rows: int, columns: int) -> Rows | Unsupported:
    about = {"unbiased": node.params["unbiased"], "outside": node.params["epsilon_outside"]}
    return _norm(node, rows, columns, ("scale", "shift"), centred=True, **about)


def _rms_norm(node: Node, rows: int, columns: int) -> Rows | Unsupported:
    return _norm(node, rows, columns, ("scale",), centred=False, unbiased=False, outside=False)


def _norm(node: Node, rows: int, columns: int, names: Sequence[str], **flags: bool) -> Rows | Unsupported:
    there = [name for name in names if node.params[name]]
    vectors = node.inputs[1:]
    if len(vectors) != len(there) or any(isinstance(v, Constant) or v.size != columns for v in vectors):
        return Unsupported(f"{' and '.join(there)} of {columns} elements are needed, got {vectors}")
    if flags["unbiased"] and columns < 2:
        return Unsupported("an unbiased variance takes two columns or more")
    tokens = {name: int(flag) for name, flag in flags.items()}
    tokens |= {"scale": int("scale" in there), "shift": int("shift" in there)}
    text = " ".join(f"{key}={value}" for key, value in tokens.items())
    epsilon = repr(float(node.params["epsilon"]))
    whole = f"op=norm rows={rows} columns={columns} epsilon={epsilon} {text}"
    return Rows((node,), node.out, node.inputs[0], vectors, whole)


#: How to see a node as rows, by operation.
ANCHORS: dict[str, Callable[[Node, int, int], Rows | Unsupported]] = {
    "softmax": _softmax,
    "layer_norm": _layer_norm,
    "rms_norm": _rms_norm,
}
