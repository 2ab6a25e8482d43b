"""Sgemm: matrix products in float32 with packed weights, and what is fused to them.

anchors        node -> product as the kernels see it, or why they cannot run it
tail           product + what follows it -> longer product
kernel         product -> callable
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from types import ModuleType
from typing import Any

from ...graph.ir import Graph, Node, Value
from ...graph.origins import Inside
from ...graph.region import Region
from ..base import PreparedKernel, Proposal, Unsupported
from ..own_kernels import OwnKernels
from .anchors import ANCHORS, plan
from .kernel import STEP, kernel, prepared_kernel
from .product import Product
from .tail import extend


class Sgemm(OwnKernels[Product]):
    """Products with one matrix of weights, and channels-last convolutions whose kernel has no extent."""

    name = "sgemm"
    extension = STEP
    anchors = frozenset(ANCHORS)

    def plan(self, node: Node) -> Product | Unsupported:
        return plan(node)

    def extend(self, graph: Graph, work: Product, inside: Inside) -> Product | None:
        return extend(graph, work, inside)

    def propose(self, graph: Graph) -> Iterable[Proposal]:
        # Of a gradient of weights and the step down it, the factor between the two is no place to stop.
        return (p for p in super().propose(graph) if p.label != "conv_weights+scale")

    def kernel(self, module: ModuleType, work: Product, region: Region) -> Callable[..., Any]:
        return kernel(work, region, module.version())

    def prepared_kernel(
        self, module: ModuleType, work: Product, region: Region, frozen: frozenset[Value]
    ) -> PreparedKernel | None:
        if work.weights.value not in frozen:
            return None
        size = module.packed_size(f"op=pack {work.spec(packed=True)}")
        return prepared_kernel(work, region, frozen, module.version(), size)


BACKEND = Sgemm()
