"""Which operations work on rows, and how the kernels see them.

A gradient may be multiplied by a number and added to another array in the same pass.

Errors. A row is summed in as many parts as a vector has lanes (8 or 16), and those one after the other: relative to the
largest result, on normal numbers and for up to 4096 columns, below 1e-6. A gradient by a scale adds up 64 rows one
after the other, and then such sums.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from ...graph.ir import Constant, Node, Value
from ..base import Unsupported


@dataclass(frozen=True, eq=False)
class Rows:
    """An operation on each row of ``operands``, or with a number for each column if they are vectors.

    ``factor`` and ``added`` are of gradients by a source alone: what is made is ``factor`` times it, plus ``added``.
    """

    nodes: tuple[Node, ...]
    result: Value
    operands: tuple[Value, ...]
    text: str
    factor: float | None = None
    added: Value | None = None

    @property
    def label(self) -> str:
        more = [label for label, there in (("scale", self.factor), ("sum", self.added)) if there is not None]
        return "+".join((self.nodes[0].op, *more))

    @property
    def arrays(self) -> tuple[Value, ...]:
        """The operands in the order in which the kernels take them."""
        return self.operands if self.added is None else (*self.operands, self.added)

    def spec(self) -> str:
        """The text that the native side reads."""
        if self.nodes[0].op not in FOLLOWED:
            return self.text
        return f"{self.text} factor={1.0 if self.factor is None else self.factor!r} added={int(self.added is not None)}"


def plan(node: Node) -> Rows | Unsupported:
    """``node`` as the kernels see it."""
    source = node.inputs[0]
    if any(isinstance(v, Constant) or v.dtype != np.float32 for v in (*node.inputs, node.out)):
        return Unsupported(f"the kernels take float32, got {', '.join(str(v.dtype) for v in node.inputs)}")
    if source.size == 0:
        return Unsupported(f"an array is empty: {source.shape}")
    axis = int(node.params["axis"])
    if axis != source.ndim - 1:
        return Unsupported(f"rows must lie along the last axis, got {axis} of {source.ndim} dimensions")
    columns = source.shape[axis]
    return ANCHORS[node.op](node, source.size // columns, columns)


def _softmax(node: Node, rows: int, columns: int) -> Rows | Unsupported:
    return Rows((node,), node.out, node.inputs, f"op=softmax rows={rows} columns={columns}")


def _softmax_gradient(node: Node, rows: int, columns: int) -> Rows | Unsupported:
    return Rows((node,), node.out, node.inputs, f"op=softmax_gradient rows={rows} columns={columns}")


def _norm(op: str, names: Sequence[str], node: Node, rows: int, columns: int) -> Rows | Unsupported:
    """``names``: the vectors that ``op`` may take, in order, those of ``node`` after its source."""
    there = [name for name in names if node.params.get(name)]
    cotangents = int(node.op.endswith("gradient"))
    vectors = node.inputs[1 : len(node.inputs) - cotangents]
    if len(vectors) != len(there) or any(v.size != columns for v in vectors):
        return Unsupported(f"{' and '.join(there)} of {columns} elements are needed, got {vectors}")
    is_unbiased = node.params.get("unbiased", False)
    if is_unbiased and columns < 2:
        return Unsupported("an unbiased variance takes two columns or more")
    flags = {"centred": node.op.startswith("layer_norm"), "unbiased": is_unbiased}
    flags |= {"outside": node.params.get("epsilon_outside", False)} | {name: name in there for name in names}
    text = " ".join(f"{name}={int(flag)}" for name, flag in flags.items())
    whole = f"op={op} rows={rows} columns={columns} epsilon={float(node.params['epsilon'])!r} {text}"
    return Rows((node,), node.out, node.inputs, whole)


#: How to see a node as rows, by operation.
ANCHORS: dict[str, Callable[[Node, int, int], Rows | Unsupported]] = {
    "softmax": _softmax,
    "softmax_gradient": _softmax_gradient,
}
for _name in ("layer_norm", "rms_norm"):
    ANCHORS[_name] = partial(_norm, "norm", ("scale", "shift"))
    ANCHORS[f"{_name}_gradient"] = partial(_norm, "norm_gradient", ("scale",))
    ANCHORS[f"{_name}_scale_gradient"] = partial(_norm, "scale_gradient", ())

#: Those that take in what follows them.
FOLLOWED = frozenset({"softmax_gradient", "layer_norm_gradient", "rms_norm_gradient"})
