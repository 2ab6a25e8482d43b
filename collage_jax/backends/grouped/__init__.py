"""Grouped: float32 convolutions with few channels in a group, and what is fused to them.

convolution    node -> convolution as the kernels see it, or why they cannot run it
tail           convolution + what is before or after it -> longer convolution
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
from ..own_kernels import OwnKernels, load
from ..packed_weights import Library, packed_once, packing
from .convolution import Convolution, plan
from .kernel import SEPARABLE_STEP, STEP, TARGET, prepared_separable, separable
from .tail import extend, preceded


class Grouped(OwnKernels[Convolution]):
    """Channels-last convolutions, depthwise or with few channels in a group, of any window."""

    name = "grouped"
    extension = STEP
    anchors = frozenset({"conv_general_dilated"})

    def plan(self, node: Node) -> Convolution | Unsupported:
        return plan(node)

    def extend(self, graph: Graph, work: Convolution, inside: Inside) -> Convolution | None:
        return extend(graph, work, inside)

    def preceded(self, graph: Graph, work: Convolution, inside: Inside) -> Convolution | None:
        return preceded(graph, work, inside)

    def kernel(self, module: ModuleType, work: Convolution, region: Region) -> Callable[..., Any]:
        if work.pointwise is not None:
            return separable(work, region, module.version(), _separable_module())
        return packing(work, region, Library(TARGET, STEP, module.version()))

    def prepared_kernel(
        self, module: ModuleType, work: Convolution, region: Region, frozen: frozenset[Value]
    ) -> PreparedKernel | None:
        if work.weights not in frozen:
            return None
        if work.pointwise is not None:
            if work.pointwise.weights not in frozen:
                return None
            return prepared_separable(work, region, frozen, module, _separable_module())
        size = module.packed_size(f"op=pack {work.spec(packed=True)}")
        return packed_once(work, region, frozen, Library(TARGET, STEP, module.version()), size)


def _separable_module() -> ModuleType:
    module = load(SEPARABLE_STEP)
    assert isinstance(module, ModuleType)  # it is a part of the extension that is there
    return module


BACKEND = Grouped()
