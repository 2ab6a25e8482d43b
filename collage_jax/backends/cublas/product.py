"""A product of matrices as cuBLASLt sees it, with what is fused to it.

    rows x depth times depth x columns, for each of a batch; then scale, summand, bias and activation, or the gradient
    of an activation, in this order

The library thinks in columns: what JAX calls a row-major matrix is the transposed one there. So the product that it is
asked for is D = A B with A the right operand and B the left one, and a bias along JAX's last axis lies along D's first,
as the library has it. *swapped*: the left operand is A, which gives JAX's result transposed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal

import jax.numpy as jnp

from ...graph.ir import Node, Value

#: Data types by JAX's name, as the native side writes them.
DTYPES = {"float16": "f16", "bfloat16": "bf16", "float32": "f32", "float64": "f64"}

#: Lines of the bits that the gradient of a ReLU is told by begin at multiples of so many.
_BITS = 128


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
    """The sum that ``node`` makes, of a bias's gradient in training.

    Over the depth for the left operand or the right one; for the result over all but what is in its line.
    """

    node: Node
    of: Literal["left", "right", "result"]


@dataclass(frozen=True, eq=False)
class Product:
    """``anchor`` with what is around it in ``nodes``; the last of what follows makes ``result``.

    ``sizes`` are rows, columns, depth and batch. ``compute`` is "f32", "tf32" or "f64". ``activation`` is "relu" or
    "gelu", or the gradient of one, "drelu" or "dgelu". ``beside`` is what goes with it: for "drelu" an array that is
    positive where the gradient passes, for "dgelu" the GELU's operand, for "gelu" the same, where it is a result too.
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
    beside: Value | None = None
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
        gradient = () if self.gradient is None else (self.gradient.node.out,)
        return (self.result, *gradient, *(() if self._reads_beside or self.beside is None else (self.beside,)))

    @property
    def operands(self) -> tuple[tuple[Value, Callable[[Any], Any] | None], ...]:
        """In the order of the call, each with what makes it of its value, None for the value itself."""
        found = [(side.value, side.make) for side in self._sides]
        found += [(value, None) for value in (self.summand, self.bias) if value is not None]
        if self.beside is not None and self._reads_beside:
            bits = partial(bits_of, line=self.line) if self.activation == "drelu" else None
            found.append((self.beside, bits))
        return tuple(found)

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
            **({} if self.beside is None else {"aux": _times(self._distances_beside)}),
            "rank": rank,
            "workspace": workspace,
        }
        return " ".join(f"{key}={value}" for key, value in tokens.items())

    @property
    def _sides(self) -> tuple[Operand, Operand]:
        return (self.left, self.right) if self.swapped else (self.right, self.left)

    @property
    def _epilogue(self) -> str:
        if self.gradient is not None and self.gradient.of != "result":
            return "bgrada" if (self.gradient.of == "left") == self.swapped else "bgradb"
        aux = "aux" if self.beside is not None and not self._reads_beside else None
        vector = "bgrad" if self.gradient is not None else "bias" if self.bias is not None else None
        return "_".join(filter(None, (self.activation, aux, vector))) or "default"

    @property
    def _reads_beside(self) -> bool:
        return self.activation in ("drelu", "dgelu")

    @property
    def _distances_beside(self) -> tuple[int, int]:
        """From one line of ``beside`` to the next and from one matrix to the next; for "drelu" in bits."""
        if self.activation != "drelu":
            return self.leading, self.stride
        padded = self.line + -self.line % _BITS
        return self.leading // self.line * padded, self.stride // self.line * padded


def bits_of(array: Any, line: int) -> Any:
    """Where ``array`` is positive, as bits, the lowest of a byte first, lines filled up to multiples of ``_BITS``.

    NVIDIA's reference does not say in which order they are; its tests of nvmath-python read the library's own so
    (tests/nvmath_tests/linalg/advanced/matmul/test_epilog.py, ``verify_relu_bitmask``).
    """
    lines = jnp.pad(array.reshape(-1, line) > 0, ((0, 0), (0, -line % _BITS)))
    return jnp.packbits(lines, axis=-1, bitorder="little")


def _times(numbers: Iterable[int]) -> str:
    return "x".join(map(str, numbers))
