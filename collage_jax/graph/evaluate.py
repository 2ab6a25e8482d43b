"""Running nodes: each primitive is bound again, nothing is mutated."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from .. import _compat
from .ir import Constant, Graph, Node, Value

Env = dict[Value, Any]


def read(env: Env, value: Value) -> Any:
    """The array of ``value``; a program scalar is itself."""
    return value.val if isinstance(value, Constant) else env[value]


def run_node(node: Node, env: Env, params: Mapping[str, Any] | None = None) -> None:
    """Run ``node`` (a composite through its body) and put its outputs into ``env``. ``params`` replaces its own."""
    if node.body:
        inner = {v: env[v] for v in node.inputs if not isinstance(v, Constant)}
        for part in node.body:
            run_node(part, inner)
        env.update((v, inner[v]) for v in node.outputs)
        return
    results = _compat.bind(
        node.eqn, dict(node.params if params is None else params), [read(env, v) for v in node.inputs]
    )
    env.update(zip(node.outputs, results, strict=True))


def evaluate(graph: Graph, *inputs: Any) -> list[Any]:
    """The outputs of ``graph`` at ``inputs`` (arrays or tracers, one for each of ``graph.inputs``)."""
    env: Env = dict(zip(graph.inputs, inputs, strict=True))
    env.update(graph.constants)
    for node in graph.nodes:
        run_node(node, env)
    return [read(env, v) for v in graph.outputs]


def callable_of(nodes: Sequence[Node], inputs: Sequence[Value], outputs: Sequence[Value]) -> Callable[..., list[Any]]:
    """A JAX-traceable function from arrays for ``inputs`` to arrays for ``outputs`` that runs ``nodes`` in order."""

    def run(*arrays: Any) -> list[Any]:
        env: Env = dict(zip(inputs, arrays, strict=True))
        for node in nodes:
            run_node(node, env)
        return [read(env, v) for v in outputs]

    return run
