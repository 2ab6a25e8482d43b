"""Growing a graph along the chain of operations that follow it: bias, residual, scale, batch norm, activation, gate."""

from __future__ import annotations

from collections.abc import Mapping
from math import inf, isfinite, isnan
from typing import Any

from ...graph.gates import gate
from ...graph.ir import Constant, Graph, Node, Value
from ...graph.origins import Inside, along, number
from ..own_kernels import bounds
from .batch_norm import normalized
from .fusion import LAST, Fusion
from .tensors import Operand, Tensor, strides_of, type_name

_BINARY = {"add": "ADD", "add_any": "ADD", "sub": "SUB", "mul": "MUL", "div": "DIV", "max": "MAX", "min": "MIN"}

_UNARY = {
    "tanh": "TANH_FWD",
    "logistic": "SIGMOID_FWD",
    "sigmoid": "SIGMOID_FWD",
    "silu": "SWISH_FWD",
    "softplus": "SOFTPLUS_FWD",
    "exp": "EXP",
    "log": "LOG",
    "sqrt": "SQRT",
    "rsqrt": "RSQRT",
    "neg": "NEG",
    "abs": "ABS",
    "erf": "ERF",
}

#: More operations than this in a graph find no engine, and each attempt takes time.
_MOST = 8


def extend(graph: Graph, fusion: Fusion, inside: Inside) -> Fusion | None:
    """``fusion`` with the one node that reads its result, or None if it cannot be. ``inside`` bounds the region."""
    node = graph.only_user(fusion.result)
    if node is None or node.barrier or not inside(node) or len(node.outputs) != 1 or not fusion.fuses:
        return None
    if len(fusion.steps) >= _MOST or fusion.compute != "FLOAT":
        return None
    if node.out.shape != fusion.result.shape or node.out.dtype != fusion.result.dtype:
        return None
    if (limits := bounds(node, fusion.result)) is not None:
        label, low, high = limits
        return _bounded(fusion, label, (node,), low, high)
    if node.op == "batch_norm":
        return normalized(fusion, node)
    if len(node.inputs) == 1 and (function := _function(node)) is not None:
        mode, attributes = function
        return fusion.followed_by(node.op, (node,), mode, {"a": LAST}, **attributes)
    if node.op in _BINARY and node.inputs.count(fusion.result) == 1:
        return _combined(graph, fusion, node, inside)
    if (gated := gate(graph, node, fusion.result, inside)) is not None:
        array, nodes = gated
        inputs, operands = {"a": LAST, "b": len(fusion.operands) + 1}, (Operand(fusion.last, (array,)),)
        return fusion.followed_by("gate", (*nodes, node), "RELU_BWD", inputs, operands)
    return None


def _function(node: Node) -> tuple[str, Mapping[str, Any]] | None:
    if node.op in _UNARY:
        return _UNARY[node.op], {}
    if node.op == "gelu":
        return ("GELU_APPROX_TANH_FWD" if node.params["approximate"] else "GELU_FWD"), {}
    if node.op == "leaky_relu":
        return "RELU_FWD", {"slope": float(node.params["alpha"])}
    if node.op == "elu":
        return "ELU_FWD", {"alpha": float(node.params["alpha"])}
    return None


def _bounded(fusion: Fusion, label: str, nodes: tuple[Node, ...], low: float, high: float) -> Fusion | None:
    """A ReLU with its bounds; cuDNN's lower one is a number."""
    if isnan(low) or isnan(high) or low == -inf:
        return None
    attributes = {"upper": high} if high != inf else {}
    if low != 0:
        attributes["lower"] = low
    return fusion.followed_by(label, nodes, "RELU_FWD", {"a": LAST}, (), **attributes)


def _combined(graph: Graph, fusion: Fusion, node: Node, inside: Inside) -> Fusion | None:
    """The result and another array, or a number."""
    comes_first = node.inputs[1] is fusion.result
    other = node.inputs[0 if comes_first else 1]
    mode, label = _BINARY[node.op], "add" if node.op == "add_any" else node.op
    if (found := number(graph, other, node, inside)) is not None:
        value, nodes = found[0], (*found[1], node)
        if not isfinite(value):
            return None
        if node.op == "max":
            return _bounded(fusion, "relu" if value == 0 else "max", nodes, value, inf)
        inputs = {"a": value, "b": LAST} if comes_first else {"a": LAST, "b": value}
        return fusion.followed_by(label, nodes, mode, inputs)
    operand = _operand(graph, fusion, other, node, inside)
    if operand is None:
        return None
    array, nodes, is_vector = operand
    place = len(fusion.operands) + 1
    inputs = {"a": place, "b": LAST} if comes_first else {"a": LAST, "b": place}
    name = ("bias" if is_vector else "sum") if mode == "ADD" else label
    return fusion.followed_by(name, (*nodes, node), mode, inputs, (array,))


def _operand(
    graph: Graph, fusion: Fusion, other: Value, user: Node, inside: Inside
) -> tuple[Operand, tuple[Node, ...], bool] | None:
    """``other`` as a tensor: a vector along one axis, or an array like the result."""
    dtype = type_name(other.dtype)
    if dtype is None or isinstance(other, Constant):
        return None
    found = along(graph, other, user, inside)
    if found is not None and found[2] in fusion.axes and found[0].dtype == other.dtype:
        vector, nodes, axis = found
        dims = tuple(vector.size if a == axis else 1 for a in fusion.axes)
        return Operand(Tensor(dims, strides_of(dims, fusion.kind), dtype), (vector,)), nodes, True
    if other.shape != fusion.result.shape:
        return None
    return Operand(Tensor(fusion.last.dims, fusion.last.strides, dtype), (other,)), (), False
