"""The contract between the library and whatever can run regions."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from ..costs import Measured
from ..graph.ir import Graph, Node, Value
from ..graph.region import Region
from ..graph.subgraphs import maximal_convex
from ..patterns.fusion import FusionRule, generate, label
from ..patterns.language import Pattern
from ..patterns.matcher import Matcher
from .source import source_version

#: What a backend may be: one fused operation at a time, or whole subgraphs.
KINDS = ("kernel-library", "graph-runtime")
#: How reasons begin for which a backend has nothing to do, whatever the program is: another platform, no kernels.
ELSEWHERE, NO_KERNEL = "runs on ", "no kernel was registered"


@dataclass(frozen=True)
class Unsupported:
    """Why something cannot be done, in words for the placement report. False in a condition."""

    reason: str

    def __post_init__(self) -> None:
        if not isinstance(self.reason, str):
            raise TypeError(f"Unsupported(reason) takes a text, got {self.reason!r}")

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
    """Something that can run regions. Subclass, fill in, and pass an instance to ``collage_jax.register_backend``.

    ``kind`` is ``"kernel-library"`` (one fused operation at a time) or ``"graph-runtime"`` (whole subgraphs).
    ``platforms`` are names of JAX's platforms (``"cpu"``, ``"gpu"``, ``"tpu"``).

    What a backend can do is stated in one of four ways, or several together: ``patterns``, with conditions; ``rule``,
    from which every legal fusion is generated; for a graph runtime ``takes``, the operations it can run, of which it
    gets the largest subgraphs; or ``propose``, overridden.
    """

    name: str = ""
    kind: str = "kernel-library"
    platforms: tuple[str, ...] = ("cpu",)
    patterns: Sequence[Pattern] = ()
    rule: FusionRule | None = None
    #: True for one that is asked only for regions that no other backend takes.
    is_fallback: bool = False
    #: True for one that is put between kernels of others, where it takes all that XLA would do there, so that they are
    #: one program. What it does is as fast with XLA alone, and is neither proposed nor timed.
    is_bridge: bool = False
    #: True for one whose kernels give the same bits from the same arrays in every call and process in which ``version``
    #: says the same; no other is used where ``deterministic`` is asked for.
    deterministic: bool = False
    #: What the instance held when it was registered, as a hash; goes to other processes with it.
    _state: str = ""

    def available(self) -> Unsupported | None:
        """None if the backend can be used in this process, else why not."""
        return None

    def missing(self) -> Unsupported | None:
        """What has to be installed for the backend to be of use on its platforms; for the user who is on another."""
        return None

    def forms(self) -> Sequence[Backend]:
        """The same backend with other choices inside of it, each under a name of its own, to be timed beside it.

        For a library that offers several algorithms for one operation. Call them ``"name@1"``, ``"name@2"``; they are
        used wherever the backend is.
        """
        return ()

    def version(self) -> str:
        """Version of the backend and of the libraries whose speed it has; part of every cost's key.

        By default a hash of the file that defines the backend, and of what the instance held when it was registered,
        so that a change is measured anew.
        """
        return f"{source_version(type(self))} {self._state}".strip()

    def takes(self, node: Node) -> Unsupported | bool | None:
        """Whether a graph runtime takes ``node``: True or None, or else why not."""
        return Unsupported(f"{self.name} names no operations that it runs")

    def propose(self, graph: Graph) -> Iterable[Proposal]:
        """The regions of ``graph`` worth considering: what ``patterns``, ``rule`` and ``takes`` give."""
        matcher = Matcher(graph)
        for pattern in self.patterns:
            for found in matcher.find(pattern):
                yield Proposal(tuple(found.nodes), pattern.name)
        if self.rule is not None:
            for nodes in generate(graph, self.rule):
                yield Proposal(nodes, label(nodes))
        if self.kind == "graph-runtime":
            for nodes in maximal_convex(graph, self._is_taken):
                yield Proposal(nodes, f"{len(nodes)} operations")

    def _is_taken(self, node: Node) -> bool:
        # Control flow stays outside: its bodies are placed by themselves.
        return not node.subgraphs and self.takes(node) in (None, True)

    def supports(self, region: Region) -> Unsupported | None:
        """None if ``emit`` can serve ``region``, else the reason."""
        return None

    @abstractmethod
    def emit(self, region: Region) -> Callable[..., Any]:
        """A JAX-traceable callable: ``region.entries`` in, ``region.exits`` out (a lone exit as itself or 1-tuple)."""

    def emit_frozen(self, region: Region, frozen: frozenset[Value]) -> PreparedKernel | None:
        """Like ``emit`` when the entries in ``frozen`` stay the same call after call; None if that is of no use."""
        return None

    def cost(self, region: Region) -> Measured | None:
        """What one run of ``region`` takes, if the backend knows better than a timing would; None to have it timed.

        The kernel is checked against XLA all the same.
        """
        return None

    def portable(self) -> Any:
        """What another process needs to have the backend as it is in this one; it goes there by ``cloudpickle``.

        None if importing the backend there is enough. Backends that were registered are sent whole.
        """
        return None

    def adopt(self, state: Any) -> None:  # noqa: B027 - most backends have nothing to adopt
        """Be as the backend is in the process where ``portable`` gave ``state``."""
