"""What small programs of constants compute, in NumPy: scalars, and the indices that a resize gathers by."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ..graph.ir import Constant, Graph, Node, Value, is_array_dtype
from .constants import is_float

_ARITHMETIC: Mapping[str, Callable[..., Any]] = {
    "add": operator.add,
    "sub": operator.sub,
    "mul": operator.mul,
    "div": operator.truediv,
    "neg": operator.neg,
    "sqrt": np.sqrt,
    "rsqrt": lambda x: 1 / np.sqrt(x),
    "max": np.maximum,
    "min": np.minimum,
    "exp": np.exp,
    "log": np.log,
    "pow": np.power,
    "gt": operator.gt,
    "ge": operator.ge,
    "lt": operator.lt,
    "le": operator.le,
    "eq": operator.eq,
    "ne": operator.ne,
    "convert_element_type": lambda x: x,
}
#: Operations that NumPy defines differently on integers.
_FLOATING_ONLY = frozenset({"div", "sqrt", "rsqrt", "exp", "log", "pow"})


#: What arrays that depend on nothing are made with, besides arithmetic; as functions of the node and its operands.
_ARRAYS: Mapping[str, Callable[..., Any]] = {
    "iota": lambda node: _iota(node.out.shape, int(node.params["dimension"])),
    "floor": lambda node, x: np.floor(x),
    "select_n": lambda node, which, *cases: np.choose(which.astype(np.int32), cases),
    "broadcast_in_dim": lambda node, x: _broadcast(x, node.out.shape, node.params["broadcast_dimensions"]),
    "reshape": lambda node, x: x.reshape(node.out.shape),
}


def compute_array(graph: Graph, value: Value) -> tuple[np.ndarray[Any, Any], frozenset[Node]] | None:
    """``value`` and the nodes that make it, if it depends on scalars alone (as the indices of a resize do)."""
    if isinstance(value, Constant):
        return np.asarray(value.val, value.dtype), frozenset()
    node = graph.producer.get(value)
    if node is None or node.barrier or not is_array_dtype(value.dtype):
        return None
    if node.op not in _ARRAYS and node.op not in _ARITHMETIC:
        return None
    operands = [compute_array(graph, v) for v in node.inputs]
    known = [each for each in operands if each is not None]
    if len(known) < len(operands):
        return None
    arrays = [array for array, _ in known]
    with np.errstate(all="ignore"):
        result = _ARRAYS[node.op](node, *arrays) if node.op in _ARRAYS else _ARITHMETIC[node.op](*arrays)
    return np.asarray(result).astype(value.dtype), frozenset({node}).union(*(nodes for _, nodes in known))


def compute_scalar(node: Node) -> Any:
    """The scalar that ``node`` makes of scalars of the program, as NumPy has it; None if it does not."""
    compute = _ARITHMETIC.get(node.op)
    if compute is None or not all(is_array_dtype(v.dtype) for v in (*node.inputs, *node.outputs)):
        return None
    if node.op in _FLOATING_ONLY and not all(is_float(v.dtype) for v in node.inputs):
        return None
    operands = [np.asarray(v.val, v.dtype) for v in node.inputs if isinstance(v, Constant)]
    if len(operands) != len(node.inputs):
        return None
    with np.errstate(all="ignore"):
        return np.asarray(compute(*operands)).astype(node.out.dtype)[()]


def _iota(shape: tuple[int, ...], dimension: int) -> np.ndarray[Any, Any]:
    return np.broadcast_to(
        np.expand_dims(np.arange(shape[dimension]), [d for d in range(len(shape)) if d != dimension]), shape
    )


def _broadcast(x: np.ndarray[Any, Any], shape: tuple[int, ...], dims: Any) -> np.ndarray[Any, Any]:
    lined_up = [1] * len(shape)
    for size, dim in zip(x.shape, dims, strict=True):
        lined_up[int(dim)] = size
    return np.broadcast_to(x.reshape(lined_up), shape)
