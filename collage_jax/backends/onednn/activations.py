"""Which functions of one number the library knows, primitives and composites alike.

The library computes with the processor's maximum and minimum, which drop NaN: its ``relu`` of NaN is 0, its ``clip`` of
NaN a bound. JAX keeps NaN, so those are not used. At the end of a call, bounds are a pass of our own over the result,
still in cache (*finish*). A ReLU with more behind it is made of ELU, x > 0 ? x : 0 * (exp(x) - 1), which is the same
number for every input, NaN and infinities included; its exponential costs up to a third of a light convolution. The
GELU by the error function is a finish too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import inf, isfinite, isnan
from typing import Any, Literal

from ...graph.ir import Node

#: Algorithm and its two parameters.
Eltwise = tuple[str, float, float]

RELU: Eltwise = ("elu", 0, 0)

#: Lower and upper bound of a finish.
Bounds = tuple[float, float]

#: The other finish.
Gelu = Literal["gelu"]

#: Operations that the library has, but not as JAX does: where a number is not finite, or the last three where it is
#: small. There it subtracts nearly equal numbers; its softplus can be negative.
INEXACT = frozenset(
    {"max", "min", "clamp", "clip", "relu6", "hard_sigmoid", "exp", "log", "rsqrt", "elu", "softplus", "mish"}
)


def bounds(node: Node, scalars: Sequence[float | None]) -> Bounds | None:
    """The bounds that ``node`` puts on its chain's value, ``scalars`` being its operands' values, or None."""
    known = [s for s in scalars if s is not None]
    if node.op == "relu":
        return 0.0, inf
    if node.op == "relu6":
        return 0.0, 6.0
    if node.op == "clip":
        return float(node.params["min"]), float(node.params["max"])
    if node.op == "clamp" and len(known) == 2:
        return known[0], known[1]
    if node.op in ("max", "min") and len(known) == 1 and not isnan(known[0]):
        return (known[0], inf) if node.op == "max" else (-inf, known[0])
    return None


def number(value: float) -> str:
    """A number as the spec writes it."""
    return repr(float(value))


def text(eltwise: Eltwise) -> str:
    """``eltwise`` as a post-op writes it."""
    algorithm, alpha, beta = eltwise
    return f"{algorithm}:{number(alpha)}:{number(beta)}"


_FUNCTIONS: dict[str, Callable[[Mapping[str, Any]], Eltwise]] = {
    "tanh": lambda p: ("tanh", 0, 0),
    "logistic": lambda p: ("logistic", 0, 0),
    "sqrt": lambda p: ("sqrt", 0, 0),
    "abs": lambda p: ("abs", 0, 0),
    "neg": lambda p: ("linear", -1, 0),
    "square": lambda p: ("square", 0, 0),
    "integer_pow": lambda p: ("square", 0, 0) if p["y"] == 2 else ("pow", 1, float(p["y"])),
    "leaky_relu": lambda p: ("relu", float(p["alpha"]), 0),
    "gelu": lambda p: ("gelu_tanh", 0, 0),
    "silu": lambda p: ("swish", 1, 0),
    "sigmoid": lambda p: ("logistic", 0, 0),
    "hard_swish": lambda p: ("hardswish", 1 / 6, 0.5),
}


def is_erf_gelu(node: Node) -> bool:
    """True for the GELU by the error function, of which the library makes NaN where it is infinite."""
    return node.op == "gelu" and not node.params["approximate"]


def activation(node: Node) -> Eltwise | None:
    """The library's name for a node with one operand, or None."""
    if len(node.inputs) != 1 or len(node.outputs) != 1 or node.op not in _FUNCTIONS:
        return None
    if node.params.get("accuracy") is not None:  # a demand on rounding that the library knows nothing of
        return None
    if is_erf_gelu(node):
        return None
    return _FUNCTIONS[node.op](node.params)


def with_scalar(op: str, scalar: float, scalar_first: bool) -> Eltwise | None:
    """The library's name for ``op`` of a tensor and a number of the program, or None."""
    if not isfinite(scalar):
        return None
    if op == "add":
        return "linear", 1, scalar
    if op == "mul":
        return "linear", scalar, 0
    if op == "sub":
        return ("linear", -1, scalar) if scalar_first else ("linear", 1, -scalar)
    if op == "div" and not scalar_first and scalar != 0 and isfinite(1 / scalar):
        return "linear", 1 / scalar, 0
    if op == "pow" and not scalar_first and scalar.is_integer():  # of 0.5 the library makes a root, NaN of -inf
        return "pow", 1, scalar
    return None
