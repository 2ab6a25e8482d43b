"""Attention: softmax(scale q k^T, masked) v in float32 as one kernel, whose scores never leave a core's cache.

kernel         heads -> callable
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from ...graph.ir import Graph
from ...graph.region import Region
from ...patterns.composites import find_attention
from ...patterns.matcher import Matcher
from ..base import Backend, Proposal, Unsupported
from ..heads import Heads, plans
from ..own_kernels import load, refused_arrays
from .kernel import STEP, kernel

#: Of these the kernel reads and writes whole vectors.
_ROWS = ("q", "result")


class Attention(Backend):
    """Attention with any number of heads, with or without a mask."""

    name = "fused_attention"
    kind = "kernel-library"
    platforms = ("cpu",)

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
        for found in find_attention(Matcher(graph)):
            for plan in plans(graph, found, lambda node: not node.barrier, refused_arrays, _ROWS):
                if isinstance(plan, Unsupported):
                    yield Proposal(found.nodes, "attention", refused=plan)
                else:
                    yield Proposal(plan.nodes, plan.label)

    def supports(self, region: Region) -> Unsupported | None:
        plan = self._read(region)
        return plan if isinstance(plan, Unsupported) else None

    def emit(self, region: Region) -> Callable[..., Any]:
        module, plan = load(STEP), self._read(region)
        for missing in (module, plan):
            if isinstance(missing, Unsupported):
                raise ValueError(f"{self.name} cannot run {region}: {missing.reason}")
        assert isinstance(plan, Heads) and not isinstance(module, Unsupported)
        return kernel(plan, region, module.version())

    def _read(self, region: Region) -> Heads | Unsupported:
        """The attention that all nodes of ``region`` are."""
        inside = set(region.nodes)
        alone = Graph(region.entries, (), region.nodes, region.exits)
        refused: dict[str, None] = {}
        for found in find_attention(Matcher(alone)):
            for plan in plans(alone, found, inside.__contains__, refused_arrays, _ROWS):
                if isinstance(plan, Unsupported):
                    refused[plan.reason] = None
                elif set(plan.nodes) == inside:
                    return plan
        return Unsupported("; ".join(refused) or f"this is no attention: {', '.join(region.ops)}")


BACKEND = Attention()
