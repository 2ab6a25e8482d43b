"""Value numbering: two values with the same number are equal because they are computed alike.

A traced program repeats itself (``jnp.var`` computes the mean again), so a pattern that needs one value in two places
compares numbers, not identity.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import TypeAlias

import numpy as np

from ..graph.ir import Constant, Graph, Node, Value

Numbers: TypeAlias = dict[Value, int]


def number_values(graph: Graph) -> Numbers:
    """A number for every value that a node makes."""
    numbers: Numbers = {}
    known: dict[Hashable, int] = {}
    for node in graph.nodes:
        key = _key(node, tuple(_operand(numbers, v) for v in node.inputs))
        for place, value in enumerate(node.outputs):
            fresh = len(numbers)
            numbers[value] = fresh if key is None else known.setdefault((key, place), fresh)
    return numbers


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
    key = node.op, inputs, tuple(sorted(node.params.items(), key=lambda item: item[0]))
    try:
        hash(key)
    except TypeError:
        return None
    return key
