"""What regions take on a GPU that is not here: a roofline, in which nothing is measured.

A kernel takes the time to launch it, and then as long as its arithmetic or its memory traffic, whichever is longer:

    launch + max(sum of operations / (share x peak of their dtype), bytes / (share x bandwidth))

*operations*: those of products and convolutions, two for a multiplication with its addition (``graph.work``); all
other arithmetic hides behind memory. *peak*: the data sheet's dense rate of the tensor cores where there are such for
the dtype, with TF32 for float32 unless the program asks for more precision; else that of plain multiply-adds. *bytes*:
what goes in and comes out, each array once, nothing held in caches. The shares are round numbers that tuned kernels
reach with large arrays, and the same for everybody, so that the model compares how many kernels there are and what goes
through memory, never how good one library's code is.

A kernel library runs a region as one kernel. XLA and runtimes for whole graphs run as many as ``kernels`` says.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from jax.lax import Precision

from ..backends.base import Backend
from ..candidates import Candidate
from ..costs import FAULTS, Cost, Estimated, Failed, told
from ..gpu.device import GpuDevice
from ..graph.ir import Node
from ..graph.region import Region
from ..graph.work import operations, repeats, traffic
from ..lowering.plan import Plan
from ..patterns.numbering import number_values
from .kernels import Kernel, kernels

LAUNCH_S = 3e-6
ARITHMETIC_SHARE = 0.6
BANDWIDTH_SHARE = 0.8

#: Times are whole multiples of this many microseconds, a power of two, so that equal sums are equal to the last bit.
GRAIN_US = 1 / 64


@dataclass(frozen=True)
class Roofline:
    """Estimates for ``device``."""

    device: GpuDevice

    def of_candidate(self, candidate: Candidate, backend: Backend) -> Cost:
        """What one run of a candidate takes: what ``backend`` says of it, if it does, or else what the model says."""
        try:
            own = backend.cost(candidate.region)
            if own is not None:
                return Estimated(own.median_us, note="the backend's own")
        except FAULTS as error:
            return Failed("run", f"`cost` failed: {told(error)}")
        return self._told(self._kernels(candidate.region, backend))

    def of_plan(self, plan: Plan, backends: Mapping[str, Backend]) -> float:
        """Microseconds of a whole program, in which XLA fuses what is left to it; loops run as often as is known."""
        placed = {node for region, _ in plan.placed for node in region.nodes}
        left = Region.of(plan.graph, (n for n in plan.graph.nodes if n not in placed and not n.subgraphs))
        total_us = self._us(kernels(left, self.device.sm))
        numbers = number_values(plan.graph)
        # XLA makes one of calls that are alike.
        calls = {(name, *(numbers[v] for v in region.exits)): region for region, name in plan.placed}
        total_us += sum(self._us(self._kernels(region, backends[name])) for (name, *_), region in calls.items())
        for node, bodies in plan.inner.items():
            inside_us = sum(self.of_plan(inner, backends) for plans in bodies.values() for inner in plans)
            total_us += repeats(node) * inside_us
        return total_us

    def _kernels(self, region: Region, backend: Backend) -> Sequence[Kernel]:
        if backend.kind == "kernel-library":
            return (Kernel(region.nodes, traffic(region)),)
        return kernels(region, self.device.sm)

    def _told(self, parts: Sequence[Kernel]) -> Estimated:
        count = sum(part.launches for part in parts)
        return Estimated(self._us(parts), note=f"{count} kernel{'' if count == 1 else 's'}")

    def _us(self, parts: Sequence[Kernel]) -> float:
        return sum(part.launches * round(self._seconds(part) * 1e6 / GRAIN_US) for part in parts) * GRAIN_US

    def _seconds(self, kernel: Kernel) -> float:
        arithmetic_s = self._arithmetic_s(kernel.products) / ARITHMETIC_SHARE
        return LAUNCH_S + max(arithmetic_s, kernel.nbytes / (BANDWIDTH_SHARE * self.device.bandwidth))

    def _arithmetic_s(self, nodes: Iterable[Node]) -> float:
        work = ((p, operations([p])) for node in nodes for p in node.primitives)
        return sum(count / self.device.flops(p.inputs[0].dtype, _may_round(p)) for p, count in work if count)


def _may_round(product: Node) -> bool:
    """True if float32 may be rounded to TF32, which is what JAX takes no wish for precision to mean on GPUs."""
    wish = product.params.get("precision")
    wishes = wish if isinstance(wish, tuple) else (wish,)
    return all(each in (None, Precision.DEFAULT) for each in wishes)
