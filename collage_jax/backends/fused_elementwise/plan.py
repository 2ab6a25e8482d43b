"""A region as one pass over its result: what is read for an element, and what is computed of it.

Results are those of the operations one by one, rounded as IEEE 754 has it: bit for bit the same, where XLA does not
contract a product and a sum.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import isnan
from typing import NamedTuple

import numpy as np

from ...graph.ir import Constant, Node, Value
from ...graph.region import Region
from ..base import Unsupported
from .maps import Axis, Map, identity, linear, through

#: What the kernels can keep (``csrc/kernels/elementwise/kernels.h``).
MOST_INSTRUCTIONS, MOST_READS, MOST_DIMS = 32, 16, 12

#: The kernels' names of operations on numbers, by that of the primitive or composite.
NAMES = {
    "add": "add", "add_any": "add", "sub": "sub", "mul": "mul", "div": "div", "max": "max", "min": "min",
    "neg": "neg", "abs": "abs", "sqrt": "sqrt",
}  # fmt: skip

#: Comparisons; with True for one that is another with its operands exchanged.
COMPARISONS = {"gt": ("gt", False), "ge": ("ge", False), "lt": ("gt", True), "le": ("ge", True),
               "eq": ("eq", False), "ne": ("ne", False)}  # fmt: skip


class Refused(Exception):
    """What the kernels cannot do, in words for the placement report."""


@dataclass(frozen=True, eq=False)
class Pass:
    """``spec`` is the text that the native side reads, ``reads`` what it reads, in order."""

    spec: str
    reads: tuple[Value, ...]


def plan(region: Region) -> tuple[Pass, ...] | Unsupported:
    """All of ``region`` as a pass for each exit, or why it is none.

    There are several exits where an array is split: what is computed of it is then computed once all the same.
    """
    last = region.nodes[-1]
    if set(region.exits) - set(last.outputs):
        return Unsupported(f"values inside are used outside: {', '.join(map(repr, region.exits))}")
    try:
        return tuple(_Planner(region, result).plan() for result in region.exits)
    except Refused as reason:
        return Unsupported(str(reason))


class _Planner:
    def __init__(self, region: Region, result: Value) -> None:
        self._result = result
        self._makers = {v: node for node in region.nodes for v in node.outputs}
        for value in (*region.entries, self._result):
            if value.dtype != np.float32:
                raise Refused(f"the kernels take float32, got {value.dtype}")
            if not all(isinstance(n, int) and n > 0 for n in value.shape):
                raise Refused(f"arrays have fixed sizes and are not empty, got {list(value.shape)}")
        self._code: list[str] = []
        self._places: dict[object, int] = {}
        self._reads: list[tuple[Value, int, tuple[int, ...]]] = []
        self._ndim = 0

    def plan(self) -> Pass:
        computed, config, fill = self._result, [(0, 0, 0)] * self._result.ndim, 0.0
        root = self._makers[self._result]
        if root.op == "pad":
            computed, config, fill = root.inputs[0], root.params["padding_config"], _number(root.inputs[1])
            if any(low < 0 or high < 0 for low, high, _ in config):
                raise Refused("negative padding cuts off")
        self._ndim = computed.ndim
        if self._place(computed, identity(computed.ndim)) + 1 != len(self._code):
            raise Refused("what is made is made on the way to it")
        if len(self._code) > MOST_INSTRUCTIONS or len(self._reads) > MOST_READS:
            raise Refused(f"it is longer than {MOST_INSTRUCTIONS} instructions on {MOST_READS} arrays")
        around = enumerate(zip(computed.shape, self._result.shape, config, strict=True))
        extents = _merged(
            _Extent(size, whole, low, 1 + inner, tuple(by[axis] for _, _, by in self._reads))
            for axis, (size, whole, (low, _, inner)) in around
        ) or [_Extent(1, 1, 0, 1, (0,) * len(self._reads))]
        if len(extents) > MOST_DIMS:
            raise Refused(f"{len(extents)} dimensions are more than {MOST_DIMS}")
        return Pass(self._spec(extents, fill), tuple(value for value, _, _ in self._reads))

    def _spec(self, extents: Sequence[_Extent], fill: float) -> str:
        sizes, shape = _joined(e.size for e in extents), _joined(e.whole for e in extents)
        words = [f"op=elementwise dims={len(extents)} sizes={sizes} shape={shape}"]
        if sizes != shape:
            low, gap = _joined(e.low for e in extents), _joined(e.gap for e in extents)
            words.append(f"low={low} gap={gap} fill={fill!r}")
        words.append(f"reads={len(self._reads)}")
        for i, (value, offset, _) in enumerate(self._reads):
            words.append(f"of{i}={value.size} at{i}={offset} by{i}={_joined(e.strides[i] for e in extents)}")
        return " ".join([*words, f"code={','.join(self._code)}"])

    def _place(self, value: Value, where: Map) -> int:
        """Which instruction makes the elements of ``value`` at ``where``."""
        if isinstance(value, Constant):
            return self._instruction(f"n{_number(value)!r}")
        node = self._makers.get(value)
        if node is None:
            return self._read(value, where)
        known = (value, where)
        if known not in self._places:
            moved = through(node, value, where)
            self._places[known] = self._computed(node, where) if moved is None else self._place(node.inputs[0], moved)
        return self._places[known]

    def _computed(self, node: Node, where: Map) -> int:
        if len(node.outputs) != 1:
            raise Refused(f"there is no kernel for {node.op}")
        if node.op == "select_n" and len(node.inputs) == 3:
            which, otherwise, then = node.inputs
            if which.dtype != np.bool_ or self._makers.get(which) is None:
                raise Refused("a selection goes by a comparison beside it")
            return self._operation("select", (which, then, otherwise), where)
        if node.op in COMPARISONS:
            name, is_turned = COMPARISONS[node.op]
            return self._operation(name, node.inputs[::-1] if is_turned else node.inputs, where)
        if node.out.dtype != np.float32:
            raise Refused(f"{node.op} makes {node.out.dtype}")
        if node.op in NAMES:
            return self._operation(NAMES[node.op], node.inputs, where)
        if node.op == "relu":
            zero = self._instruction("n0.0")
            return self._instruction(f"max:{self._place(node.inputs[0], where)}:{zero}")
        if node.op == "square" or (node.op == "integer_pow" and node.params["y"] == 2):
            place = self._place(node.inputs[0], where)
            return self._instruction(f"mul:{place}:{place}")
        raise Refused(f"there is no kernel for {node.op}")

    def _operation(self, name: str, operands: Sequence[Value], where: Map) -> int:
        """``where`` of the result; operands may have a size of 1 where that is larger."""
        places = [self._place(v, _spread(v, where) if v.ndim else ()) for v in operands]
        return self._instruction(":".join([name, *map(str, places)]))

    def _read(self, value: Value, where: Map) -> int:
        offset, strides = linear(where, value.shape, self._ndim)
        known = (value, offset, strides)
        if known not in self._reads:
            self._reads.append(known)
        return self._instruction(f"r{self._reads.index(known)}")

    def _instruction(self, text: str) -> int:
        if text not in self._code:
            self._code.append(text)
        return self._code.index(text)


def _spread(value: Value, where: Map) -> Map:
    if len(where) != value.ndim:
        raise Refused(f"{value} has other axes than what is computed of it")
    return tuple(Axis(None, 0, 0) if n == 1 else axis for n, axis in zip(value.shape, where, strict=True))


class _Extent(NamedTuple):
    """Along one axis: what is computed, the result, where the first is in it and how far the next, all strides."""

    size: int
    whole: int
    low: int
    gap: int
    strides: tuple[int, ...]


def _merged(extents: Iterable[_Extent]) -> list[_Extent]:
    """``extents`` without those of size 1, neighbours as one where all arrays have them in one piece."""
    kept: list[_Extent] = []
    for inner in extents:
        if inner.whole == 1:
            continue
        if kept and _are_one(kept[-1], inner):
            size, whole, low = (n * inner.size for n in kept[-1][:3])
            kept[-1] = _Extent(size, whole, low, 1, inner.strides)
        else:
            kept.append(inner)
    return kept


def _are_one(outer: _Extent, inner: _Extent) -> bool:
    pairs = zip(outer.strides, inner.strides, strict=True)
    return inner.size == inner.whole and outer.gap == 1 and all(far == near * inner.size for far, near in pairs)


def _number(value: Value) -> float:
    """A number of the program."""
    if not isinstance(value, Constant) or value.dtype != np.float32 or value.shape:
        raise Refused(f"a number of the program in float32 is needed, got {value}")
    number = float(np.asarray(value.val, np.float32))
    if isnan(number):
        raise Refused("a number of the program is NaN")
    return number


def _joined(numbers: Iterable[int]) -> str:
    return "x".join(map(str, numbers))
