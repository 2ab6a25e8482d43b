"""The gradient of a GELU by the tanh formula as one composite of the GELU's operand x and the gradient of its result.

For the gradient JAX keeps inner values of the GELU, so that neither stands alone in a training step. Kernels know both
as functions of x. However a program writes its GELU, JAX derives the gradient in one way: it is derived here again, and
found in the program operation by operation. The composite computes the inner values from x itself; XLA, where it runs
both, merges what is equal.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from ..graph.canonical import region_text
from ..graph.ir import Graph, Node, Value
from ..graph.region import Region
from ..graph.simplify import drop_dead, with_inputs
from .composites.activations import GELU_BY_TANH
from .composites.found import Found
from .derived import gradient_of, places
from .matcher import Matcher
from .numbering import Numbering


def with_gelu_gradients(graph: Graph) -> Graph:
    """``graph`` with the gradients of GELUs whose inner values they read as ``gelu_gradient``."""
    at_root: dict[Node, Node] = {}
    derived: dict[str, Graph] = {}
    numbering = Numbering()
    for found in _gelus(graph):
        if not derived:
            numbering.add(graph.nodes)
        text = region_text(Region.of(graph, found.nodes))
        gradient = derived.get(text) or derived.setdefault(text, gradient_of(found))
        for cotangent, (result,) in places(graph, numbering, gradient, found.inputs):
            root = graph.producer[result]
            at_root.setdefault(root, _composite(gradient, cotangent, found.inputs[0], root))
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


def _composite(gradient: Graph, cotangent: Value, x: Value, root: Node) -> Node:
    """``gradient`` in place of ``root``, its inner values copies of their own."""
    alias = dict(zip(gradient.inputs, (cotangent, x), strict=True))
    body: list[Node] = []
    for node in gradient.nodes:
        own = root.outputs if node.outputs == gradient.outputs else tuple(Value(v.aval) for v in node.outputs)
        body.append(replace(with_inputs(node, alias), outputs=own))
        alias.update(zip(node.outputs, own, strict=True))
    return Node("gelu_gradient", {"approximate": True}, (x, cotangent), root.outputs, body=tuple(body))
