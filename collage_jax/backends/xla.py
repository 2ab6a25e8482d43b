"""The reference backend: XLA itself. It covers every node, so that every graph has a cover."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from .. import _compat
from ..graph.evaluate import callable_of
from ..graph.ir import Graph
from ..graph.region import Region
from .base import Backend, Proposal


class Xla(Backend):
    """Runs a region by binding its primitives again; XLA fuses and compiles them with the rest of the program."""

    name = "xla"
    kind = "graph-runtime"
    platforms = ("cpu", "gpu", "tpu")
    deterministic = True

    def version(self) -> str:
        return _compat.JAXLIB_VERSION

    def propose(self, graph: Graph) -> Iterable[Proposal]:
        """Nothing: XLA is a candidate for every region and node that others want, and takes what nobody does."""
        return ()

    def emit(self, region: Region) -> Callable[..., Any]:
        return callable_of(region.nodes, region.entries, region.exits)


BACKEND = Xla()
