"""What follows a product and is done before its result is stored.

    activation(alpha * product + beta * summand + bias)

In float64 there are no bias and no activation. A product that nothing follows may give the sum over one of its operands
too, which is the gradient of a bias where the product is that of weights.
"""

from __future__ import annotations

from dataclasses import replace
from math import isfinite

import numpy as np

from ...graph.ir import Constant, Graph, Node, Value
from ...graph.origins import Inside, number, vector
from .anchors import contracted_axes, laid_out
from .product import Gradient, Product

_ADDS = ("add", "add_any")

#: Factors are float32 in the library, and are rounded there.
_SMALLEST, _LARGEST = float(np.finfo(np.float32).tiny), float(np.finfo(np.float32).max)


def extend(graph: Graph, product: Product, inside: Inside) -> Product | None:
    """``product`` with what reads its result next, or None if that cannot be. ``inside`` bounds the region."""
    node = graph.only_user(product.result)
    if node is None or node.barrier or not inside(node) or len(node.outputs) != 1 or product.gradient is not None:
        return None
    if product.is_bare and (longer := laid_out(graph, product, inside)) is not None:
        return longer
    if node.out.shape != product.result.shape or node.out.dtype != product.result.dtype or product.activation:
        return None
    if node.op == "relu" or (node.op == "gelu" and node.params["approximate"]):
        return product.followed_by(node.op, (node,), activation=node.op) if _has_epilogues(product) else None
    if node.op not in (*_ADDS, "sub", "mul", "div") or node.inputs.count(product.result) != 1:
        return None
    first = node.inputs[0] is product.result
    other = node.inputs[1 if first else 0]
    if node.op in _ADDS:
        return _biased(graph, product, node, other, inside) or _plus(product, node, other)
    if node.op == "sub":
        return _plus(product, node, other, beta=-1.0) if first else _taken_away(product, node, other)
    found = number(graph, other, node, inside)
    return None if found is None else _scaled(product, node, (*found[1], node), found[0])


def with_gradient(graph: Graph, product: Product, inside: Inside) -> Product | None:
    """``product`` with the sum that someone takes of one of its operands over what it sums over itself, or None."""
    if not product.is_bare or product.sizes[3] != 1 or not _has_epilogues(product):
        return None
    for side, axes in enumerate(contracted_axes(product.anchor)):
        for node in graph.users[product.anchor.inputs[side]]:
            if node.op != "reduce_sum" or node.barrier or not inside(node) or node.out.dtype != product.result.dtype:
                continue
            if frozenset(map(int, node.params["axes"])) == axes and node.params.get("out_sharding") is None:
                labels = (*product.labels, "bias_gradient")
                return replace(product, nodes=(*product.nodes, node), labels=labels, gradient=Gradient(node, side == 0))
    return None


def _has_epilogues(product: Product) -> bool:
    return product.compute != "f64"


def _biased(graph: Graph, product: Product, node: Node, other: Value, inside: Inside) -> Product | None:
    if product.bias is not None or not _has_epilogues(product) or other.dtype != product.result.dtype:
        return None
    found = vector(graph, other, node, inside)
    # The last axis alone must be the line of the result: of several axes in one, the bias would be too short.
    if found is None or not found[0].size == product.result.shape[-1] == product.line:
        return None
    return product.followed_by("bias", (*found[1], node), bias=found[0])


def _plus(product: Product, node: Node, other: Value, beta: float = 1.0) -> Product | None:
    if product.summand is not None or isinstance(other, Constant):
        return None
    if other.shape != product.result.shape or other.dtype != product.result.dtype:
        return None
    return product.followed_by("sum", (node,), summand=other, beta=beta)


def _taken_away(product: Product, node: Node, other: Value) -> Product | None:
    """What is left of another array when ``product`` is taken away, as a step down a gradient does."""
    longer = _plus(product, node, other) if product.bias is None else None
    return None if longer is None else replace(longer, alpha=-product.alpha)


def _scaled(product: Product, node: Node, nodes: tuple[Node, ...], factor: float) -> Product | None:
    if not product.is_bare:
        return None
    if node.op == "div":
        if node.inputs[0] is not product.result or factor == 0:
            return None
        factor = 1 / factor
    if not isfinite(factor) or not _SMALLEST <= abs(factor) <= _LARGEST:
        return None
    return product.followed_by("scale", nodes, alpha=factor)
