"""A matrix product as the kernels see it, with what is fused to it.

The left operand holds a row of the product at each of several places at regular distances, which makes a convolution
without extent a product too, whatever its strides; or it holds columns one after the other, as the gradient of weights
has it. The right operand is the weights.

Errors. At most 256 products are summed in a row, and then those sums: relative to the largest result, on normal numbers
and for sums of up to 2048 products, below 1e-6.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from math import inf
from typing import Any

from ...graph.ir import Node, Value

#: Dimensions that rows may lie along, at most.
DIMENSIONS = 4


@dataclass(frozen=True, eq=False)
class Weights:
    """The right operand as a dense matrix: ``make`` of it, or itself; element (k, n) is at k * row + n * column."""

    value: Value
    row: int
    column: int
    make: Callable[[Any], Any] | None = None


@dataclass(frozen=True, eq=False)
class Product:
    """A product with what follows it.

    In this order: ``scale``, ``bias``, ``floor``, ``summand``, ``low``, ``high``, ``gate``. Where ``gate`` is not
    positive, the result is 0.
    """

    nodes: tuple[Node, ...]
    labels: tuple[str, ...]
    result: Value
    source: Value
    weights: Weights
    sizes: tuple[int, int, int]  # rows, products in a sum, columns
    rows: tuple[tuple[int, int], ...]  # size and distance of each dimension that rows lie along, the last the fastest
    across: int = 1  # from one number of a row to the next
    scale: float = 1.0
    bias: Value | None = None
    floor: float = -inf
    summand: Value | None = None
    low: float = -inf
    high: float = inf
    gate: Value | None = None

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

    def followed_by(self, label: str, nodes: tuple[Node, ...], **tail: Any) -> Product:
        labels, longer = (*self.labels, label), (*self.nodes, *nodes)
        return replace(self, nodes=longer, labels=labels, result=nodes[-1].out, **tail)

    def spec(self, packed: bool) -> str:
        """All but the first token of the text that the native side reads."""
        rows = [(1, 0)] * (DIMENSIONS - len(self.rows)) + list(self.rows)
        tokens = {
            "sizes": _times(self.sizes),
            "rows": _times(size for size, _ in rows),
            "steps": _times(step for _, step in rows),
            "source": self.source.size,
            **({"across": self.across} if self.across != 1 else {}),
            "weights": _times((self.weights.row, self.weights.column)),
            "bias": int(self.bias is not None),
            "add": int(self.summand is not None),
            **({"gate": 1} if self.gate is not None else {}),
            **{name: repr(getattr(self, name)) for name in ("scale", "floor", "low", "high")},
            "packed": int(packed),
        }
        return " ".join(f"{key}={value}" for key, value in tokens.items())


def _times(numbers: Iterable[int]) -> str:
    return "x".join(map(str, numbers))
