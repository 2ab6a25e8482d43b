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
from ..base import Backend, Proposal, Unsupported
from ..own_kernels import load
from .kernel import STEP, kernel
from .plan import plan


class FusedElementwise(Backend):
    """Sums, products, comparisons, slices, padding, ... in one pass."""

    name = "fused_elementwise"
    kind = "kernel-library"
    platforms = ("cpu",)
    deterministic = True
    is_bridge = True

    def available(self) -> Unsupported | None:
        module = load(STEP)
        return module if isinstance(module, Unsupported) else None

    def version(self) -> str:
        module = load(STEP)
        if isinstance(module, Unsupported):
            return ""
        return f"{module.version()}/{module.instruction_set()}/{module.threads()}t"

    def propose(self, graph: Graph) -> Iterable[Proposal]:
        return ()

    def supports(self, region: Region) -> Unsupported | None:
        work = plan(region)
        return work if isinstance(work, Unsupported) else None

    def emit(self, region: Region) -> Callable[..., Any]:
        module, work = load(STEP), plan(region)
        if isinstance(module, Unsupported) or isinstance(work, Unsupported):
            why = module if isinstance(module, Unsupported) else work
            assert isinstance(why, Unsupported)
            raise ValueError(f"{self.name} cannot run {region}: {why.reason}")
        assert isinstance(module, ModuleType)
        return kernel(work, region, module.version())


BACKEND = FusedElementwise()
