"""A product of matrices as cuBLASLt sees it, with what is fused to it.

    rows x depth times depth x columns, for each of a batch; then scale, summand, bias and activation, in this order

The library thinks in columns: what JAX calls a row-major matrix is the transposed one there. So the product that it is
asked for is D = A B with A the right operand and B the left one, and a bias along JAX's last axis lies along D's first,
as the library has it. *swapped*: the left operand is A, which gives JAX's result transposed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

from ...graph.ir import Node, Value

#: Data types by JAX's name, as the native side writes them.
DTYPES = {"float16": "f16", "bfloat16": "bf16", "float32": "f32", "float64": "f64"}


@dataclass(frozen=True, eq=False)
class Lying:
    """How a stack of matrices lies in memory, in elements.

    ``leading`` is from one line to the next, ``stride`` from one matrix to the next. ``free_fastest``: a line is along
    the axes that stay in the result, not along those that are summed over.
    """

    free_fastest: bool
    leading: int
    stride: int


@dataclass(frozen=True, eq=False)
class Operand:
    """``make`` of ``value``, or itself; ``nodes`` were looked through."""

    value: Value
    lying: Lying
    nodes: tuple[Node, ...] = ()
    make: Callable[[Any], Any] | None = None


@dataclass(frozen=True, eq=False)
class Gradient:
    """The sum over ``depth`` of the left operand, or of the right one, that ``node`` makes; of a bias, in training."""

    node: Node
    of_left: bool


@dataclass(frozen=True, eq=False)
class Product:
    """``anchor`` with what is around it in ``nodes``; the last of what follows makes ``result``.

    ``sizes`` are rows, columns, depth and batch. ``compute`` is "f32", "tf32" or "f64".
    """

    anchor: Node
    nodes: tuple[Node, ...]
    labels: tuple[str, ...]
    result: Value
    left: Operand
    right: Operand
    sizes: tuple[int, int, int, int]
    compute: str
    swapped: bool
    leading: int
    stride: int
    alpha: float = 1.0
    beta: float = 0.0
    summand: Value | None = None
    bias: Value | None = None
    activation: str | None = None
    gradient: Gradient | None = None

    @property
    def label(self) -> str:
        return "+".join(self.labels)

    @property
    def is_bare(self) -> bool:
        """Nothing is done to the product but to lay it out."""
        return (self.alpha, self.beta, self.bias, self.activation, self.gradient) == (1.0, 0.0, None, None, None)

    @property
    def line(self) -> int:
        """Elements that lie together in the result; a bias has as many."""
        rows, columns, *_ = self.sizes
        return rows if self.swapped else columns

    @property
    def exits(self) -> tuple[Value, ...]:
        """In the order in which the library writes them."""
        return (self.result,) if self.gradient is None else (self.result, self.gradient.node.out)

    @property
    def operands(self) -> tuple[tuple[Value, Callable[[Any], Any] | None], ...]:
        """In the order of the call, each with what makes it of its value, None for the value itself."""
        sides = [(side.value, side.make) for side in self._sides]
        return (*sides, *((value, None) for value in (self.summand, self.bias) if value is not None))

    def followed_by(self, label: str, nodes: tuple[Node, ...], **tail: Any) -> Product:
        labels, longer = (*self.labels, label), (*self.nodes, *nodes)
        return replace(self, nodes=longer, labels=labels, result=nodes[-1].out, **tail)

    def spec(self, rank: int, workspace: int) -> str:
        """The text that the native side reads."""
        rows, columns, depth, batch = self.sizes
        a, b = (side.lying for side in self._sides)
        line = self.line
        tokens = {
            "operand": DTYPES[str(self.left.value.dtype)],
            "result": DTYPES[str(self.result.dtype)],
            "compute": self.compute,
            "sizes": _times((line, rows * columns // line, depth, batch)),
            "a": _times((int(not a.free_fastest), a.leading, a.stride)),
            "b": _times((int(b.free_fastest), b.leading, b.stride)),
            "d": _times((self.leading, self.stride)),
            "alpha": repr(self.alpha),
            "beta": repr(self.beta),
            "epilogue": self._epilogue,
            "rank": rank,
            "workspace": workspace,
        }
        return " ".join(f"{key}={value}" for key, value in tokens.items())

    @property
    def _sides(self) -> tuple[Operand, Operand]:
        return (self.left, self.right) if self.swapped else (self.right, self.left)

    @property
    def _epilogue(self) -> str:
        if self.gradient is not None:
            return "bgrada" if self.gradient.of_left == self.swapped else "bgradb"
        parts = (self.activation, "bias" if self.bias is not None else None)
        return "_".join(filter(None, parts)) or "default"


def _times(numbers: Iterable[int]) -> str:
    return "x".join(map(str, numbers))
