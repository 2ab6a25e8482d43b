"""Where a graph holds the gradient of what is one operation for a library: of attention, of a norm."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .ir import Constant, Graph, Node, Value
from .region import Region


@dataclass(frozen=True, eq=False)
class Gradient:
    """The gradient of what would be the composite ``op`` with ``params``, of ``inputs``.

    ``cotangent`` is the gradient by its result, ``results`` are those by as many of its inputs. What is in between
    computes all that it takes of the forward pass itself.
    """

    op: str
    params: Mapping[str, Any]
    inputs: tuple[Value, ...]
    cotangent: Value
    results: tuple[Value, ...]

    def region(self, graph: Graph) -> Region | None:
        """The nodes of ``graph`` that make ``results`` of ``inputs`` and ``cotangent``; None if it takes more."""
        given = {*self.inputs, self.cotangent}
        nodes: set[Node] = set()
        pending = list(self.results)
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
        return region if region.exits and set(region.exits) == set(self.results) else None
