"""Gradients of attentions and norms, each made one that kernels can take as a whole.

What a gradient reads of the forward pass is computed anew for it, so that neither keeps the other from being one
kernel: XLA merges equal operations that stay with it. Only the statistics of a batch norm, which a program reads in any
case, it is given: the forward pass then makes them beside its result.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any, TypeAlias

from ..graph.ir import Graph, Node, Value
from ..graph.simplify import drop_dead, with_inputs
from ..graph.wholes import Gradient, Whole
from .composites import Found, find_attention, normalisation
from .derived import CHEAP, VIEWS, before_views, gradient_of, places, without_maxima
from .folding import fold_scalars
from .matcher import Matcher
from .numbering import Numbering
from .unmerged import computed_apart, converted_twice

#: By how many of its inputs a gradient is looked for, where not by all: q, k and v.
_BY = {"attention": 3}


def with_gradients(graph: Graph) -> Graph:
    """``graph`` with gradients of attentions and norms computed apart from all else, and named in ``wholes``."""
    graph = fold_scalars(graph)
    numbering = Numbering()
    numbering.add(graph.nodes)
    taken: set[Node] = set()
    for found in _forward_passes(graph):
        wholes = _wholes(graph, numbering, found) if taken.isdisjoint(found.nodes) else None
        if wholes is not None:
            taken.update(found.nodes)
            graph = _apart(graph, numbering, wholes[0], *wholes[1:])
    return graph


def _forward_passes(graph: Graph) -> list[Found]:
    """Every attention of 16-bit numbers and every norm of which others read inner values too, the largest first."""
    matcher = Matcher(graph, frozenset(node for node in graph.nodes if node.op in CHEAP))
    attentions = find_attention(matcher, read_inside=True)
    halves = [each for each in attentions if all(v.dtype.itemsize == 2 for v in each.inputs[:3])]
    # Kernels of a norm's gradient have epsilon beside a variance over n.
    norms = [
        each
        for find in (normalisation.WITH_STATISTICS, *normalisation.RECOGNISERS)
        for each in find(matcher, read_inside=True)
        if not (each.params.get("unbiased") or each.params.get("epsilon_outside"))
    ]
    return sorted(filter(partial(_is_read_inside, graph), (*halves, *norms)), key=lambda found: -len(found.nodes))


def _is_read_inside(graph: Graph, found: Found) -> bool:
    inside = set(found.nodes)
    inner = (v for node in found.nodes if node is not found.root for v in node.outputs)
    is_read = any(user not in inside for v in inner for user in graph.users.get(v, ()))
    return is_read and found.reads_its_inputs_alone(graph)


#: A gradient, perhaps with the forward pass that it is of.
Wholes: TypeAlias = tuple[Gradient] | tuple[Gradient, Whole]


def _wholes(graph: Graph, numbering: Numbering, found: Found) -> Wholes | None:
    """The gradient of ``found``, with ``found`` itself where it gives out its statistics; None if there is none."""
    for written, instead in _ways(found):
        derived = gradient_of(written, _BY.get(found.op), instead)
        for cotangent, results in places(graph, numbering, derived, found.inputs):
            wholes = _named(graph, found, cotangent, results)
            if wholes is not None:
                return wholes
    return None


def _ways(found: Found) -> Iterator[tuple[Found, Callable[[Node], Callable[..., Any] | None]]]:
    """How the program may have been written that ``found`` is of, with what was differentiated in its stead."""
    if any(node.op == "reduce_max" for node in found.nodes):
        yield found, without_maxima
    yield found, _as_it_is
    if (twice := converted_twice(found)) is not None:
        yield twice, _as_it_is
    yield computed_apart(found), _as_it_is


def _named(graph: Graph, found: Found, cotangent: Value, results: tuple[Value, ...]) -> Wholes | None:
    """``results``, the gradient of ``found``, as one; None if they are part of another."""
    taken = {v for whole in graph.wholes for v in whole.made}
    if found.op != normalisation.WITH_STATISTICS.op:
        is_own = taken.isdisjoint(results)
        return (Gradient(found.op, found.params, found.inputs, results, cotangent),) if is_own else None
    if results[0] in taken:
        return None
    # Two norms whose results are added have one and the same gradient by what each adds.
    own = tuple(None if v in taken else v for v in results)
    x, *others = found.inputs
    # Composites take vectors as they are before they are spread.
    vectors = [before_views(graph, v) for v in others]
    gradient = Gradient(found.op, found.params, (x, *found.also, *vectors), own, cotangent)
    return gradient, Whole(found.op, found.params, (x, *vectors), (found.root.out, *found.also))


def _as_it_is(node: Node) -> None:
    return None


def _apart(graph: Graph, numbering: Numbering, gradient: Gradient, *others: Whole) -> Graph:
    """``graph`` with all that ``gradient`` takes computed for it alone, from views of its own; ``others`` named too."""
    given = gradient.given
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
        copies[numbering.number(value)] = copied(value, lambda node: node is None or node.op not in VIEWS)
    seen = tuple(copies[numbering.number(v)] for v in given)
    alias = {v: copied(v, lambda node: node is None) for v in gradient.made}
    results = tuple(None if v is None else alias[v] for v in gradient.results)
    nodes = [*graph.nodes[:start], *made, *(with_inputs(node, alias) for node in graph.nodes[start:])]
    outputs = tuple(alias.get(v, v) for v in graph.outputs)
    numbering.add(made)
    own = replace(gradient, inputs=seen[:-1], cotangent=seen[-1], results=results)
    apart = drop_dead(Graph(graph.inputs, graph.constants, tuple(nodes), outputs))
    return replace(apart, wholes=(*graph.wholes, own, *others))
