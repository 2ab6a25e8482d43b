"""Gradients of softmax, layer norm and RMS norm as composites that kernels with a whole row at hand can run.

For the gradient JAX keeps inner values of the forward pass, so that neither stands alone in a training step. However a
program writes its norm, JAX derives the gradient in one way: it is derived here again, and found in the program
operation by operation. What a norm's gradients need of the forward pass they compute from x; XLA, where it runs both,
merges what is equal. Softmax's needs the result y alone: dx = y * (dy - sum(y * dy)).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import jax.numpy as jnp
import numpy as np

from ..graph.canonical import region_text
from ..graph.ir import Constant, Graph, Node, Value
from ..graph.region import Region
from ..graph.simplify import drop_dead, with_inputs
from ..graph.trace import trace_function
from .composites import Found, normalisation, softmax
from .composites.found import Params
from .derived import CHEAP, before_views, cotangents, gradient_of, numbers, readers_of, without_maxima
from .folding import fold_scalars
from .matcher import Matcher
from .numbering import Numbering
from .sums import Sums
from .unmerged import computed_apart


def with_row_gradients(graph: Graph) -> Graph:
    """``graph`` with the gradients of softmax and norms along the last axis, in float32, as composites."""
    graph = fold_scalars(graph)
    passes = list(_forward_passes(graph))
    if not passes:
        return graph
    numbering = Numbering()
    numbering.add(graph.nodes)
    readers, sums = readers_of(graph, numbering), Sums(graph, numbering)
    derived: dict[tuple[str, int], Graph] = {}
    for found in passes:
        text = region_text(Region.of(graph, found.nodes))
        for place, derive in enumerate(_ways(found)):
            gradient = derived.get((text, place)) or derived.setdefault((text, place), derive())
            if gradient.constants:
                continue
            are_put = [False]
            for cotangent in cotangents(graph, numbering, readers, gradient, found.inputs):
                numbers(numbering, gradient, (cotangent, *found.inputs))
                are_put = [sums.put(gradient, result, node) for result, node in _composites(found, gradient, cotangent)]
            if all(are_put):
                break
    return drop_dead(sums.graph())


def _ways(found: Found) -> list[Callable[[], Graph]]:
    """How the gradient may have been derived."""
    if found.op == "softmax":
        return [lambda: gradient_of(found, instead=without_maxima)]
    return [lambda: gradient_of(found), lambda: gradient_of(computed_apart(found))]


def _forward_passes(graph: Graph) -> Iterator[Found]:
    """Each softmax and norm of rows of which others read inner values, the largest first."""
    if not any(node.op in ("exp", "sqrt", "rsqrt") for node in graph.nodes):
        return
    matcher = Matcher(graph, frozenset(node for node in graph.nodes if node.op in CHEAP))
    recognisers = (*softmax.RECOGNISERS, *normalisation.RECOGNISERS)
    found = [each for find in recognisers for each in find(matcher, read_inside=True)]
    taken: set[Node] = set()
    for each in sorted(found, key=lambda found: -len(found.nodes)):
        is_read_inside = len(Region.of(graph, each.nodes).exits) > 1
        # Of two norms of one array the statistics are the same nodes.
        if each.root not in taken and _is_of_rows(each) and is_read_inside and each.reads_its_inputs_alone(graph):
            taken.update(each.nodes)
            yield each


def _is_of_rows(found: Found) -> bool:
    x, *vectors = found.inputs
    values = (x, *vectors, found.root.out)
    is_single = all(v.dtype == np.float32 and all(isinstance(n, int) for n in v.shape) for v in values)
    is_last = found.op != "log_softmax" and found.params["axis"] == x.ndim - 1
    return is_single and is_last and all(v.size == x.shape[-1] for v in vectors)


def _composites(found: Found, gradient: Graph, cotangent: Value) -> Iterator[tuple[Value, Node]]:
    """What can stand in place of values of ``gradient``."""
    by_source, *by_vectors = gradient.outputs
    if found.op == "softmax":
        y = found.root.out
        body = trace_function(_softmax_gradient, y.aval, cotangent.aval)
        yield by_source, _composite("softmax_gradient", found.params, (y, cotangent), body)
        return
    dy, x, *vectors = gradient.inputs
    given = dict(zip(gradient.inputs, (cotangent, *found.inputs), strict=True))
    scales = vectors[:1] if found.params["scale"] else []
    about = {k: v for k, v in found.params.items() if k not in ("scale", "shift")}
    kinds = [("gradient", about | {"scale": bool(scales)}, (x, *scales, dy), by_source)]
    kinds += [("scale_gradient", about, (x, dy), before_views(gradient, v)) for v in by_vectors[: len(scales)]]
    for kind, params, inputs, result in kinds:
        body = drop_dead(Graph(inputs, (), gradient.nodes, (result,)))
        read = {v for node in body.nodes for v in node.inputs if not isinstance(v, Constant)}
        # The gradient of a row of one element is a number of the program.
        if result in body.producer and read <= {*inputs, *body.producer}:
            yield result, _composite(f"{found.op}_{kind}", params, tuple(given[v] for v in inputs), body)


def _composite(op: str, params: Params, inputs: tuple[Value, ...], body: Graph) -> Node:
    """``op`` of ``inputs``, which computes what ``body`` does of its own."""
    alias = dict(zip(body.inputs, inputs, strict=True))
    nodes: list[Node] = []
    for node in body.nodes:
        fresh = tuple(Value(v.aval) for v in node.outputs)
        nodes.append(replace(with_inputs(node, alias), outputs=fresh))
        alias.update(zip(node.outputs, fresh, strict=True))
    return Node(op, params, inputs, (alias[body.outputs[0]],), body=tuple(nodes))


def _softmax_gradient(y: Any, dy: Any) -> Any:
    return y * (dy - jnp.sum(y * dy, -1, keepdims=True))
