"""Building nodes by tracing: the way a rewrite adds operations to a graph without naming JAX's parameters."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np

from .ir import Constant, Graph, Node, Value
from .simplify import with_inputs
from .trace import trace_function

#: What computes a value instead of a node, and the values of the graph that it is given.
Instead: TypeAlias = tuple[Callable[..., Any], Sequence[Value]]


def traced_nodes(fun: Callable[..., Any], operands: Sequence[Value]) -> tuple[tuple[Node, ...], Value]:
    """Nodes that compute ``fun`` (one result) of ``operands``, and the value of the result.

    ``fun`` must not close over arrays. Scalars that it makes are scalars of the program: JAX computes them ahead where
    it computes all that it can (``jax.ensure_compile_time_eval``).
    """
    graph = trace_function(fun, *(v.aval for v in operands))
    assert all(v.ndim == 0 for v, _ in graph.constants), "a rewrite closes over no arrays"
    alias: dict[Value, Value] = dict(zip(graph.inputs, operands, strict=True))
    alias.update((v, Constant(v.aval, np.asarray(array))) for v, array in graph.constants)
    return tuple(with_inputs(node, alias) for node in graph.nodes), alias.get(graph.outputs[0], graph.outputs[0])


def rewritten(graph: Graph, instead: Callable[[Node], Instead | None]) -> Graph:
    """``graph`` with what ``instead`` gives for a node (of one result) in its place; None leaves it as it is.

    Nodes that only the replaced ones read stay: ``simplify.drop_dead`` takes them away.
    """
    nodes: list[Node] = []
    alias: dict[Value, Value] = {}
    for node in graph.nodes:
        if (found := instead(node)) is None:
            nodes.append(with_inputs(node, alias))
            continue
        fun, operands = found
        made, alias[node.out] = traced_nodes(fun, [alias.get(v, v) for v in operands])
        nodes += made
    if not alias:
        return graph
    return Graph(graph.inputs, graph.constants, tuple(nodes), tuple(alias.get(v, v) for v in graph.outputs))
