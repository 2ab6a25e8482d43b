"""Rowwise: norms and softmax over the last axis and their gradients, in float32, row by row in a core's own cache.

plan           node -> rows as the kernels see them, or why they cannot run them
tail           what a gradient takes in of what follows it
kernel         rows -> callable
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
from .kernel import STEP, kernel
from .plan import ANCHORS, Rows, plan
from .tail import extend


class Rowwise(OwnKernels[Rows]):
    """What needs a whole row of an array, and no other."""

    name = "rowwise"
    extension = STEP
    anchors = frozenset(ANCHORS)

    def plan(self, node: Node) -> Rows | Unsupported:
        return plan(node)

    def extend(self, graph: Graph, work: Rows, inside: Inside) -> Rows | None:
        return extend(graph, work, inside)

    def kernel(self, module: ModuleType, work: Rows, region: Region) -> Callable[..., Any]:
        return kernel(work, region, module.version())

    def prepared_kernel(
        self, module: ModuleType, work: Rows, region: Region, frozen: frozenset[Value]
    ) -> PreparedKernel | None:
        return None  # a frozen scale is used as it is


BACKEND = Rowwise()
