"""What follows a product and is done before its result is stored.

    activation(alpha * product + beta * summand + bias)

In float64 there are no bias and no activation. A GELU may give its operand too, which its gradient asks for. In place
of an activation the gradient of one may follow where there is no bias; then the sum over the result's rows, the bias's
gradient, is made too. A product that nothing follows may give the sum over one of its operands instead, which is the
gradient of a bias where the product is that of weights.
"""

from __future__ import annotations

from dataclasses import replace
from math import isfinite, prod

import numpy as np

from ...graph.gates import gate
from ...graph.ir import Constant, Graph, Node, Value
from ...graph.origins import Inside, number, vector
from ..base import Unsupported
from .anchors import contracted_axes, laid_out
from .product import Gradient, Product

_ADDS = ("add", "add_any")

#: Factors are float32 in the library, and are rounded there.
_SMALLEST, _LARGEST = float(np.finfo(np.float32).tiny), float(np.finfo(np.float32).max)

#: What distances in a GELU's operand are multiples of, in elements (CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_LD).
_WHOLE = 8


def extend(graph: Graph, product: Product, inside: Inside) -> Product | None:
    """``product`` with what reads its result next, or None if that cannot be. ``inside`` bounds the region."""
    node = graph.only_user(product.result)
    if node is None:
        return _kept(graph, product, inside)
    if node.barrier or not inside(node) or len(node.outputs) != 1 or product.gradient is not None:
        return None
    if product.is_bare and (longer := laid_out(graph, product, inside)) is not None:
        return longer
    if node.out.shape != product.result.shape or node.out.dtype != product.result.dtype or product.activation:
        return None
    if node.op == "relu" or (node.op == "gelu" and node.params["approximate"]):
        return product.followed_by(node.op, (node,), activation=node.op) if _has_epilogues(product) else None
    if (slope := _slope(graph, product, node, inside)) is not None:
        return None if isinstance(slope, Unsupported) else slope
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
    """``product`` with the sum that someone takes of its result or of one of its operands, or None."""
    if product.activation in ("drelu", "dgelu") and product.gradient is None:
        return _with_sum_of_result(graph, product, inside)
    if not product.is_bare or product.sizes[3] != 1 or not _has_epilogues(product):
        return None
    for side, axes in enumerate(contracted_axes(product.anchor)):
        for node in graph.users[product.anchor.inputs[side]]:
            if node.op != "reduce_sum" or node.barrier or not inside(node) or node.out.dtype != product.result.dtype:
                continue
            if frozenset(map(int, node.params["axes"])) == axes and node.params.get("out_sharding") is None:
                labels = (*product.labels, "bias_gradient")
                gradient = Gradient(node, "left" if side == 0 else "right")
                return replace(product, nodes=(*product.nodes, node), labels=labels, gradient=gradient)
    return None


def why_not_followed(graph: Graph, product: Product, inside: Inside) -> tuple[Node, Unsupported] | None:
    """The gradient of an activation that follows ``product`` and cannot be part of it, with the reason."""
    node = graph.only_user(product.result)
    if node is None or not inside(node) or product.activation is not None or len(node.outputs) != 1:
        return None
    slope = _slope(graph, product, node, inside)
    return (node, slope) if isinstance(slope, Unsupported) else None


def _kept(graph: Graph, product: Product, inside: Inside) -> Product | None:
    """``product`` with a GELU of its result, which is a result too, for others read it."""
    if product.activation or product.gradient is not None or not _has_epilogues(product) or not _is_whole(product):
        return None
    for node in graph.users.get(product.result, ()):
        if node.op == "gelu" and node.params["approximate"] and inside(node):
            return product.followed_by("gelu", (node,), activation="gelu", beside=product.result)
    return None


def _slope(graph: Graph, product: Product, node: Node, inside: Inside) -> Product | Unsupported | None:
    """``product`` with the gradient of an activation, if ``node`` is one: what it gives times the slope elsewhere."""
    if node.op == "gelu_gradient":
        operand, given = node.inputs
        found = ("dgelu", operand, (node,)) if given is product.result and operand is not given else None
    else:
        gated = gate(graph, node, product.result, inside)
        found = None if gated is None else ("drelu", gated[0], (*gated[1], node))
    if found is None:
        return None
    name, beside, nodes = found
    if product.bias is not None or not _has_epilogues(product):
        return Unsupported("cuBLASLt does the gradient of an activation with no bias, and not in float64")
    if product.sizes[2] == 1:  # as NVIDIA's tests of nvmath-python have it
        return Unsupported("cuBLASLt does the gradient of an activation with sums of more than one product")
    if name == "dgelu" and not _is_whole(product):
        return Unsupported(f"cuBLASLt reads a GELU's operand in lines of a multiple of {_WHOLE}, got {product.leading}")
    return product.followed_by(f"{name[1:]}_gradient", nodes, activation=name, beside=beside)


def _with_sum_of_result(graph: Graph, product: Product, inside: Inside) -> Product | None:
    shape = product.result.shape
    for node in graph.users.get(product.result, ()):
        if node.op != "reduce_sum" or node.barrier or not inside(node) or node.out.dtype != product.result.dtype:
            continue
        count = len(node.params["axes"])
        summed = sorted(map(int, node.params["axes"])) == list(range(count)) and prod(shape[count:]) == product.line
        if summed and product.sizes[3] == 1 and node.params.get("out_sharding") is None:
            labels = (*product.labels, "bias_gradient")
            return replace(product, nodes=(*product.nodes, node), labels=labels, gradient=Gradient(node, "result"))
    return None


def _is_whole(product: Product) -> bool:
    return product.leading % _WHOLE == 0 and product.stride % _WHOLE == 0


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
