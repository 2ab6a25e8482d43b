"""Narrow: float32 convolutions to few channels, and what is fused to them.

convolution    node -> convolution as the kernels see it, or why they cannot run it
tail           convolution + what follows it -> longer convolution
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
from ..packed_weights import Library, packed_once, packing
from .convolution import Convolution, plan
from .tail import extend

TARGET = "collage_narrow_v1"

#: The extension, whose kernels can be steps of a program.
STEP = "_kernels.narrow"


class NarrowConv(OwnKernels[Convolution]):
    """Channels-last convolutions of any window to at most 16 channels, as images and masks are made."""

    name = "narrow_conv"
    extension = STEP
    anchors = frozenset({"conv_general_dilated"})

    def plan(self, node: Node) -> Convolution | Unsupported:
        return plan(node)

    def extend(self, graph: Graph, work: Convolution, inside: Inside) -> Convolution | None:
        return extend(graph, work, inside)

    def kernel(self, module: ModuleType, work: Convolution, region: Region) -> Callable[..., Any]:
        return packing(work, region, Library(TARGET, STEP, module.version()))

    def prepared_kernel(
        self, module: ModuleType, work: Convolution, region: Region, frozen: frozenset[Value]
    ) -> PreparedKernel | None:
        if work.weights not in frozen:
            return None
        size = module.packed_size(f"op=pack {work.spec(packed=True)}")
        return packed_once(work, region, frozen, Library(TARGET, STEP, module.version()), size)


BACKEND = NarrowConv()
