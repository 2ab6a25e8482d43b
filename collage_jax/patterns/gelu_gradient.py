"""The gradient of a GELU by the tanh formula as one composite of the GELU's operand x and the gradient of its result.

For the gradient JAX keeps inner values of the GELU, so that neither stands alone in a training step. Kernels know both
as functions of x. However a program writes its GELU, JAX derives the gradient in one way: it is derived here again, and
found in the program operation by operation. The composite computes the inner values from x itself; XLA, where it runs
both, merges what is equal.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

import jax

from ..graph.canonical import parameter_text, region_text
from ..graph.evaluate import callable_of
from ..graph.ir import Constant, Graph, Node, Value
from ..graph.region import Region
from ..graph.simplify import drop_dead, with_inputs
from ..graph.trace import trace_function
from .composites.activations import GELU_BY_TANH
from .composites.found import Found
from .folding import fold_scalars
from .matcher import Matcher


def with_gelu_gradients(graph: Graph) -> Graph:
    """``graph`` with the gradients of GELUs whose inner values they read as ``gelu_gradient``."""
    at_root: dict[Node, Node] = {}
    derived: dict[str, Graph] = {}
    for found in _gelus(graph):
        text = region_text(Region.of(graph, found.nodes))
        gradient = derived.get(text) or derived.setdefault(text, _gradient(found))
        for made in _places(graph, gradient, found.inputs[0]):
            root = graph.producer[made[gradient.outputs[0]]]
            at_root.setdefault(root, _composite(gradient, made, root))
    if not at_root:
        return graph
    return drop_dead(replace(graph, nodes=tuple(at_root.get(node, node) for node in graph.nodes)))


def _gelus(graph: Graph) -> Iterator[Found]:
    """The GELUs of which others read inner values."""
    if not any(node.op == "tanh" for node in graph.nodes):
        return
    seen: set[Node] = set()
    for found in GELU_BY_TANH(Matcher(graph, free=frozenset(graph.nodes))):
        region, x = Region.of(graph, found.nodes), found.inputs[0]
        sizes_are_known = all(isinstance(n, int) for n in x.shape)
        if found.root not in seen and len(region.exits) > 1 and region.entries == (x,) and sizes_are_known:
            seen.add(found.root)
            yield found


def _gradient(found: Found) -> Graph:
    """What JAX makes of the gradient, of x and the gradient of the GELU's result."""
    x, out = found.inputs[0], found.root.out
    gelu = callable_of(found.nodes, (x,), (out,))
    return fold_scalars(trace_function(lambda x, dy: jax.vjp(lambda x: gelu(x)[0], x)[1](dy)[0], x.aval, out.aval))


def _places(graph: Graph, gradient: Graph, x: Value) -> Iterator[dict[Value, Value]]:
    """Where ``graph`` computes ``gradient`` at ``x``: its values as those of the graph."""
    inner_x, dy = gradient.inputs
    before: dict[Value, Value] = {inner_x: x}
    later = {dy}
    for node in gradient.nodes:
        if not later.isdisjoint(node.inputs):
            later.update(node.outputs)
        elif not _found(graph, node, before):
            return
    waiting = [node for node in gradient.nodes if not later.isdisjoint(node.outputs)]
    first = next(node for node in waiting if dy in node.inputs)
    for node in graph.nodes:
        if node.op != first.op or len(node.inputs) != len(first.inputs):
            continue
        given = node.inputs[first.inputs.index(dy)]
        if isinstance(given, Constant) or (given.shape, given.dtype) != (dy.shape, dy.dtype):
            continue
        made = {**before, dy: given}
        if all(_found(graph, each, made) for each in waiting):
            yield made


def _found(graph: Graph, node: Node, made: dict[Value, Value]) -> bool:
    """True if ``graph`` has ``node`` of a gradient, whose outputs are then in ``made`` too."""
    operand = next((v for v in node.inputs if not isinstance(v, Constant)), None)
    if operand not in made:  # arrays of the GELU's own stand in no graph twice
        return False
    for other in graph.users.get(made[operand], ()):
        if other.op == node.op and not other.barrier and not other.body and _agree(node, other, made):
            made.update(zip(node.outputs, other.outputs, strict=True))
            return True
    return False


def _agree(node: Node, other: Node, made: Mapping[Value, Value]) -> bool:
    if len(node.inputs) != len(other.inputs) or parameter_text(_params(node)) != parameter_text(_params(other)):
        return False
    types = [(v.shape, v.dtype) for v in node.outputs] == [(v.shape, v.dtype) for v in other.outputs]
    return types and all(_same(a, b, made) for a, b in zip(node.inputs, other.inputs, strict=True))


def _params(node: Node) -> list[tuple[str, object]]:
    return sorted((name, value) for name, value in node.params.items() if name not in ("sharding", "out_sharding"))


def _same(value: Value, other: Value, made: Mapping[Value, Value]) -> bool:
    if isinstance(value, Constant):
        return isinstance(other, Constant) and (value.bits, value.dtype) == (other.bits, other.dtype)
    return made.get(value) is other


def _composite(gradient: Graph, made: Mapping[Value, Value], root: Node) -> Node:
    """``gradient`` in place of ``root``, its inner values copies of their own."""
    inner_x, dy = gradient.inputs
    alias = {inner_x: made[inner_x], dy: made[dy]}
    body: list[Node] = []
    for node in gradient.nodes:
        own = root.outputs if node.outputs == gradient.outputs else tuple(Value(v.aval) for v in node.outputs)
        body.append(replace(with_inputs(node, alias), outputs=own))
        alias.update(zip(node.outputs, own, strict=True))
    return Node("gelu_gradient", {"approximate": True}, (made[inner_x], made[dy]), root.outputs, body=tuple(body))
