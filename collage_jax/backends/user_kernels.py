"""What the backends of users' own kernels share: a table of kernels, each for its pattern."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any, Generic, Protocol, TypeVar

from ..graph.ir import Graph
from ..graph.region import Region
from ..patterns.language import Pattern
from ..patterns.matcher import Match, Matcher
from .base import Backend, Proposal, Unsupported


class Kernel(Protocol):
    """A kernel as the table holds it."""

    @property
    def name(self) -> str: ...
    @property
    def pattern(self) -> Pattern: ...


class Bound(Protocol):
    """A kernel with what it gets at one place."""

    @property
    def kernel(self) -> Any: ...


K = TypeVar("K", bound=Kernel)
B = TypeVar("B", bound=Bound)


class UserKernels(Backend, Generic[K, B]):
    """A backend of the kernels in a table, which goes to other processes with it."""

    @abstractmethod
    def registered(self) -> tuple[K, ...]:
        """All kernels, in the order of their registration."""

    @abstractmethod
    def register(self, kernel: K) -> None:
        """Add one to the table."""

    @abstractmethod
    def unregister(self, name: str) -> None:
        """Take one from the table."""

    @abstractmethod
    def bind(self, region: Region) -> B | Unsupported | None:
        """The first kernel that does what ``region`` does, or why it cannot; None if no pattern describes it."""

    def portable(self) -> tuple[K, ...]:
        return self.registered()

    def adopt(self, state: Any) -> None:
        for kernel in self.registered():  # some may be gone where `state` is from, or be others of the same name
            self.unregister(kernel.name)
        for kernel in state:
            self.register(kernel)

    def propose(self, graph: Graph) -> Iterable[Proposal]:
        matcher = Matcher(graph)
        for kernel in self.registered():
            for match in matches(kernel, matcher):
                found = self.bind(Region.of(graph, match.nodes))
                if isinstance(found, Unsupported):
                    yield Proposal(match.nodes, kernel.name, refused=found)
                elif found is not None:
                    yield Proposal(match.nodes, found.kernel.name)


def matches(kernel: Kernel, matcher: Matcher) -> list[Match]:
    """Every place of the matcher's graph that ``kernel`` may fit, but for its condition."""
    return matcher.find(replace(kernel.pattern, where=None))


def first_bound(
    kernels: Iterable[K], region: Region, bind: Callable[[K, Matcher, Region], B | Unsupported | None]
) -> B | Unsupported | None:
    """The first of ``kernels`` that ``bind`` binds to ``region``, matched anew by itself; else why none, or None."""
    alone = Matcher(Graph(region.entries, (), region.nodes, region.exits))
    reasons: list[str] = []
    for kernel in kernels:
        found = bind(kernel, alone, region)
        if isinstance(found, Unsupported):
            reasons.append(f"{kernel.name}: {found.reason}")
        elif found is not None:
            return found
    return Unsupported("; ".join(reasons)) if reasons else None
