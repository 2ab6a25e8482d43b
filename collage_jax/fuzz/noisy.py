"""A program run with all that its operations may be off by: what the fuzzer's judge compares with.

Stochastic arithmetic: see ``judging``.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import jax.numpy as jnp

from .. import _compat
from ..graph.evaluate import Env, read, run_node
from ..graph.fold import AFFINE
from ..graph.ir import Graph, Node, Value
from .noise import Noise

#: What XLA computes anew for a reader: moves of data, and of what is computed the cheap.
_MOVES = frozenset({"broadcast_in_dim", "reshape", "transpose", "squeeze", "expand_dims", "slice", "neg"})
_SUMS = frozenset({"add", "sub", "add_any"})
_PRODUCTS = frozenset({"mul", "square", "integer_pow"})
_CHEAP = _MOVES | _SUMS | _PRODUCTS | {
    "max", "min", "clamp", "abs", "sign", "select_n", "convert_element_type", "eq", "ne", "ge", "gt", "le", "lt",
    "and", "or", "not",
}  # fmt: skip


def _adds_product(graph: Graph, node: Node) -> bool:
    """True if ``node`` is a sum that a processor may compute together with a product, rounding once."""
    return (
        node.op in _SUMS
        and jnp.issubdtype(node.out.dtype, jnp.inexact)
        and any(_is_product(graph, value) for value in node.inputs)
    )


def _is_product(graph: Graph, value: Value) -> bool:
    maker = graph.producer.get(value)
    while maker is not None and maker.op in _MOVES:
        maker = graph.producer.get(maker.inputs[0])
    return maker is not None and maker.op in _PRODUCTS


def _anew(graph: Graph, node: Node, env: Env, others: Env, noise: Noise) -> Env:
    """What ``node`` makes for another reader, from what its operands are there; nothing if that is the same.

    Of two operands one may be computed anew and the other read from memory: ``y = min(a * b + c, d)``, which is a
    result, and ``a * b + c == y``.
    """
    adds = _adds_product(graph, node)
    moved = [v for v in dict.fromkeys(node.inputs) if v in others]
    if node.op not in _CHEAP or not (adds or moved):
        return {}
    own = {**env, **{v: others[v] for v in moved if len(moved) == 1 or noise.picks()}}
    run_node(node, own)
    array = noise.on(node, node.out, own[node.out])
    return {node.out: noise.on_sum(array, [read(own, v) for v in node.inputs]) if adds else array}


def _put_otherwise(node: Node, env: Env, of_convolutions: set[Value], noise: Noise) -> None:
    """Put what else ``node`` may make into ``env``: sums of products, what scales a convolution's, and extremes."""
    operands = [read(env, v) for v in node.inputs]
    env.update((v, noise.on_extreme(node, operands, env[v])) for v in node.outputs)
    if node.op == "bitcast_convert_type":
        env[node.out] = noise.on_bits(node, operands[0], env[node.out])
    if node.op in ("conv_general_dilated", "dot_general"):
        env[node.out] = noise.on_products(node, operands, env[node.out])
    if node.op == "conv_general_dilated":
        env[node.out] = noise.on_convolution(node, operands[1], env[node.out])
        of_convolutions.add(node.out)
    if node.op in AFFINE and not of_convolutions.isdisjoint(node.inputs):
        of_convolutions.add(node.out)
        factors = [v for v in node.inputs if v not in of_convolutions]
        if node.op in ("mul", "div") and factors:
            env[node.out] = noise.on_scaled(node, read(env, factors[0]), env[node.out])


def evaluated(graph: Graph, arrays: Sequence[Any], noise: Noise) -> list[Any]:
    """The outputs of ``graph`` at ``arrays``, with what ``noise`` does to all that it computes on the way."""
    env: Env = dict(zip(graph.inputs, arrays, strict=True))
    env.update(graph.constants)
    others: Env = {}  # what may be another array for another reader
    of_convolutions: set[Value] = set()  # and of what has been added to them, or multiplied
    for node in graph.nodes:
        params = _noisy_bodies(node, noise) if node.subgraphs else None
        if noise.by_reader:
            others.update(_anew(graph, node, env, others, noise))
        picked = [] if node.op in _CHEAP else [v for v in dict.fromkeys(node.inputs) if v in others and noise.picks()]
        seen = {**env, **{v: others[v] for v in picked}}
        run_node(node, seen, params)
        env.update((v, seen[v]) for v in node.outputs)
        _put_otherwise(node, env, of_convolutions, noise)
        if not node.barrier:
            env.update((v, noise.on(node, v, env[v])) for v in node.outputs)
    return [read(env, v) for v in graph.outputs]


def _noisy_bodies(node: Node, noise: Noise) -> dict[str, Any]:
    """The parameters of control flow with bodies whose operations are off too; the same on each trip."""
    params = dict(node.params)
    for name, bodies in node.subgraphs.items():
        made = [
            _compat.make_closed_jaxpr(partial(_flat, body, noise), [v.aval for v in body.inputs]) for body in bodies
        ]
        params[name] = tuple(made) if isinstance(params[name], (tuple, list)) else made[0]
    return params


def _flat(graph: Graph, noise: Noise, *arrays: Any) -> list[Any]:
    return evaluated(graph, arrays, noise)
