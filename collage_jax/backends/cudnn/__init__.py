"""cuDNN: convolutions and their gradients, norms, pooling and what is fused to them, as graphs that it plans itself.

convolution, ...  an anchor node -> graph
tail              graph + what follows it -> longer graph
shipped           graph -> the same as the kernels that cuDNN ships have it
stages            graphs that run one after another, for gradients of attention and norms
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
from . import attention, batch_norm, convolution, gradients, library, norms, pooling
from .fusion import Fusion
from .kernel import Choice, Work, kernel, prepared_kernel
from .shipped import written
from .tail import extend

_ANCHORS = {**convolution.ANCHORS, **batch_norm.ANCHORS, **norms.ANCHORS, **pooling.ANCHORS}

#: Neither its operation of that name nor maxima, sums and what is between them has an engine, on any GPU known here.
_NO_SOFTMAX = Unsupported("cuDNN's graphs have softmax within attention alone")

#: How many of the engines for a graph are timed.
_FORMS = 3


class CuDNN(OwnKernels[Work]):
    """Each graph on the engine that cuDNN's heuristics put in place ``rank``."""

    platforms = ("gpu",)
    deterministic = False  # some of its kernels add with atomics
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

    def preceded(self, graph: Graph, work: Work, inside: Inside) -> Work | None:
        return convolution.preceded(graph, work, inside) if isinstance(work, Fusion) else None

    def extend(self, graph: Graph, work: Work, inside: Inside) -> Work | None:
        return extend(graph, work, inside) if isinstance(work, Fusion) else None

    def propose(self, graph: Graph) -> Iterable[Proposal]:
        yield from super().propose(graph)
        yield from attention.proposals(graph)
        yield from gradients.proposals(graph)
        for node in graph.nodes:
            if node.op in ("softmax", "log_softmax"):
                yield Proposal((node,), node.op, refused=_NO_SOFTMAX)

    def read(self, region: Region) -> Work | Unsupported:
        gradient = gradients.read(region)
        if gradient is not None:
            return gradient
        if any(map(self._is_anchor, region.nodes)):
            return super().read(region)
        return attention.read(region)

    def supports(self, region: Region) -> Unsupported | None:
        work = self.read(region)
        chosen = work if isinstance(work, Unsupported) else self.choice(work)
        return chosen if isinstance(chosen, Unsupported) else None

    def kernel(self, module: ModuleType, work: Work, region: Region) -> Callable[..., Any]:
        choice = self.choice(work)
        if isinstance(choice, Unsupported):
            raise ValueError(f"{self.name} cannot run {region}: {choice.reason}")
        return kernel(choice, region)

    def prepared_kernel(
        self, module: ModuleType, work: Work, region: Region, frozen: frozenset[Value]
    ) -> PreparedKernel | None:
        choice = self.choice(work)
        return None if isinstance(choice, Unsupported) else prepared_kernel(choice, region, frozen)

    def choice(self, work: Work) -> Choice | Unsupported:
        """The engine for ``work``, in the first of its forms that has any, on the GPU that is aimed at."""
        aim = target.current()
        if aim.gpu is None:
            return Unsupported("cuDNN is for NVIDIA GPUs")
        properties, sm = library.properties(aim.gpu, aim.is_here), aim.gpu.sm
        refusals: list[Unsupported] = []
        for form in written(work):
            found = library.engines(form.spec(), properties, sm, self._rank + 1)
            if isinstance(found, Unsupported):
                refusals.append(found)
            elif len(found) <= self._rank:
                return Unsupported(f"cuDNN has {len(found)} engines for this")
            else:
                return Choice(form, properties, sm, *found[self._rank], self.version())
        return refusals[0]


BACKEND = CuDNN()
