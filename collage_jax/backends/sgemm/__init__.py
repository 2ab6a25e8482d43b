"""Sgemm: matrix products in float32 with packed weights, and what is fused to them.

anchors        node -> product as the kernels see it, or why they cannot run it
tail           product + what follows it -> longer product
kernel         product -> callable
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from ...graph.ir import Graph, Node, Value
from ...graph.region import Region
from ..base import Backend, PreparedKernel, Proposal, Unsupported
from .anchors import ANCHORS, plan
from .kernel import kernel, prepared_kernel
from .library import load
from .product import Product
from .tail import extend


class Sgemm(Backend):
    """Products with one matrix of weights, and channels-last convolutions whose kernel has no extent."""

    name = "sgemm"
    kind = "kernel-library"
    platforms = ("cpu",)

    def available(self) -> Unsupported | None:
        module = load()
        return module if isinstance(module, Unsupported) else None

    def version(self) -> str:
        module = load()
        if isinstance(module, Unsupported):
            return ""
        return f"{module.version()}/{module.instruction_set()}/{module.threads()}t"

    def propose(self, graph: Graph) -> Iterable[Proposal]:
        for node in filter(_is_anchor, graph.nodes):
            product = plan(node)
            if isinstance(product, Unsupported):
                yield Proposal((node,), node.op, refused=product)
                continue
            for longer in _prefixes(graph, product):
                yield Proposal(longer.nodes, longer.label)

    def supports(self, region: Region) -> Unsupported | None:
        product = _read(region)
        return product if isinstance(product, Unsupported) else None

    def emit(self, region: Region) -> Callable[..., Any]:
        module, product = load(), _read(region)
        if isinstance(module, Unsupported) or isinstance(product, Unsupported):
            raise ValueError(f"the product kernels cannot run {region}: {self.supports(region) or module}")
        return kernel(product, region, module.version())

    def emit_frozen(self, region: Region, frozen: frozenset[Value]) -> PreparedKernel | None:
        module, product = load(), _read(region)
        if isinstance(module, Unsupported) or isinstance(product, Unsupported) or product.weights.value not in frozen:
            return None
        size = module.packed_size(f"op=pack {product.spec(packed=True)}")
        return prepared_kernel(product, region, frozen, module.version(), size)


def _is_anchor(node: Node) -> bool:
    # Under shape polymorphism sizes are expressions, of which no plan can be built.
    is_product = node.op in ANCHORS and not node.barrier
    return is_product and all(isinstance(n, int) for v in (*node.inputs, *node.outputs) for n in v.shape)


def _prefixes(graph: Graph, product: Product) -> Iterator[Product]:
    longer: Product | None = product
    while longer is not None:
        yield longer
        longer = extend(graph, longer, lambda node: not node.barrier)


def _read(region: Region) -> Product | Unsupported:
    """The one product that does the work of all nodes of ``region``."""
    anchors = [node for node in region.nodes if _is_anchor(node)]
    if len(anchors) != 1:
        return Unsupported(f"one product is needed, there are {len(anchors)}: {', '.join(region.ops)}")
    inside = set(region.nodes)
    product = plan(anchors[0])
    while isinstance(product, Product) and len(product.nodes) < len(inside):
        longer = extend(region.graph, product, inside.__contains__)
        if longer is None:
            left = ", ".join(node.op for node in region.nodes if node not in product.nodes)
            return Unsupported(f"{left} cannot follow a product in the same call")
        product = longer
    if isinstance(product, Product) and region.exits != (product.result,):
        return Unsupported(f"values inside are used outside: {', '.join(map(repr, region.exits))}")
    return product


BACKEND = Sgemm()
