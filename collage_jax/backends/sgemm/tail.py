"""What follows a product and is done before its result is stored: scale, bias, ReLU, another tensor, bounds."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from math import inf, isfinite, isnan, prod

import numpy as np

from ...graph.ir import Constant, Graph, Node, Value
from .product import Product

Inside = Callable[[Node], bool]

_ADDS = ("add", "add_any")
_RESHAPES = ("reshape", "squeeze", "expand_dims")


def extend(graph: Graph, product: Product, inside: Inside) -> Product | None:
    """``product`` with the one node that reads its result, or None if it cannot be. ``inside`` bounds the region."""
    node = graph.only_user(product.result)
    if node is None or node.barrier or not inside(node) or len(node.outputs) != 1:
        return None
    if node.out.shape != product.result.shape or node.out.dtype != product.result.dtype:
        return None
    if node.op in ("relu", "relu6", "clip"):
        bounds = {"relu": (0.0, inf), "relu6": (0.0, 6.0)}.get(node.op) or (node.params["min"], node.params["max"])
        return _bounded(product, node.op, (node,), *map(float, bounds))
    if node.op == "clamp":
        return _clamped(graph, product, node, inside)
    if node.op not in (*_ADDS, "mul", "div", "max", "min") or node.inputs.count(product.result) != 1:
        return None
    other = node.inputs[1 if node.inputs[0] is product.result else 0]
    if node.op in _ADDS:
        return _plus(graph, product, node, other, inside)
    number, nodes = _number(graph, other, node, inside)
    if number is None:
        return None
    if node.op in ("max", "min"):
        label = "relu" if (node.op, number) == ("max", 0) else node.op
        return _bounded(product, label, nodes, *((number, inf) if node.op == "max" else (-inf, number)))
    return _scaled(product, node, nodes, number)


def _plus(graph: Graph, product: Product, node: Node, other: Value, inside: Inside) -> Product | None:
    if product.summand is not None or other.dtype != product.result.dtype:
        return None
    if product.bias is None and not product.is_bounded:
        *_, (origin, nodes) = _origins(graph, other, node, inside)
        if _is_vector(graph, other, origin, nodes):
            return product.followed_by("bias", (*nodes, node), bias=origin)
    if other.shape != product.result.shape or isinstance(other, Constant):
        return None
    if not product.is_bounded:
        return product.followed_by("sum", (node,), summand=other)
    if (product.low, product.high) == (0.0, inf):
        return product.followed_by("sum", (node,), summand=other, floor=0.0, low=-inf)
    return None


def _bounded(product: Product, label: str, nodes: tuple[Node, ...], low: float, high: float) -> Product | None:
    """``product`` at least ``low``, then at most ``high``."""
    if isnan(low) or isnan(high) or product.high != inf or (low != -inf and product.low != -inf):
        return None
    return product.followed_by(label, nodes, low=max(low, product.low), high=high)


def _clamped(graph: Graph, product: Product, node: Node, inside: Inside) -> Product | None:
    low, value, high = node.inputs
    if value is not product.result:
        return None
    (least, _), (most, _) = (_number(graph, bound, node, inside) for bound in (low, high))
    if least is None or most is None or not isinstance(low, Constant) or not isinstance(high, Constant):
        return None
    return _bounded(product, "clip", (node,), least, most)


def _scaled(product: Product, node: Node, nodes: tuple[Node, ...], number: float) -> Product | None:
    if product.scale != 1 or product.bias is not None or product.summand is not None or product.is_bounded:
        return None
    if node.op == "div":
        if node.inputs[0] is not product.result or number == 0:
            return None
        number = 1 / number
    # As a float32: what is too small or too large for one is not what the program does.
    if not isfinite(number) or not np.finfo(np.float32).tiny <= abs(number) <= np.finfo(np.float32).max:
        return None
    return product.followed_by("scale", nodes, scale=number)


def _number(graph: Graph, value: Value, user: Node, inside: Inside) -> tuple[float | None, tuple[Node, ...]]:
    """The number that ``value`` holds everywhere, or None, and ``user`` with the nodes that spread it."""
    *_, (origin, nodes) = _origins(graph, value, user, inside)
    return (float(np.asarray(origin.val)) if isinstance(origin, Constant) else None), (*nodes, user)


def _origins(graph: Graph, value: Value, user: Node, inside: Inside) -> Iterator[tuple[Value, tuple[Node, ...]]]:
    """``value`` and what it is a broadcast or reshape of, nearest first, each with the nodes between."""
    nodes: tuple[Node, ...] = ()
    while True:
        yield value, nodes
        node = graph.producer.get(value)
        if node is None or not inside(node) or graph.only_user(value) is not user:
            return
        if node.op not in ("broadcast_in_dim", *_RESHAPES) or len(node.inputs) != 1:
            return
        if node.op == "reshape" and node.params.get("dimensions") is not None:
            return
        value, user, nodes = node.inputs[0], node, (node, *nodes)


def _is_vector(graph: Graph, value: Value, origin: Value, nodes: tuple[Node, ...]) -> bool:
    """Whether ``origin`` is one number per index of ``value``'s last axis, repeated by ``nodes`` over the others."""
    size = value.shape[-1] if value.shape else 0
    if isinstance(origin, Constant) or origin.size != size or prod(origin.shape) != max(origin.shape, default=0):
        return False
    axis = origin.shape.index(size)
    for node in nodes:
        if node.op == "broadcast_in_dim":
            axis = int(node.params["broadcast_dimensions"][axis])
        elif node.out.size == size and size in node.out.shape:
            axis = node.out.shape.index(size)
        else:
            return False
    return axis == value.ndim - 1
