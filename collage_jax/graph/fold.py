"""Folding per-channel scaling and shifting into frozen convolution weights.

``(conv(x, w) - m) * s + b`` with frozen ``w``, ``m``, ``s``, ``b`` equals ``conv(x, w * s) + (b - m * s)``: batch
normalisation after a convolution costs one bias addition at inference. Scaling the weights happens once (they depend on
frozen inputs alone); results differ from the unfolded ones in rounding.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np

from .ir import Constant, Graph, Node, Value
from .simplify import drop_dead, is_cheap_broadcast, simplify, with_inputs
from .splice import traced_nodes

AFFINE = frozenset({"add", "sub", "mul", "div"})


@dataclass(frozen=True, eq=False)
class _Factor:
    """An affine operation's other operand: a program scalar, or an array that varies at most along ``axis``."""

    op: str
    source: Value
    axis: int | None


@dataclass(frozen=True, eq=False)
class _Chain:
    """A convolution and the affine nodes after it, each with its factor."""

    convolution: Node
    nodes: tuple[Node, ...]
    factors: tuple[_Factor, ...]


def fold_channel_affine(graph: Graph, frozen: Collection[Value]) -> Graph:
    """``graph`` with per-channel affine operations on frozen operands folded into the convolutions before them."""
    fixed = _fixed_values(graph, frozen)
    chains = [c for node in graph.nodes if (c := _chain(graph, node, fixed)) is not None]
    if not chains:
        return graph
    replaced: dict[Value, Value] = {}
    ends = {chain.nodes[-1]: chain for chain in chains}
    inner = {n for chain in chains for n in (chain.convolution, *chain.nodes[:-1])}
    nodes: list[Node] = []
    for old in graph.nodes:
        if old in inner:
            continue
        if old in ends:
            added, result = _folded(ends[old], replaced)
            nodes += added
            replaced[old.out] = result
        else:
            nodes.append(with_inputs(old, replaced))
    outputs = tuple(replaced.get(v, v) for v in graph.outputs)
    return simplify(drop_dead(Graph(graph.inputs, graph.constants, tuple(nodes), outputs)))


def _fixed_values(graph: Graph, frozen: Collection[Value]) -> set[Value]:
    fixed = set(frozen) | {v for v, _ in graph.constants}
    for node in graph.nodes:
        if not node.barrier and all(v in fixed or isinstance(v, Constant) for v in node.inputs):
            fixed.update(node.outputs)
    return fixed


def _chain(graph: Graph, node: Node, fixed: set[Value]) -> _Chain | None:
    if node.op != "conv_general_dilated" or node.inputs[1] not in fixed or node.params["batch_group_count"] != 1:
        return None
    if any(v.dtype != jnp.float32 for v in (*node.inputs, node.out)):  # narrower weights would be rounded once more
        return None
    nodes: list[Node] = []
    factors: list[_Factor] = []
    value = node.out
    channel = node.params["dimension_numbers"].out_spec[1]
    while (user := graph.only_user(value)) is not None and user.op in AFFINE and user.out.shape == value.shape:
        operand = _other_operand(user, value)
        factor = _factor(graph, user.op, operand, channel) if operand is not None else None
        if factor is None or not (factor.source in fixed or isinstance(factor.source, Constant)):
            break
        nodes.append(user)
        factors.append(factor)
        value = user.out
    # A lone shift is a bias already: nothing to gain.
    if not any(n.op in ("mul", "div") for n in nodes) and len(nodes) < 2:
        return None
    return _Chain(node, tuple(nodes), tuple(factors))


def _other_operand(node: Node, value: Value) -> Value | None:
    """What ``node`` combines ``value`` with; None if the order of a non-commutative operation is the wrong one."""
    left, right = node.inputs
    if left is value and right is not value:
        return right
    return left if right is value and left is not value and node.op in ("add", "mul") else None


def _factor(graph: Graph, op: str, operand: Value, channel: int) -> _Factor | None:
    """``operand`` seen through a broadcast, or None if it varies along more than ``channel``."""
    broadcast = graph.producer.get(operand)
    dims = tuple(range(operand.ndim))
    if broadcast is not None and is_cheap_broadcast(broadcast):
        operand, dims = broadcast.inputs[0], tuple(broadcast.params["broadcast_dimensions"])
    wide = [i for i, size in enumerate(operand.shape) if size != 1]
    if not wide:
        return _Factor(op, operand, None)
    return _Factor(op, operand, wide[0]) if [dims[i] for i in wide] == [channel] else None


def _folded(chain: _Chain, replaced: dict[Value, Value]) -> tuple[list[Node], Value]:
    """Nodes for the folded chain (its operands' nodes stand before it already), and the value it ends with."""
    conv = with_inputs(chain.convolution, replaced)
    out_spec, kernel_spec = conv.params["dimension_numbers"].out_spec, conv.params["dimension_numbers"].rhs_spec
    channel, features = out_spec[1], conv.out.shape[out_spec[1]]
    arrays = [f.source for f in chain.factors if not isinstance(f.source, Constant)]
    affine = _affine(chain.factors, features)
    kernel = conv.inputs[1]

    def scaled_kernel(w: Any, *operands: Any) -> Any:
        return w * jnp.expand_dims(affine(operands)[0], [d for d in range(w.ndim) if d != kernel_spec[0]])

    def shift(*operands: Any) -> Any:
        return jnp.expand_dims(affine(operands)[1], [d for d in range(conv.out.ndim) if d != channel])

    weight_nodes, weight = traced_nodes(scaled_kernel, (kernel, *arrays))
    shift_nodes, bias = traced_nodes(shift, tuple(arrays))
    result = Value(conv.out.aval)
    fresh = Node(conv.op, conv.params, (conv.inputs[0], weight), (result,), conv.eqn)
    add_nodes, total = traced_nodes(jnp.add, (result, bias))
    return [*weight_nodes, *shift_nodes, fresh, *add_nodes], total


def _affine(factors: Sequence[_Factor], features: int) -> Callable[[Sequence[Any]], tuple[Any, Any]]:
    """A function from the factors' arrays to the chain's scale and shift, each ``(features,)``."""

    def composed(operands: Sequence[Any]) -> tuple[Any, Any]:
        arrays = iter(operands)
        scale, shift = jnp.ones(features, jnp.float32), jnp.zeros(features, jnp.float32)
        for factor in factors:
            if isinstance(factor.source, Constant):
                by: Any = float(np.asarray(factor.source.val))
            else:
                by = _vector(next(arrays), factor.axis, features)
            if factor.op in ("mul", "div"):
                by = by if factor.op == "mul" else 1.0 / by
                scale, shift = scale * by, shift * by
            else:
                shift = shift + by if factor.op == "add" else shift - by
        return scale, shift

    return composed


def _vector(array: Any, axis: int | None, features: int) -> Any:
    """``(features,)`` from an array that varies along ``axis`` alone."""
    return jnp.broadcast_to(array.reshape(-1) if axis is not None else array.reshape(()), (features,))
