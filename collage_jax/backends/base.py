"""The contract between the library and whatever can run regions."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from ..graph.ir import Graph, Node, Value
from ..graph.region import Region
from ..patterns.language import Pattern
from ..patterns.matcher import Matcher


@dataclass(frozen=True)
class Unsupported:
    """Why something cannot be done, in words for the placement report. False in a condition."""

    reason: str

    def __bool__(self) -> bool:
        return False


@dataclass(frozen=True)
class Proposal:
    """A set of nodes a backend would like to run as one region.

    ``label`` names the pattern for the report. ``refused`` carries the reason if the pattern fitted but the backend
    already knows that it cannot run it; such a proposal is only reported.
    """

    nodes: tuple[Node, ...]
    label: str
    refused: Unsupported | None = None


@dataclass(frozen=True)
class PreparedKernel:
    """A kernel whose frozen operands are brought into the library's own form once.

    ``prepare(*frozen_entries) -> tuple of arrays`` runs once per set of frozen arrays; ``run(*prepared,
    *other_entries) -> exits`` runs every call. Both are JAX-traceable; entries keep the order of ``region.entries``.
    """

    prepare: Callable[..., tuple[Any, ...]]
    run: Callable[..., Any]


class Backend(ABC):
    """Something that can run regions. Subclass, fill in, register.

    ``kind`` is ``"kernel-library"`` (one fused operation at a time) or ``"graph-runtime"`` (whole subgraphs).
    """

    name: str = ""
    kind: str = "kernel-library"
    platforms: tuple[str, ...] = ("cpu",)
    patterns: Sequence[Pattern] = ()

    def available(self) -> Unsupported | None:
        """None if the backend can be used in this process, else why not."""
        return None

    def version(self) -> str:
        """Version of the backend and of the libraries whose speed it has; part of every cost's key."""
        return "0"

    def propose(self, graph: Graph) -> Iterable[Proposal]:
        """The regions of ``graph`` worth considering: where one of ``patterns`` fits, unless overridden."""
        matcher = Matcher(graph)
        return [Proposal(tuple(found.nodes), p.name) for p in self.patterns for found in matcher.find(p)]

    def supports(self, region: Region) -> Unsupported | None:
        """None if ``emit`` can serve ``region``, else the reason."""
        return None

    @abstractmethod
    def emit(self, region: Region) -> Callable[..., Any]:
        """A JAX-traceable callable: ``region.entries`` in, ``region.exits`` out (a lone exit as itself or 1-tuple)."""

    def emit_frozen(self, region: Region, frozen: frozenset[Value]) -> PreparedKernel | None:
        """Like ``emit`` when the entries in ``frozen`` stay the same call after call; None if that is of no use."""
        return None
