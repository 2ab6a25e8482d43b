"""Pool gradient: what JAX's derivatives make of maxima, minima and sums over windows, in float32, channels last.

plan           node -> windows as the kernels see them, or why they cannot run them
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from types import ModuleType
from typing import Any

import jax

from ...ffi.native_call import NativeCall, NativeOperand
from ...graph.ir import Graph, Node, Value
from ...graph.origins import Inside
from ...graph.region import Region
from ..base import PreparedKernel, Proposal, Unsupported
from ..own_kernels import OwnKernels
from .plan import ANCHORS, Windows, is_gradient, plan, with_zeros

TARGET = "collage_pools_v1"

#: The extension, whose kernels can be steps of a program.
STEP = "_kernels.pools"


class PoolGradient(OwnKernels[Windows]):
    """Each gradient by itself."""

    name = "pool_gradient"
    extension = STEP
    anchors = ANCHORS

    def plan(self, node: Node) -> Windows | Unsupported:
        return plan(node)

    def propose(self, graph: Graph) -> Iterable[Proposal]:
        return (proposal for proposal in super().propose(graph) if is_gradient(proposal.nodes))

    def preceded(self, graph: Graph, work: Windows, inside: Inside) -> Windows | None:
        return with_zeros(graph, work, inside)

    def extend(self, graph: Graph, work: Windows, inside: Inside) -> Windows | None:
        return None

    def kernel(self, module: ModuleType, work: Windows, region: Region) -> Callable[..., Any]:
        operands = tuple(NativeOperand((region.entries.index(value),)) for value in work.operands)
        made = jax.ShapeDtypeStruct(work.result.shape, work.result.dtype)
        return NativeCall(TARGET, work.text, module.version(), operands, made, STEP)

    def prepared_kernel(
        self, module: ModuleType, work: Windows, region: Region, frozen: frozenset[Value]
    ) -> PreparedKernel | None:
        return None


BACKEND = PoolGradient()
