"""Gradients of whole operations, found by deriving them: what JAX makes of the forward pass, looked up in the program.

A training step that JAX derived holds the very operations that JAX derives of an attention or a norm alone. What the
gradient reads of the forward pass is computed anew for it, so that neither keeps the other from being one kernel: XLA
merges equal operations that stay with it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import jax
from jax import lax

from ..graph.evaluate import callable_of
from ..graph.gradients import Gradient
from ..graph.ir import Graph, Node, Value
from ..graph.simplify import drop_dead, with_inputs
from ..graph.trace import trace_function
from .composites import Found, find_attention, normalisation
from .folding import fold_scalars
from .language import COMMUTATIVE
from .matcher import Matcher
from .numbering import Numbering

#: Operations that only say how an array is seen: whoever reads it may do so himself.
_VIEWS = ("reshape", "transpose", "squeeze", "expand_dims")

#: Operations that the gradient may do again by itself.
_CHEAP = ("convert_element_type", "broadcast_in_dim")

#: By how many of its inputs a gradient is looked for, where not by all: q, k and v.
_BY = {"attention": 3}


def with_gradients(graph: Graph) -> Graph:
    """``graph`` with gradients of attentions and norms computed apart from all else, and named in ``gradients``."""
    graph = fold_scalars(graph)
    numbering = Numbering()
    numbering.add(graph.nodes)
    taken: set[Node] = set()
    for found in _forward_passes(graph):
        gradient = _gradient_of(graph, numbering, found) if taken.isdisjoint(found.nodes) else None
        if gradient is not None:
            taken.update(found.nodes)
            graph = _apart(graph, numbering, gradient)
    return graph


def _forward_passes(graph: Graph) -> list[Found]:
    """Every attention of 16-bit numbers and every norm of which others read inner values too, the largest first."""
    matcher = Matcher(graph, frozenset(node for node in graph.nodes if node.op in _CHEAP))
    attentions = find_attention(matcher, read_inside=True)
    halves = [each for each in attentions if all(v.dtype.itemsize == 2 for v in each.inputs[:3])]
    # Kernels of a norm's gradient have epsilon beside a variance over n.
    norms = [
        each
        for find in normalisation.RECOGNISERS
        for each in find(matcher, read_inside=True)
        if not (each.params.get("unbiased") or each.params.get("epsilon_outside"))
    ]
    return sorted(filter(partial(_is_read_inside, graph), (*halves, *norms)), key=lambda found: -len(found.nodes))


def _is_read_inside(graph: Graph, found: Found) -> bool:
    inside = set(found.nodes)
    inner = (v for node in found.nodes if node is not found.root for v in node.outputs)
    return any(user not in inside for v in inner for user in graph.users.get(v, ()))


def _gradient_of(graph: Graph, numbering: Numbering, found: Found) -> Gradient | None:
    made = {numbering.number(v): v for node in reversed(graph.nodes) for v in node.outputs}
    for instead in (_without_maxima, _as_it_is):
        derived = _derived(found, instead)
        for cotangent in _cotangents(graph, numbering, derived, found):
            results = [made.get(number) for number in _numbers(numbering, derived, (cotangent, *found.inputs))]
            if all(v is not None for v in results):
                values = tuple(v for v in results if v is not None)
                return Gradient(found.op, found.params, found.inputs, cotangent, values)
    return None


def _without_maxima(node: Node) -> Callable[..., Any] | None:
    """``jax.nn.softmax`` takes the maximum that it subtracts for a number."""
    if node.op != "reduce_max":
        return None
    return lambda x: lax.stop_gradient(node.eqn.primitive.bind(x, **node.params))


def _as_it_is(node: Node) -> None:
    return None


def _derived(found: Found, instead: Callable[[Node], Any]) -> Graph:
    """The gradient of ``found`` as JAX derives it, from a cotangent and the inputs."""
    forward = callable_of(found.nodes, found.inputs, (found.root.out,), instead=instead)
    by = _BY.get(found.op)

    def gradient(cotangent: Any, *inputs: Any) -> Any:
        rest = () if by is None else inputs[by:]
        _, pull_back = jax.vjp(lambda *first: forward(*first, *rest)[0], *inputs[:by])
        return pull_back(cotangent)

    return fold_scalars(trace_function(gradient, found.root.out.aval, *(v.aval for v in found.inputs)))


def _numbers(numbering: Numbering, derived: Graph, inputs: Sequence[Value]) -> list[Any]:
    """The numbers of what ``derived`` gives at ``inputs``, values of the graph."""
    alias = dict(zip(derived.inputs, inputs, strict=True))
    numbering.add(with_inputs(node, alias) for node in derived.nodes)
    return [numbering.number(alias.get(v, v)) for v in derived.outputs]


def _cotangents(graph: Graph, numbering: Numbering, derived: Graph, found: Found) -> list[Value]:
    """Values of ``graph`` that may be the gradient by the result of ``found``, by one of the places that read it."""
    wanted = derived.inputs[0]
    _numbers(numbering, derived, (wanted, *found.inputs))
    alias = dict(zip(derived.inputs, (wanted, *found.inputs), strict=True))
    later = {wanted}
    for old in derived.nodes:
        node = with_inputs(old, alias)
        if later.isdisjoint(node.inputs):
            continue
        later.update(node.outputs)
        if node.inputs.count(wanted) == 1 and len(later.intersection(node.inputs)) == 1:
            like = (v for other in graph.nodes for v in _in_place_of(wanted, node, other, numbering))
            return [v for v in dict.fromkeys(like) if (v.shape, v.dtype) == (wanted.shape, wanted.dtype)]
    return []


def _in_place_of(wanted: Value, node: Node, other: Node, numbering: Numbering) -> Iterator[Value]:
    """What ``other`` reads where ``node``, which it is like but for that, reads ``wanted``."""
    if other.op != node.op or len(other.inputs) != len(node.inputs) or dict(other.params) != dict(node.params):
        return
    orders = [other.inputs, other.inputs[::-1]] if node.op in COMMUTATIVE else [other.inputs]
    for inputs in orders:
        pairs = list(zip(node.inputs, inputs, strict=True))
        if all(numbering.number(a) == numbering.number(b) for a, b in pairs if a is not wanted):
            yield next(b for a, b in pairs if a is wanted)


def _apart(graph: Graph, numbering: Numbering, gradient: Gradient) -> Graph:
    """``graph`` with all that ``gradient`` takes computed for it alone, from views of its own."""
    given = (*gradient.inputs, gradient.cotangent)
    start = max((graph.position[graph.producer[v]] + 1 for v in given if v in graph.producer), default=0)
    copies: dict[Any, Value] = {}
    made: list[Node] = []

    def copied(value: Value, is_shared: Callable[[Node | None], bool]) -> Value:
        node = graph.producer.get(value)
        number = numbering.number(value)
        if number not in copies and is_shared(node):
            return value
        if number not in copies:
            assert node is not None
            inputs = tuple(copied(v, is_shared) for v in node.inputs)
            fresh = replace(node, inputs=inputs, outputs=tuple(Value(v.aval) for v in node.outputs))
            made.append(fresh)
            copies.update(zip(map(numbering.number, node.outputs), fresh.outputs, strict=True))
        return copies[number]

    for value in given:
        copies[numbering.number(value)] = copied(value, lambda node: node is None or node.op not in _VIEWS)
    seen = tuple(copies[numbering.number(v)] for v in given)
    results = tuple(copied(v, lambda node: node is None) for v in gradient.results)
    alias = dict(zip(gradient.results, results, strict=True))
    nodes = [*graph.nodes[:start], *made, *(with_inputs(node, alias) for node in graph.nodes[start:])]
    outputs = tuple(alias.get(v, v) for v in graph.outputs)
    numbering.add(made)
    own = replace(gradient, inputs=seen[:-1], cotangent=seen[-1], results=results)
    apart = drop_dead(Graph(graph.inputs, graph.constants, tuple(nodes), outputs))
    return replace(apart, gradients=(*graph.gradients, own))
