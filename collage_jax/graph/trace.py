"""jaxpr -> Graph: flatten what only groups equations, mark what must not move, open the bodies of control flow."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax

from .. import _compat
from ..sites import primitive
from .ir import Constant, Graph, Node, Value
from .simplify import simplify

#: Parameters that hold the bodies of control flow, by primitive.
BODIES = {"scan": ("jaxpr",), "while": ("cond_jaxpr", "body_jaxpr"), "cond": ("branches",)}

#: Calls with rules for differentiation; the parameter that holds what is computed.
RULED_CALLS = {
    "custom_jvp_call": "call_jaxpr",
    "custom_vjp_call": "call_jaxpr",
    "custom_vjp_call_jaxpr": "fun_jaxpr",
    primitive.NAME: "original",
}

#: Those, and the calls that carry nothing besides.
PLAIN_CALLS = {"closed_call": "call_jaxpr", "eval_jaxpr": "call_jaxpr", **RULED_CALLS}

#: Calls that only group equations; the parameter that holds them. Those of differentiation rules are inlined because a
#: traced program has been differentiated already.
CALLS = {
    "jit": "jaxpr",
    "pjit": "jaxpr",
    "core_call": "call_jaxpr",
    **PLAIN_CALLS,
}

#: The call that computes its body again in the backward pass.
REMAT = "remat2"

#: Primitives (or their prefixes) that must keep their place: randomness, collectives, callbacks, foreign calls.
BARRIERS = (
    "random_", "threefry", "rng_", "psum", "pmin", "pmax", "pbroadcast", "ppermute", "pgather", "all_gather",
    "all_to_all", "reduce_scatter", "axis_index", "pure_callback", "io_callback", "debug_", "ffi_call",
    "optimization_barrier", "infeed", "outfeed", "custom_partitioning", "shard_map", "xla_pmap", "sharding_constraint",
)  # fmt: skip


def trace_function(fun: Callable[..., Any], *args: Any, **kwargs: Any) -> Graph:
    """The graph of ``fun`` at ``args`` (arrays or ``jax.ShapeDtypeStruct``), its inputs in flat order."""
    return trace_jaxpr(jax.jit(fun, keep_unused=True).trace(*args, **kwargs).jaxpr)


def trace_jaxpr(closed: Any) -> Graph:
    """The graph of a closed jaxpr: flattened, simplified, with the bodies of control flow as graphs of their own."""
    jaxpr, consts = _compat.open_jaxpr(closed)
    flattener = _Flattener()
    constants = [(Value(var.aval), array) for var, array in zip(jaxpr.constvars, consts, strict=True)]
    inputs = [Value(var.aval) for var in jaxpr.invars]
    env = dict(zip([*jaxpr.constvars, *jaxpr.invars], [v for v, _ in constants] + inputs, strict=True))
    outputs = flattener.inline(jaxpr, env)
    constants += flattener.constants
    return simplify(Graph(tuple(inputs), tuple(constants), tuple(flattener.nodes), tuple(outputs)))


class _Flattener:
    """Collects the nodes of a jaxpr and of every call in it that only groups equations."""

    def __init__(self) -> None:
        self.nodes: list[Node] = []
        self.constants: list[tuple[Value, Any]] = []

    def inline(self, jaxpr: Any, env: dict[Any, Value]) -> list[Value]:
        def value(atom: Any) -> Value:
            return Constant(atom.aval, atom.val) if isinstance(atom, _compat.Literal) else env[atom]

        for eqn in jaxpr.eqns:
            operands = [value(atom) for atom in eqn.invars]
            outputs = self._call(eqn, operands)
            if outputs is None:
                outputs = [Value(var.aval) for var in eqn.outvars]
                self.nodes.append(_node(eqn, operands, outputs))
            env.update(zip(eqn.outvars, outputs, strict=True))
        return [value(atom) for atom in jaxpr.outvars]

    def _call(self, eqn: Any, operands: Sequence[Value]) -> list[Value] | None:
        """Inline ``eqn`` if it is a call that only groups equations; its outputs, or None if it is not."""
        if eqn.primitive.name == REMAT and not _in_special_context(eqn):
            return self._rematerialised(eqn, operands)
        parameter = CALLS.get(eqn.primitive.name)
        if parameter is None or parameter not in eqn.params or not _only_groups(eqn):
            return None
        inner, consts = _compat.open_jaxpr(eqn.params[parameter])
        captured = [(Value(var.aval), array) for var, array in zip(inner.constvars, consts, strict=True)]
        self.constants += captured
        values = [v for v, _ in captured] + list(operands)
        return self.inline(inner, dict(zip([*inner.constvars, *inner.invars], values, strict=True)))

    def _rematerialised(self, eqn: Any, operands: Sequence[Value]) -> list[Value]:
        """Inline the body of ``jax.checkpoint`` as JAX's own lowering does.

        In the backward pass it reads what it must not share with the forward pass through a barrier, so that nothing
        is computed until all of that is there.
        """
        body, _ = _compat.open_jaxpr(eqn.params["jaxpr"])
        prevented = eqn.params["prevent_cse"]
        if isinstance(prevented, bool):
            prevented = (prevented,) * len(operands)
        read = dict(zip(body.invars, operands, strict=True))
        held = [var for var, kept in zip(body.invars, prevented, strict=True) if kept and type(read[var]) is Value]
        if eqn.params["differentiated"] and held:
            barrier, _ = _compat.open_jaxpr(jax.make_jaxpr(jax.lax.optimization_barrier)([var.aval for var in held]))
            inputs = zip(barrier.invars, (read[var] for var in held), strict=True)
            read.update(zip(held, self.inline(barrier, dict(inputs)), strict=True))
        return self.inline(body, read)


def _only_groups(eqn: Any) -> bool:
    """False if a nested jit carries shardings, layouts or compiler options, which inlining would lose.

    What it donates JAX itself heeds in the outermost jit alone.
    """
    if _in_special_context(eqn):
        return False
    params = eqn.params
    shardings = (*params.get("in_shardings", ()), *params.get("out_shardings", ()))
    layouts = (*params.get("in_layouts", ()), *params.get("out_layouts", ()))
    return (
        all(type(s).__name__ == "UnspecifiedValue" for s in shardings)
        and all(layout is None for layout in layouts)
        and not params.get("compiler_options_kvs", ())
    )


def _in_special_context(eqn: Any) -> bool:
    """True under ``compute_on`` or ``set_xla_metadata``, which speak of single operations."""
    return getattr(eqn.ctx, "compute_type", None) is not None or bool(getattr(eqn.ctx, "xla_metadata", None))


def _node(eqn: Any, inputs: Sequence[Value], outputs: Sequence[Value]) -> Node:
    name = eqn.primitive.name
    barrier = bool(eqn.effects) or _in_special_context(eqn) or name.startswith(BARRIERS)
    subgraphs: dict[str, tuple[Graph, ...]] = {}
    if not barrier:
        for parameter in BODIES.get(name, ()):
            held = eqn.params[parameter]
            bodies = held if isinstance(held, (tuple, list)) else (held,)
            subgraphs[parameter] = tuple(trace_jaxpr(body) for body in bodies)
    return Node(name, eqn.params, tuple(inputs), tuple(outputs), eqn, barrier=barrier, subgraphs=subgraphs)
