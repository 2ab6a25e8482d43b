"""Operations on one element of each operand."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from ....graph.ir import Node
from ..tensors import Model, Refused, Tensor, common_order

#: Primitives that are one operation of a model.
_SAME = {
    "abs": "abs",
    "add": "add",
    "add_any": "add",
    "and": "logical_and",
    "ceil": "ceiling",
    "cos": "cos",
    "cosh": "cosh",
    "div": "divide",
    "eq": "equal",
    "erf": "erf",
    "exp": "exp",
    "floor": "floor",
    "ge": "greater_equal",
    "gt": "greater",
    "le": "less_equal",
    "log": "log",
    "logistic": "sigmoid",
    "lt": "less",
    "max": "maximum",
    "min": "minimum",
    "mul": "multiply",
    "ne": "not_equal",
    "neg": "negative",
    "not": "logical_not",
    "or": "logical_or",
    "pow": "power",
    "sign": "sign",
    "sin": "sin",
    "sinh": "sinh",
    "sqrt": "sqrt",
    "sub": "subtract",
    "tanh": "tanh",
}

#: Those that are defined for truth values here and for the bits of integers in JAX.
_LOGICAL = {"and", "or", "not"}


def aligned(model: Model, tensors: Sequence[Tensor]) -> tuple[list[Any], tuple[int, ...]]:
    """Outputs of ``tensors`` with their axes in one order, and that order; scalars stay as they are."""
    order = common_order([t for t in tensors if t.order] or tensors)
    return [model.ordered(t, order).output if t.order else t.output for t in tensors], order


def _apply(name: str, model: Model, node: Node, inputs: Sequence[Tensor]) -> list[Tensor]:
    if node.op in _LOGICAL and node.out.dtype != np.bool_:
        raise Refused(f"{node.op} is for truth values alone, got {node.out.dtype}")
    if node.op == "div" and not np.issubdtype(node.out.dtype, np.floating):
        raise Refused(f"division is for floating-point numbers alone, got {node.out.dtype}")
    outputs, order = aligned(model, inputs)
    return [Tensor(model.node(name, *outputs), order)]


def _unary(make: Callable[[Model, Any, Node], Any], model: Model, node: Node, inputs: Sequence[Tensor]) -> list[Tensor]:
    return [Tensor(make(model, inputs[0].output, node), inputs[0].order)]


def _integer_pow(model: Model, x: Any, node: Node) -> Any:
    exponent = int(node.params["y"])
    if exponent == 2:
        return model.node("multiply", x, x)
    return model.node("power", x, model.constant(exponent, node.out.dtype))


def _rsqrt(model: Model, x: Any, node: Node) -> Any:
    return model.node("divide", model.constant(1.0), model.node("sqrt", x))


def _square(model: Model, x: Any, node: Node) -> Any:
    return model.node("multiply", x, x)


def _convert(model: Model, x: Any, node: Node) -> Any:
    source, wanted = node.inputs[0].dtype, node.out.dtype
    names = {"float32": "f32", "int32": "i32", "bool": "boolean"}
    if wanted == np.int32 and source == np.float32:
        raise Refused("numbers out of range come out otherwise where floating-point numbers become integers")
    return model.node("convert", x, destination_type=names[str(wanted)])


def _select(model: Model, node: Node, inputs: Sequence[Tensor]) -> list[Tensor]:
    if node.inputs[0].dtype != np.bool_ or len(inputs) != 3:
        raise Refused("a choice is between two arrays by truth values")
    if node.out.dtype != np.float32:
        # OpenVINO 2026.4 takes one of the two everywhere, on processors without AVX-512.
        raise Refused(f"a choice is between floating-point numbers, got {node.out.dtype}")
    (which, no, yes), order = aligned(model, inputs)
    return [Tensor(model.node("select", which, yes, no), order)]


def _clamp(model: Model, node: Node, inputs: Sequence[Tensor]) -> list[Tensor]:
    (low, x, high), order = aligned(model, inputs)
    return [Tensor(model.node("minimum", model.node("maximum", x, low), high), order)]


def _same(model: Model, node: Node, inputs: Sequence[Tensor]) -> list[Tensor]:
    return [inputs[0]]


CONVERTERS = {
    **{primitive: partial(_apply, name) for primitive, name in _SAME.items()},
    "integer_pow": partial(_unary, _integer_pow),
    "rsqrt": partial(_unary, _rsqrt),
    "square": partial(_unary, _square),
    "convert_element_type": partial(_unary, _convert),
    "select_n": _select,
    "clamp": _clamp,
    "copy": _same,
    "stop_gradient": _same,
}
