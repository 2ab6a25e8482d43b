"""Fused elementwise: what computes each element by itself or only moves it, in float32, between kernels of others.

maps           where what an element is made of lies
plan           region -> one pass over its result, or why it is none
kernel         pass -> callable

Alone such a region is XLA's, which does it as well. Between two kernels it ends the program that they could be steps
of: so it proposes nothing by itself, and bridges what is between the kernels of others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from types import ModuleType
from typing import Any

from ...graph.ir import Graph
from ...graph.region import Region
from ..base import Proposal, Unsupported
from ..own_kernels import NativeKernels
from .kernel import STEP, kernel
from .plan import Pass, plan


class FusedElementwise(NativeKernels[tuple[Pass, ...]]):
    """Sums, products, comparisons, slices, padding, ... in one pass."""

    name = "fused_elementwise"
    extension = STEP
    is_bridge = True

    def propose(self, graph: Graph) -> Iterable[Proposal]:
        return ()

    def read(self, region: Region) -> tuple[Pass, ...] | Unsupported:
        return plan(region)

    def kernel(self, module: ModuleType, work: tuple[Pass, ...], region: Region) -> Callable[..., Any]:
        return kernel(work, region, module.version())


BACKEND = FusedElementwise()
