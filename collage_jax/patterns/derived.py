"""Gradients found by deriving them: what JAX makes of a part of a program, looked up in the program.

A training step that JAX derived holds the very operations that JAX derives of a part of it alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax

from ..graph.evaluate import callable_of
from ..graph.ir import Graph, Node, Value
from ..graph.simplify import with_inputs
from ..graph.trace import trace_function
from .composites import Found
from .folding import fold_scalars
from .language import COMMUTATIVE
from .numbering import Numbering


def gradient_of(
    found: Found, by: int | None = None, instead: Callable[[Node], Callable[..., Any] | None] = lambda node: None
) -> Graph:
    """The gradient of ``found`` as JAX derives it: from a cotangent and the inputs to the gradients by these.

    ``by``: by the first so many of them alone. ``instead`` as in ``graph.evaluate``.
    """
    forward = callable_of(found.nodes, found.inputs, (found.root.out,), instead=instead)

    def gradient(cotangent: Any, *inputs: Any) -> Any:
        rest = () if by is None else inputs[by:]
        _, pull_back = jax.vjp(lambda *first: forward(*first, *rest)[0], *inputs[:by])
        return pull_back(cotangent)

    return fold_scalars(trace_function(gradient, found.root.out.aval, *(v.aval for v in found.inputs)))


def places(
    graph: Graph, numbering: Numbering, gradient: Graph, inputs: Sequence[Value]
) -> Iterator[tuple[Value, tuple[Value, ...]]]:
    """Where ``graph`` computes ``gradient`` at ``inputs``: the cotangents, and what it has as the results.

    ``numbering`` is of ``graph``, and gets what is derived besides.
    """
    made = {numbering.number(v): v for node in reversed(graph.nodes) for v in node.outputs}
    for cotangent in _cotangents(graph, numbering, gradient, inputs):
        results = [made.get(number) for number in _numbers(numbering, gradient, (cotangent, *inputs))]
        values = tuple(v for v in results if v is not None)
        if len(values) == len(results):
            yield cotangent, values


def _numbers(numbering: Numbering, gradient: Graph, inputs: Sequence[Value]) -> list[Any]:
    """The numbers of what ``gradient`` gives at ``inputs``, values of the graph."""
    alias = dict(zip(gradient.inputs, inputs, strict=True))
    numbering.add(with_inputs(node, alias) for node in gradient.nodes)
    return [numbering.number(alias.get(v, v)) for v in gradient.outputs]


def _cotangents(graph: Graph, numbering: Numbering, gradient: Graph, inputs: Sequence[Value]) -> list[Value]:
    """Values of ``graph`` that may be the gradient by a result, by one of the places that read it."""
    wanted = gradient.inputs[0]
    _numbers(numbering, gradient, (wanted, *inputs))
    alias = dict(zip(gradient.inputs, (wanted, *inputs), strict=True))
    later = {wanted}
    for old in gradient.nodes:
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
