"""cuBLASLt: products of matrices on NVIDIA GPUs, and what is fused to them. Has not run on a GPU.

library        the opened library, or the reason why there is none
anchors        node -> product as the library sees it, or why it cannot run it
tail           product + what follows it -> longer product
kernel         product -> callable
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from types import ModuleType
from typing import Any

from ... import target
from ...gpu.device import GpuDevice
from ...gpu.libraries import driver_missing
from ...graph.ir import Graph, Node
from ...graph.region import Region
from ..base import Backend, Proposal, Unsupported
from .anchors import plan
from .kernel import kernel
from .library import load
from .product import Product
from .tail import extend, why_not_followed, with_gradient

#: Algorithms beside the recommended one that are worth timing.
_OTHERS = (1, 2)


class CuBLAS(Backend):
    """Products by the algorithm that cuBLASLt recommends, or by one of the next, ``rank``."""

    kind = "kernel-library"
    platforms = ("gpu",)

    def __init__(self, rank: int = 0) -> None:
        self.rank = rank
        self.name = f"cublas@{rank}" if rank else "cublas"

    def available(self) -> Unsupported | None:
        gpu, module = _gpu(), load()
        for missing in (gpu, module):
            if isinstance(missing, Unsupported):
                return missing
        reason = driver_missing() if target.current().is_here else None
        return None if reason is None else Unsupported(reason)

    def missing(self) -> Unsupported | None:
        module = load()
        return module if isinstance(module, Unsupported) else None

    def version(self) -> str:
        module = load()
        return "" if isinstance(module, Unsupported) else f"cuBLASLt {module.version()}"

    def forms(self) -> Sequence[Backend]:
        return () if self.rank else tuple(map(CuBLAS, _OTHERS))

    def propose(self, graph: Graph) -> Iterable[Proposal]:
        gpu = _gpu()
        if isinstance(gpu, Unsupported):
            return
        for node in filter(_is_anchor, graph.nodes):
            known = set()
            for inside in (lambda other: False, _may_be_inside):
                start = plan(graph, node, inside, gpu)
                if isinstance(start, Unsupported):
                    yield Proposal((node,), node.op, refused=start)
                    break
                for product in _prefixes(graph, start):
                    if frozenset(product.nodes) not in known:
                        known.add(frozenset(product.nodes))
                        yield Proposal(product.nodes, product.label)
                    if (left := why_not_followed(graph, product, _may_be_inside)) is not None:
                        yield Proposal((*product.nodes, left[0]), f"{product.label}+{left[0].op}", refused=left[1])

    def supports(self, region: Region) -> Unsupported | None:
        product = read(region)
        return product if isinstance(product, Unsupported) else None

    def emit(self, region: Region) -> Callable[..., Any]:
        gpu, module, product = _gpu(), load(), read(region)
        if isinstance(gpu, GpuDevice) and isinstance(module, ModuleType) and isinstance(product, Product):
            return kernel(product, region, module, self.rank, gpu)
        reason = next(found.reason for found in (gpu, module, product) if isinstance(found, Unsupported))
        raise ValueError(f"{self.name} cannot run {region}: {reason}")


def read(region: Region) -> Product | Unsupported:
    """The one product that all nodes of ``region`` are."""
    gpu = _gpu()
    if isinstance(gpu, Unsupported):
        return gpu
    anchors = [node for node in region.nodes if _is_anchor(node)]
    if len(anchors) != 1:
        return Unsupported(f"cuBLASLt runs one product, got {', '.join(region.ops)}")
    graph, inside = region.graph, set(region.nodes)
    product = plan(graph, anchors[0], inside.__contains__, gpu)
    if isinstance(product, Unsupported):
        return product
    while not inside.issubset(product.nodes):
        longer = extend(graph, product, inside.__contains__) or with_gradient(graph, product, inside.__contains__)
        if longer is None:
            left = ", ".join(node.op for node in region.nodes if node not in product.nodes)
            return Unsupported(f"{left} cannot be done in the same call")
        product = longer
    return product


def _prefixes(graph: Graph, start: Product) -> Iterator[Product]:
    product: Product | None = start
    while product is not None:
        yield product
        together = with_gradient(graph, product, _may_be_inside)
        if together is not None:
            yield together
        product = extend(graph, product, _may_be_inside)


def _gpu() -> GpuDevice | Unsupported:
    aim = target.current()
    return aim.gpu or Unsupported(f"cuBLASLt runs on NVIDIA GPUs, and this is for a {aim.platform}")


def _is_anchor(node: Node) -> bool:
    # Under shape polymorphism sizes are expressions, of which no product can be described.
    sizes = (n for value in (*node.inputs, *node.outputs) for n in value.shape)
    return node.op == "dot_general" and not node.barrier and all(isinstance(n, int) for n in sizes)


def _may_be_inside(node: Node) -> bool:
    return not node.barrier


BACKEND = CuBLAS()
