"""Convolutions that XLA:CPU is slow at, as products of matrices that XLA runs itself.

For training where no kernel library is at hand: gradients in groups become hundreds of times faster by it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from .. import _compat, device
from ..graph.evaluate import callable_of
from ..graph.ir import Graph
from ..graph.products import by_products, laborious_s
from ..graph.region import Region
from .base import Backend, Proposal, Unsupported

#: Convolutions that take XLA less, in seconds, are not proposed.
WORTH_S = 0.02


class ConvAsDots(Backend):
    """One convolution at a time; what is around it XLA fuses as usual."""

    name = "conv_as_dots"
    platforms = ("cpu",)
    is_fallback = True
    deterministic = True

    def version(self) -> str:
        # XLA sums in other orders with other numbers of threads.
        return f"1/{_compat.JAXLIB_VERSION}/{device.processors()}t"

    def propose(self, graph: Graph) -> Iterable[Proposal]:
        for node in graph.nodes:
            if laborious_s(node) >= WORTH_S:
                yield Proposal((node,), "convolution as products")

    def supports(self, region: Region) -> Unsupported | None:
        if len(region.nodes) == 1 and by_products(region.nodes[0]) is not None:
            return None
        return Unsupported("one convolution of real or complex numbers, of few taps or few results, is needed")

    def emit(self, region: Region) -> Callable[..., Any]:
        if (refused := self.supports(region)) is not None:
            raise ValueError(f"{self.name} cannot run {region}: {refused.reason}")
        return callable_of(region.nodes, region.entries, region.exits, by_products)


BACKEND = ConvAsDots()
