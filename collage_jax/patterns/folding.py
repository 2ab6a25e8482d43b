"""Folding the arithmetic on scalars of the program, so that patterns meet numbers.

``jnp.var`` divides by ``16 - convert(0)`` and guards with ``where(16 - convert(0) > 0, ..., nan)``; users write
``jnp.sqrt(2 / jnp.pi)``. Only scalars are folded: arrays stay as the program has them.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import jax
import numpy as np

from ..graph.ir import Constant, Graph, Node, Value, is_array_dtype

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


def fold_scalars(graph: Graph) -> Graph:
    """``graph`` with scalar arithmetic on constants computed, choices by a constant taken, and what that frees dropped."""
    alias: dict[Value, Value] = {}
    nodes: list[Node] = []
    for old in graph.nodes:
        node = replace(old, inputs=tuple(alias.get(v, v) for v in old.inputs)) if alias else old
        folded = _folded(node) if not node.barrier else None
        if folded is None:
            nodes.append(node)
        else:
            alias[node.out] = folded
    if not alias:
        return graph
    outputs = tuple(alias.get(v, v) for v in graph.outputs)
    return _without_freed(Graph(graph.inputs, graph.constants, tuple(nodes), outputs), graph)


def _folded(node: Node) -> Value | None:
    """What the node's output is, if that needs no computing at run time."""
    if node.op == "select_n" and isinstance(node.inputs[0], Constant) and len(node.inputs) == 3:
        chosen = node.inputs[2 if bool(np.asarray(node.inputs[0].val)) else 1]
        return chosen if not isinstance(chosen, Constant) else None
    compute = _ARITHMETIC.get(node.op)
    if compute is None or node.out.shape != () or not is_array_dtype(node.out.dtype):
        return None
    operands = [np.asarray(v.val, v.dtype) for v in node.inputs if isinstance(v, Constant)]
    if len(operands) != len(node.inputs) or node.params.get("sharding") is not None:
        return None
    floats = all(jax.dtypes.issubdtype(v.dtype, np.floating) for v in node.inputs)
    if node.op in _FLOATING_ONLY and not floats:
        return None
    with np.errstate(all="ignore"):
        number = np.asarray(compute(*operands)).astype(node.out.dtype)
    return Constant(node.out.aval, number[()])


def _without_freed(folded: Graph, original: Graph) -> Graph:
    """Drop nodes whose last reader was folded away."""
    live: set[Value] = set(folded.outputs)
    kept: list[Node] = []
    for node in reversed(folded.nodes):
        unread = all(v not in live and original.users.get(v) for v in node.outputs)
        if node.barrier or node.subgraphs or not unread:
            kept.append(node)
            live.update(node.inputs)
    return replace(folded, nodes=tuple(reversed(kept)))
