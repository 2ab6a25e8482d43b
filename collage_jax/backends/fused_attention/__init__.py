"""Attention: softmax(scale q k^T, masked) v in float32 as one kernel, whose scores never leave a core's cache.

kernel         heads -> callable
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from ...graph.ir import Graph
from ...graph.region import Region
from ..base import Backend, Proposal, Unsupported
from ..heads import Heads, proposals, read
from ..own_kernels import load, refused_arrays
from .kernel import STEP, kernel

#: Of these the kernel reads and writes whole vectors.
_ROWS = ("q", "result")


class Attention(Backend):
    """Attention with any number of heads, with or without a mask."""

    name = "fused_attention"
    kind = "kernel-library"
    platforms = ("cpu",)
    deterministic = True

    def available(self) -> Unsupported | None:
        module = load(STEP)
        return module if isinstance(module, Unsupported) else None

    def version(self) -> str:
        module = load(STEP)
        return (
            ""
            if isinstance(module, Unsupported)
            else f"{module.version()}/{module.instruction_set()}/{module.threads()}t"
        )

    def propose(self, graph: Graph) -> Iterable[Proposal]:
        return proposals(graph, refused_arrays, _ROWS)

    def supports(self, region: Region) -> Unsupported | None:
        plan = read(region, refused_arrays, _ROWS)
        return plan if isinstance(plan, Unsupported) else None

    def emit(self, region: Region) -> Callable[..., Any]:
        module, plan = load(STEP), read(region, refused_arrays, _ROWS)
        for missing in (module, plan):
            if isinstance(missing, Unsupported):
                raise ValueError(f"{self.name} cannot run {region}: {missing.reason}")
        assert isinstance(plan, Heads) and not isinstance(module, Unsupported)
        return kernel(plan, region, module.version())


BACKEND = Attention()
