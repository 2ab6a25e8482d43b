"""Gradients of whole operations, as the library found them in the program."""

from __future__ import annotations

from collections.abc import Iterator

from ...graph.ir import Graph, Node
from ...graph.region import Region
from ..base import Proposal, Unsupported
from . import attention_gradient, norm_gradient
from .stages import Stages

_PLANS = {
    "attention": attention_gradient.plans,
    "layer_norm": norm_gradient.plans,
    "rms_norm": norm_gradient.plans,
}


def proposals(graph: Graph) -> Iterator[Proposal]:
    """Every gradient in ``graph`` that cuDNN may have, in all its extents."""
    for gradient in graph.gradients:
        region = gradient.region(graph)
        if region is None:
            continue
        known: set[tuple[Node, ...]] = set()
        for found in _PLANS[gradient.op](graph, gradient, region, lambda node: not node.barrier):
            if isinstance(found, Unsupported):
                yield Proposal(region.nodes, f"{gradient.op}_gradient", refused=found)
            elif found.nodes not in known:
                known.add(found.nodes)
                yield Proposal(found.nodes, found.label)


def read(region: Region) -> Stages | None:
    """The gradient that all nodes of ``region`` are; None if they are none."""
    inside, graph = set(region.nodes), region.graph
    for gradient in graph.gradients:
        core = gradient.region(graph) if region.made.issuperset(gradient.results) else None
        if core is not None:
            for found in _PLANS[gradient.op](graph, gradient, core, inside.__contains__):
                if isinstance(found, Stages) and set(found.nodes) == inside:
                    return found
    return None
