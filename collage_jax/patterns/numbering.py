"""Value numbering: two values with the same number are equal because they are computed alike.

A traced program repeats itself (``jnp.var`` computes the mean again), so a pattern that needs one value in two places
compares numbers, not identity.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from typing import TypeAlias

import numpy as np

from ..graph.ir import Constant, Graph, Node, Value
from ..graph.simplify import is_free
from .language import COMMUTATIVE

Numbers: TypeAlias = dict[Value, int]


def number_values(graph: Graph) -> Numbers:
    """A number for every value that a node makes."""
    numbering = Numbering()
    numbering.add(graph.nodes)
    return numbering.numbers


class Numbering:
    """``numbers`` of the values that the nodes added so far make."""

    def __init__(self) -> None:
        self.numbers: Numbers = {}
        self._known: dict[Hashable, int] = {}
        self._count = 0

    def add(self, nodes: Iterable[Node]) -> None:
        """Number what ``nodes`` make; they follow what makes their operands."""
        for node in nodes:
            key = _key(node, tuple(self.number(v) for v in node.inputs))
            for place, value in enumerate(node.outputs):
                self._count += 1
                fresh = self._count
                self.numbers[value] = fresh if key is None else self._known.setdefault((key, place), fresh)

    def number(self, value: Value) -> Hashable:
        """Equal for values that are sure to be equal."""
        return _operand(self.numbers, value)


def same_value(numbers: Numbers, a: Value, b: Value) -> bool:
    """True if ``a`` and ``b`` are sure to be equal."""
    return a is b or _operand(numbers, a) == _operand(numbers, b)


def _operand(numbers: Numbers, value: Value) -> Hashable:
    """What stands for ``value``: its number, a constant's bits, or the value itself."""
    if isinstance(value, Constant):
        array = np.asarray(value.val)
        return str(value.dtype), value.shape, array.tobytes()
    return numbers.get(value, value)


def _key(node: Node, inputs: tuple[Hashable, ...]) -> Hashable | None:
    """What makes two nodes compute the same; None if nothing does."""
    if node.barrier or node.subgraphs:
        return None
    operands = frozenset(inputs) if node.op in COMMUTATIVE else inputs
    params = ((name, value) for name, value in node.params.items() if name != "sharding" or not is_free(value))
    key = node.op, operands, tuple(sorted(params, key=lambda item: item[0]))
    try:
        hash(key)
    except TypeError:
        return None
    return key
