"""Winograd: 3x3 convolutions in float32 with fewer multiplications, and what is fused to them.

convolution    node -> convolution as the kernels see it, or why they cannot run it
tail           convolution + what follows it -> longer convolution
kernel         convolution -> callable
"""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

from ...graph.ir import Graph, Node, Value
from ...graph.origins import Inside
from ...graph.region import Region
from ..base import PreparedKernel, Unsupported
from ..own_kernels import OwnKernels
from .convolution import Convolution, plan
from .kernel import STEP, kernel, prepared_kernel
from .tail import extend, preceded


class Winograd(OwnKernels[Convolution]):
    """Channels-last convolutions whose kernel slides by 1 over 3x3 pixels, at any depth of a third dimension."""

    name = "winograd"
    extension = STEP
    anchors = frozenset({"conv_general_dilated"})

    def plan(self, node: Node) -> Convolution | Unsupported:
        return plan(node)

    def extend(self, graph: Graph, work: Convolution, inside: Inside) -> Convolution | None:
        return extend(graph, work, inside)

    def preceded(self, graph: Graph, work: Convolution, inside: Inside) -> Convolution | None:
        return preceded(graph, work, inside)

    def kernel(self, module: ModuleType, work: Convolution, region: Region) -> Callable[..., Any]:
        return kernel(work, region, work.tile(module.threads()), module.version())

    def prepared_kernel(
        self, module: ModuleType, work: Convolution, region: Region, frozen: frozenset[Value]
    ) -> PreparedKernel | None:
        if work.weights not in frozen:
            return None
        tile = work.tile(module.threads())
        size = module.packed_size(f"op=pack {work.spec(tile, packed=True)}")
        return prepared_kernel(work, region, frozen, tile, module.version(), size)


BACKEND = Winograd()
