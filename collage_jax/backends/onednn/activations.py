"""Which functions of one number the library knows, primitives and composites alike."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import inf, isfinite
from typing import Any

from ...graph.ir import Node

#: Algorithm and its two parameters.
Eltwise = tuple[str, float, float]


def number(value: float) -> str:
    """A number as the spec writes it."""
    return repr(float(value))


def text(eltwise: Eltwise) -> str:
    """``eltwise`` as a post-op writes it."""
    algorithm, alpha, beta = eltwise
    return f"{algorithm}:{number(alpha)}:{number(beta)}"


def _clip(params: Mapping[str, Any]) -> Eltwise:
    low, high = params.get("min"), params.get("max")
    return "clip", -inf if low is None else float(low), inf if high is None else float(high)


_FUNCTIONS: dict[str, Callable[[Mapping[str, Any]], Eltwise]] = {
    "tanh": lambda p: ("tanh", 0, 0),
    "logistic": lambda p: ("logistic", 0, 0),
    "exp": lambda p: ("exp", 0, 0),
    "log": lambda p: ("log", 0, 0),
    "sqrt": lambda p: ("sqrt", 0, 0),
    "rsqrt": lambda p: ("pow", 1, -0.5),
    "abs": lambda p: ("abs", 0, 0),
    "neg": lambda p: ("linear", -1, 0),
    "square": lambda p: ("square", 0, 0),
    "integer_pow": lambda p: ("square", 0, 0) if p["y"] == 2 else ("pow", 1, float(p["y"])),
    "relu": lambda p: ("relu", 0, 0),
    "relu6": lambda p: ("clip", 0, 6),
    "clip": _clip,
    "leaky_relu": lambda p: ("relu", float(p["alpha"]), 0),
    "elu": lambda p: ("elu", float(p["alpha"]), 0),
    "gelu": lambda p: ("gelu_tanh" if p["approximate"] else "gelu_erf", 0, 0),
    "silu": lambda p: ("swish", 1, 0),
    "sigmoid": lambda p: ("logistic", 0, 0),
    "hard_sigmoid": lambda p: ("hardsigmoid", 1 / 6, 0.5),
    "hard_swish": lambda p: ("hardswish", 1 / 6, 0.5),
}


def activation(node: Node) -> Eltwise | None:
    """The library's name for a node with one operand, or None."""
    if len(node.inputs) != 1 or len(node.outputs) != 1 or node.op not in _FUNCTIONS:
        return None
    if node.params.get("accuracy") is not None:  # a demand on rounding that the library knows nothing of
        return None
    return _FUNCTIONS[node.op](node.params)


def with_scalar(op: str, scalar: float, scalar_first: bool) -> Eltwise | None:
    """The library's name for ``op`` of a tensor and a number of the program, or None."""
    if op == "max":
        return ("relu", 0, 0) if scalar == 0 else ("clip", scalar, inf)
    if op == "min":
        return "clip", -inf, scalar
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
    if op == "pow" and not scalar_first:
        return "pow", 1, scalar
    return None
