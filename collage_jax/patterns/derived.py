"""Gradients found by deriving them: what JAX makes of a part of a program, looked up in the program.

A training step that JAX derived holds the very operations that JAX derives of a part of it alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import jax
from jax import lax

from ..graph.evaluate import callable_of
from ..graph.ir import Constant, Graph, Node, Value
from ..graph.simplify import with_inputs
from ..graph.trace import trace_function
from .composites import Found
from .folding import fold_scalars
from .language import COMMUTATIVE
from .numbering import Numbering

#: Operations that the gradient may do again by itself.
CHEAP = ("convert_element_type", "broadcast_in_dim")

#: Operations that only say how an array is seen: whoever reads it may do so himself.
VIEWS = ("reshape", "transpose", "squeeze", "expand_dims")

#: Views, and what repeats an array, by which a vector is laid along an axis.
_SPREADS = ("broadcast_in_dim", *VIEWS)


def before_views(graph: Graph, value: Value) -> Value:
    """The value with the same elements that ``value`` is seen of."""
    while (node := graph.producer.get(value)) is not None and node.op in _SPREADS and node.inputs[0].size == value.size:
        value = node.inputs[0]
    return value


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


def without_maxima(node: Node) -> Callable[..., Any] | None:
    """``instead``, for ``jax.nn.softmax`` takes the maximum that it subtracts for a number."""
    if node.op != "reduce_max":
        return None
    return lambda x: lax.stop_gradient(node.eqn.primitive.bind(x, **node.params))


def places(
    graph: Graph, numbering: Numbering, gradient: Graph, inputs: Sequence[Value]
) -> Iterator[tuple[Value, tuple[Value, ...]]]:
    """Where ``graph`` computes ``gradient`` at ``inputs``: the cotangents, and what it has as the results.

    ``numbering`` is of ``graph``, and gets what is derived besides.
    """
    made = {numbering.number(v): v for node in reversed(graph.nodes) for v in node.outputs}
    for cotangent in cotangents(graph, numbering, readers_of(graph, numbering), gradient, inputs):
        results = [made.get(number) for number in numbers(numbering, gradient, (cotangent, *inputs))]
        values = tuple(v for v in results if v is not None)
        if len(values) == len(results):
            yield cotangent, values


def numbers(numbering: Numbering, gradient: Graph, inputs: Sequence[Value]) -> list[Any]:
    """The numbers of what ``gradient`` gives at ``inputs``, values of the graph; its inner values get theirs, too."""
    alias = dict(zip(gradient.inputs, inputs, strict=True))
    numbering.add(with_inputs(node, alias) for node in gradient.nodes)
    return [numbering.number(alias.get(v, v)) for v in gradient.outputs]


def readers_of(graph: Graph, numbering: Numbering) -> dict[Any, list[Node]]:
    """The nodes that read a value with a number."""
    readers: dict[Any, list[Node]] = {}
    for node in graph.nodes:
        for number in dict.fromkeys(map(numbering.number, node.inputs)):
            readers.setdefault(number, []).append(node)
    return readers


def cotangents(
    graph: Graph,
    numbering: Numbering,
    readers: Mapping[Any, Sequence[Node]],
    gradient: Graph,
    inputs: Sequence[Value],
) -> list[Value]:
    """Values of ``graph`` that may be the gradient by a result, by operations that read it.

    ``graph`` need not hold all that is derived: who reads no gradient by a shift has none. Those are asked that read
    something else besides, for they are like few others. ``readers`` are those of ``graph``.
    """
    wanted = gradient.inputs[0]
    numbers(numbering, gradient, (wanted, *inputs))
    alias = dict(zip(gradient.inputs, (wanted, *inputs), strict=True))
    later = {wanted}
    found: dict[Value, None] = {}
    unspecific: list[Node] = []
    for old in gradient.nodes:
        node = with_inputs(old, alias)
        if later.isdisjoint(node.inputs):
            continue
        later.update(node.outputs)
        if node.inputs.count(wanted) == 1 and len(later.intersection(node.inputs)) == 1:
            more = next((v for v in node.inputs if v is not wanted and not isinstance(v, Constant)), None)
            if more is None:
                unspecific.append(node)
            else:
                found.update(_read_like(wanted, node, readers.get(numbering.number(more), ()), numbering))
    if not found and unspecific:
        found.update(_read_like(wanted, unspecific[0], graph.nodes, numbering))
    return list(found)


def _read_like(wanted: Value, node: Node, others: Iterable[Node], numbering: Numbering) -> Iterator[tuple[Value, None]]:
    """What ``others`` read where ``node``, which they are like, reads ``wanted``."""
    for other in others:
        for value in _in_place_of(wanted, node, other, numbering):
            if (value.shape, value.dtype) == (wanted.shape, wanted.dtype):
                yield value, None


def _in_place_of(wanted: Value, node: Node, other: Node, numbering: Numbering) -> Iterator[Value]:
    """What ``other`` reads where ``node``, which it is like but for that, reads ``wanted``."""
    if other.op != node.op or len(other.inputs) != len(node.inputs) or dict(other.params) != dict(node.params):
        return
    orders = [other.inputs, other.inputs[::-1]] if node.op in COMMUTATIVE else [other.inputs]
    for inputs in orders:
        pairs = list(zip(node.inputs, inputs, strict=True))
        if all(numbering.number(a) == numbering.number(b) for a, b in pairs if a is not wanted):
            yield next(b for a, b in pairs if a is wanted)
