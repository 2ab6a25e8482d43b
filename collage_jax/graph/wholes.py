"""Where a graph holds what is one operation of a library's though it makes several arrays.

The gradient of attention, of a norm; batch norm that gives its statistics out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .ir import Constant, Graph, Node, Value
from .region import Region


@dataclass(frozen=True, eq=False)
class Whole:
    """``op`` with ``params``, of ``inputs``, which gives ``results``: None where the graph has one from elsewhere."""

    op: str
    params: Mapping[str, Any]
    inputs: tuple[Value, ...]
    results: tuple[Value | None, ...]

    @property
    def given(self) -> tuple[Value, ...]:
        """All that it is computed from."""
        return self.inputs

    @property
    def made(self) -> tuple[Value, ...]:
        """The results that the graph has from here."""
        return tuple(v for v in self.results if v is not None)

    @property
    def title(self) -> str:
        """What reports call it."""
        return self.op

    def region(self, graph: Graph) -> Region | None:
        """The nodes of ``graph`` that make ``made`` of ``given``; None if it takes or makes more."""
        given = set(self.given)
        nodes: set[Node] = set()
        pending = list(self.made)
        while pending:
            value = pending.pop()
            if value in given or isinstance(value, Constant):
                continue
            node = graph.producer.get(value)
            if node is None or node.barrier or node.subgraphs:
                return None
            if node not in nodes:
                nodes.add(node)
                pending += node.inputs
        region = Region.of(graph, nodes)
        return region if region.exits and set(region.exits) == set(self.made) else None


@dataclass(frozen=True, eq=False)
class Gradient(Whole):
    """The gradient of what would be the composite ``op``: ``results`` are those by as many of its inputs.

    ``cotangent`` is the gradient by its result. What is in between computes all that it takes of the forward pass, but
    for its statistics, which are given beside its inputs: see ``patterns.gradients``.
    """

    cotangent: Value

    @property
    def given(self) -> tuple[Value, ...]:
        return (*self.inputs, self.cotangent)

    @property
    def title(self) -> str:
        return f"{self.op}_gradient"
