"""What follows a product and is done before its result is stored: scale, bias, ReLU, another tensor, bounds, a gate."""

from __future__ import annotations

from math import inf, isfinite, isnan

import numpy as np

from ...graph.gates import gate
from ...graph.ir import Constant, Graph, Node, Value
from ...graph.origins import Inside, number, vector
from ..own_kernels import bounds
from .anchors import transposed
from .product import Product

_ADDS = ("add", "add_any")

#: Normal numbers in float32.
_SMALLEST, _LARGEST = float(np.finfo(np.float32).tiny), float(np.finfo(np.float32).max)


def extend(graph: Graph, product: Product, inside: Inside) -> Product | None:
    """``product`` with the one node that reads its result, or None if it cannot be. ``inside`` bounds the region."""
    node = graph.only_user(product.result)
    if node is None or node.barrier or not inside(node) or len(node.outputs) != 1 or product.gate is not None:
        return None
    if node.op == "transpose":
        return transposed(product.nodes[0], node) if product.labels == ("dot",) else None
    if node.out.shape != product.result.shape or node.out.dtype != product.result.dtype:
        return None
    if (gated := gate(graph, node, product.result, inside)) is not None:
        return product.followed_by("gate", (*gated[1], node), gate=gated[0])
    if (found := bounds(node, product.result)) is not None:
        label, low, high = found
        return _bounded(product, label, (node,), low, high)
    if node.op not in (*_ADDS, "sub", "mul", "div", "max", "min") or node.inputs.count(product.result) != 1:
        return None
    other = node.inputs[1 if node.inputs[0] is product.result else 0]
    if node.op in _ADDS:
        return _plus(graph, product, node, other, inside)
    if node.op == "sub":
        return _minus(product, node)
    found = number(graph, other, node, inside)
    if found is None:
        return None
    bound, nodes = found[0], (*found[1], node)
    if node.op in ("max", "min"):
        label = "relu" if (node.op, bound) == ("max", 0) else node.op
        return _bounded(product, label, nodes, *((bound, inf) if node.op == "max" else (-inf, bound)))
    return _scaled(product, node, nodes, bound)


def _plus(graph: Graph, product: Product, node: Node, other: Value, inside: Inside) -> Product | None:
    if product.summand is not None or other.dtype != product.result.dtype:
        return None
    if product.bias is None and not product.is_bounded:
        found = vector(graph, other, node, inside)
        if found is not None and found[0].size == product.result.shape[-1] == product.sizes[2]:
            return product.followed_by("bias", (*found[1], node), bias=found[0])
    if other.shape != product.result.shape or isinstance(other, Constant):
        return None
    if not product.is_bounded:
        return product.followed_by("sum", (node,), summand=other)
    if (product.low, product.high) == (0.0, inf):
        return product.followed_by("sum", (node,), summand=other, floor=0.0, low=-inf)
    return None


def _minus(product: Product, node: Node) -> Product | None:
    """What is left of another tensor when ``product`` is taken away, as a step down a gradient does."""
    other = node.inputs[0]
    if other is product.result or other.shape != product.result.shape or isinstance(other, Constant):
        return None
    if product.bias is not None or product.summand is not None or product.is_bounded:
        return None
    return product.followed_by("sum", (node,), summand=other, scale=-product.scale)


def _bounded(product: Product, label: str, nodes: tuple[Node, ...], low: float, high: float) -> Product | None:
    """``product`` at least ``low``, then at most ``high``."""
    if isnan(low) or isnan(high) or product.high != inf or (low != -inf and product.low != -inf):
        return None
    return product.followed_by(label, nodes, low=max(low, product.low), high=high)


def _scaled(product: Product, node: Node, nodes: tuple[Node, ...], factor: float) -> Product | None:
    if product.scale != 1 or product.bias is not None or product.summand is not None or product.is_bounded:
        return None
    if node.op == "div":
        if node.inputs[0] is not product.result or factor == 0:
            return None
        factor = 1 / factor
    # As a float32: what is too small or too large for one is not what the program does.
    if not isfinite(factor) or not _SMALLEST <= abs(factor) <= _LARGEST:
        return None
    return product.followed_by("scale", nodes, scale=factor)
