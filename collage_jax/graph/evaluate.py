"""Running nodes: each primitive is bound again, nothing is mutated."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from .. import _compat
from .ir import Constant, Graph, Node, Value

Env = dict[Value, Any]

#: Gives what to run for a node in place of its primitive, from its operands to its one result; None for the primitive.
Instead = Callable[[Node], Callable[..., Any] | None]


def _as_it_is(node: Node) -> None:
    return None


def read(env: Env, value: Value) -> Any:
    """The array of ``value``; a program scalar is itself."""
    return value.val if isinstance(value, Constant) else env[value]


def run_node(node: Node, env: Env, params: Mapping[str, Any] | None = None, instead: Instead = _as_it_is) -> None:
    """Run ``node`` (a composite through its body) and put its outputs into ``env``. ``params`` replaces its own."""
    if node.body:
        inner = {v: env[v] for v in node.inputs if not isinstance(v, Constant)}
        for part in node.body:
            run_node(part, inner, instead=instead)
        env.update((v, inner[v]) for v in node.outputs)
        return
    operands = [read(env, v) for v in node.inputs]
    other = instead(node)
    if other is not None:
        env[node.out] = other(*operands)
        return
    results = _compat.bind(node.eqn, dict(node.params if params is None else params), operands)
    env.update(zip(node.outputs, results, strict=True))


def evaluate(graph: Graph, *inputs: Any, instead: Instead = _as_it_is) -> list[Any]:
    """The outputs of ``graph`` at ``inputs`` (arrays or tracers, one for each of ``graph.inputs``)."""
    env: Env = dict(zip(graph.inputs, inputs, strict=True))
    env.update(graph.constants)
    for node in graph.nodes:
        run_node(node, env, instead=instead)
    return [read(env, v) for v in graph.outputs]


def callable_of(
    nodes: Sequence[Node], inputs: Sequence[Value], outputs: Sequence[Value], instead: Instead = _as_it_is
) -> Callable[..., list[Any]]:
    """A JAX-traceable function from arrays for ``inputs`` to arrays for ``outputs`` that runs ``nodes`` in order."""

    def run(*arrays: Any) -> list[Any]:
        env: Env = dict(zip(inputs, arrays, strict=True))
        for node in nodes:
            run_node(node, env, instead=instead)
        return [read(env, v) for v in outputs]

    return run
