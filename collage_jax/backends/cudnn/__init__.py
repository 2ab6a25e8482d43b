"""cuDNN: convolutions and their gradients, norms, pooling and what is fused to them, as graphs that it plans itself.

convolution, ...  an anchor node -> graph
tail              graph + what follows it -> longer graph
library           which engines cuDNN has for a graph on a GPU, or why none
kernel            graph and engine -> callable

Has not run on a GPU: graphs were judged and planned by cuDNN for GPUs described to it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from types import ModuleType
from typing import Any

from ... import target
from ...graph.ir import Graph, Node, Value
from ...graph.origins import Inside
from ...graph.region import Region
from ..base import Backend, PreparedKernel, Proposal, Unsupported
from ..own_kernels import OwnKernels
from . import attention, convolution, library, norms, pooling
from .fusion import Fusion
from .kernel import Choice, kernel, prepared_kernel
from .tail import extend

_ANCHORS = {**convolution.ANCHORS, **norms.ANCHORS, **pooling.ANCHORS}

#: How many of the engines for a graph are timed.
_FORMS = 3


class CuDNN(OwnKernels[Fusion]):
    """Each graph on the engine that cuDNN's heuristics put in place ``rank``."""

    platforms = ("gpu",)
    extension = "_cudnn"
    anchors = frozenset(_ANCHORS)

    def __init__(self, rank: int = 0) -> None:
        self.name = f"cudnn@{rank}" if rank else "cudnn"
        self._rank = rank

    def available(self) -> Unsupported | None:
        return library.unavailable()

    def missing(self) -> Unsupported | None:
        return library.missing()

    def forms(self) -> Sequence[Backend]:
        return [CuDNN(rank) for rank in range(1, _FORMS)]

    def version(self) -> str:
        module = library.load()
        return "" if isinstance(module, Unsupported) else f"{module.version()}"

    def module(self) -> ModuleType | Unsupported:
        return library.load()

    def plan(self, node: Node) -> Fusion | Unsupported:
        return _ANCHORS[node.op](node)

    def preceded(self, graph: Graph, work: Fusion, inside: Inside) -> Fusion | None:
        return convolution.preceded(graph, work, inside)

    def extend(self, graph: Graph, work: Fusion, inside: Inside) -> Fusion | None:
        return extend(graph, work, inside)

    def propose(self, graph: Graph) -> Iterable[Proposal]:
        yield from super().propose(graph)
        yield from attention.proposals(graph)

    def read(self, region: Region) -> Fusion | Unsupported:
        if any(map(self._is_anchor, region.nodes)):
            return super().read(region)
        return attention.read(region)

    def supports(self, region: Region) -> Unsupported | None:
        work = self.read(region)
        chosen = work if isinstance(work, Unsupported) else self._choice(work)
        return chosen if isinstance(chosen, Unsupported) else None

    def kernel(self, module: ModuleType, work: Fusion, region: Region) -> Callable[..., Any]:
        choice = self._choice(work)
        if isinstance(choice, Unsupported):
            raise ValueError(f"{self.name} cannot run {region}: {choice.reason}")
        return kernel(work, choice, region)

    def prepared_kernel(
        self, module: ModuleType, work: Fusion, region: Region, frozen: frozenset[Value]
    ) -> PreparedKernel | None:
        choice = self._choice(work)
        return None if isinstance(choice, Unsupported) else prepared_kernel(work, choice, region, frozen)

    def _choice(self, work: Fusion) -> Choice | Unsupported:
        aim = target.current()
        if aim.gpu is None:
            return Unsupported("cuDNN is for NVIDIA GPUs")
        spec, properties = work.spec(), library.properties(aim.gpu, aim.is_here)
        found = library.engines(spec, properties, aim.gpu.sm, self._rank + 1)
        if isinstance(found, Unsupported):
            return found
        if len(found) <= self._rank:
            return Unsupported(f"cuDNN has {len(found)} engines for this")
        engine, workspace = found[self._rank]
        return Choice(spec, properties, aim.gpu.sm, engine, workspace, self.version())


BACKEND = CuDNN()
