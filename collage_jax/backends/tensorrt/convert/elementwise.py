"""Operations on one element of each operand."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
from jax import lax

from ....graph.ir import Node
from ..tensors import FLOATS, Network, Refused, Tensor

#: Primitives of two operands that are one layer, and of which types: numbers, floating-point ones, truth values.
_BINARY = {
    "add": ("SUM", "numbers"),
    "add_any": ("SUM", "numbers"),
    "sub": ("SUB", "numbers"),
    "mul": ("PROD", "numbers"),
    "max": ("MAX", "numbers"),
    "min": ("MIN", "numbers"),
    "div": ("DIV", "floats"),
    "pow": ("POW", "floats"),
    "eq": ("EQUAL", "numbers"),
    "gt": ("GREATER", "numbers"),
    "lt": ("LESS", "numbers"),
    "and": ("AND", "truth"),
    "or": ("OR", "truth"),
    "xor": ("XOR", "truth"),
}

#: Primitives of one operand that are one layer.
_UNARY = {
    **{name: (name.upper(), "floats") for name in ("exp", "log", "sqrt", "sin", "cos", "tan", "sinh", "cosh", "erf")},
    **{name: (name.upper(), "floats") for name in ("asin", "acos", "atan", "asinh", "acosh", "atanh")},
    **{name: (name.upper(), "floats") for name in ("ceil", "floor")},
    **{name: (name.upper(), "numbers") for name in ("abs", "neg", "sign")},
    "not": ("NOT", "truth"),
}

_ARE = {
    "floats": (FLOATS, "floating-point numbers"),
    "numbers": (FLOATS | {"int32"}, "numbers"),
    "truth": (frozenset({"bool"}), "truth values"),
}


def combine(network: Network, name: str, x: Any, y: Any) -> Any:
    """Layer of two tensors of equal rank."""
    return network.layer("elementwise", x, y, network.choice("ElementWiseOperation", name))


def invert(network: Network, name: str, x: Any) -> Any:
    """Layer of one tensor."""
    return network.layer("unary", x, network.choice("UnaryOperation", name))


def scalar(network: Network, value: float, like: Any, dtype: Any) -> Any:
    """``value`` with as many dimensions, of size 1, as ``like``."""
    return network.constant(np.full((1,) * len(like.shape), value), dtype)


def _require(node: Node, kind: str) -> None:
    types, title = _ARE[kind]
    dtypes = [str(value.dtype) for value in node.inputs]
    if not types.issuperset(dtypes) or len(set(dtypes)) != 1:
        raise Refused(f"{node.op} is of {title} of one type, got {', '.join(dtypes)}")


def _binary(name: str, kind: str, network: Network, node: Node, inputs: Sequence[Tensor]) -> list[Tensor]:
    _require(node, kind)
    (x, y), order = network.aligned(inputs)
    return [Tensor(combine(network, name, x, y), order)]


def _unary(name: str, kind: str, network: Network, node: Node, inputs: Sequence[Tensor]) -> list[Tensor]:
    _require(node, kind)
    return [Tensor(invert(network, name, inputs[0].made), inputs[0].order)]


def _comparison(
    whole: Callable[[Network, Any, Any], Any], network: Network, node: Node, inputs: Sequence[Tensor]
) -> list[Tensor]:
    _require(node, "numbers")
    (x, y), order = network.aligned(inputs)
    return [Tensor(whole(network, x, y), order)]


def _not_equal(network: Network, x: Any, y: Any) -> Any:
    return invert(network, "NOT", combine(network, "EQUAL", x, y))


def _or_equal(name: str, network: Network, x: Any, y: Any) -> Any:
    # "Not less" would be true of NaN.
    return combine(network, "OR", combine(network, name, x, y), combine(network, "EQUAL", x, y))


def _mapped(
    make: Callable[[Network, Any, Node], Any], network: Network, node: Node, inputs: Sequence[Tensor]
) -> list[Tensor]:
    return [Tensor(make(network, inputs[0].made, node), inputs[0].order)]


def _integer_pow(network: Network, x: Any, node: Node) -> Any:
    """By repeated squaring, as JAX does."""
    exponent = int(node.params["y"])
    _require(node, "numbers" if exponent > 0 else "floats")
    if exponent == 0:
        raise Refused("a power of 0 is a constant")
    result, square, left = None, x, abs(exponent)
    while True:
        if left & 1:
            result = square if result is None else combine(network, "PROD", result, square)
        left >>= 1
        if not left:
            return invert(network, "RECIP", result) if exponent < 0 else result
        square = combine(network, "PROD", square, square)


def _square(network: Network, x: Any, node: Node) -> Any:
    _require(node, "numbers")
    return combine(network, "PROD", x, x)


def _rsqrt(network: Network, x: Any, node: Node) -> Any:
    _require(node, "floats")
    return invert(network, "RECIP", invert(network, "SQRT", x))


def _round(network: Network, x: Any, node: Node) -> Any:
    _require(node, "floats")
    if node.params["rounding_method"] != lax.RoundingMethod.TO_NEAREST_EVEN:
        raise Refused("halves are rounded to even numbers, not away from zero")
    return invert(network, "ROUND", x)


def _convert(network: Network, x: Any, node: Node) -> Any:
    source, wanted = node.inputs[0].dtype, node.out.dtype
    if wanted == np.bool_ and source != np.bool_:
        return _not_equal(network, x, scalar(network, 0, x, source))
    if wanted == np.int32 and str(source) in FLOATS:
        raise Refused("numbers out of range come out otherwise where floating-point numbers become integers")
    return network.cast(x, wanted)


def _select(network: Network, node: Node, inputs: Sequence[Tensor]) -> list[Tensor]:
    if node.inputs[0].dtype != np.bool_ or len(inputs) != 3:
        raise Refused("a choice is between two arrays by truth values")
    (which, no, yes), order = network.aligned(inputs)
    return [Tensor(network.layer("select", which, yes, no), order)]


def _clamp(network: Network, node: Node, inputs: Sequence[Tensor]) -> list[Tensor]:
    _require(node, "numbers")
    (low, x, high), order = network.aligned(inputs)
    return [Tensor(combine(network, "MIN", combine(network, "MAX", x, low), high), order)]


def _same(network: Network, node: Node, inputs: Sequence[Tensor]) -> list[Tensor]:
    return [inputs[0]]


CONVERTERS = {
    **{primitive: partial(_binary, *made) for primitive, made in _BINARY.items()},
    **{primitive: partial(_unary, *made) for primitive, made in _UNARY.items()},
    "ne": partial(_comparison, _not_equal),
    "ge": partial(_comparison, partial(_or_equal, "GREATER")),
    "le": partial(_comparison, partial(_or_equal, "LESS")),
    "integer_pow": partial(_mapped, _integer_pow),
    "square": partial(_mapped, _square),
    "rsqrt": partial(_mapped, _rsqrt),
    "round": partial(_mapped, _round),
    "convert_element_type": partial(_mapped, _convert),
    "select_n": _select,
    "clamp": _clamp,
    "copy": _same,
    "stop_gradient": _same,
}
