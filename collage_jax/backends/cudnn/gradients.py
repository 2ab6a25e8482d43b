"""What makes several arrays, as it was found in the program: gradients of whole operations, and batch norm."""

from __future__ import annotations

from collections.abc import Iterator

from ...graph.ir import Graph, Node
from ...graph.region import Region
from ..base import Proposal, Unsupported
from . import attention_gradient, batch_statistics, norm_gradient
from .stages import Stages

_PLANS = {
    "attention_gradient": attention_gradient.plans,
    "layer_norm_gradient": norm_gradient.plans,
    "rms_norm_gradient": norm_gradient.plans,
    "batch_norm_with_statistics": batch_statistics.forward_plans,
    "batch_norm_with_statistics_gradient": batch_statistics.gradient_plans,
}


def proposals(graph: Graph) -> Iterator[Proposal]:
    """Each of them in ``graph`` that cuDNN may have, in all its extents."""
    for whole in graph.wholes:
        region = whole.region(graph)
        if region is None:
            continue
        known: set[tuple[Node, ...]] = set()
        for found in _PLANS[whole.title](graph, whole, region, lambda node: not node.barrier):
            if isinstance(found, Unsupported):
                yield Proposal(region.nodes, whole.title, refused=found)
            elif found.nodes not in known:
                known.add(found.nodes)
                yield Proposal(found.nodes, found.label)


def read(region: Region) -> Stages | None:
    """The one that all nodes of ``region`` are; None if they are none."""
    inside, graph = set(region.nodes), region.graph
    for whole in graph.wholes:
        core = whole.region(graph) if region.made.issuperset(whole.made) else None
        if core is not None:
            for found in _PLANS[whole.title](graph, whole, core, inside.__contains__):
                if isinstance(found, Stages) and set(found.nodes) == inside:
                    return found
    return None
