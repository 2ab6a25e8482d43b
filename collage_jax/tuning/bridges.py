"""What XLA would do between kernels, done by kernels of ours: so that they can be steps of one program.

*island*: operations between kernels that XLA does, as far as they hang together.

Alone, XLA moves and adds arrays as well as any kernel, so that no timing of regions asks for one. But at each island a
program ends, and what lies between two programs is in memory that is fresh in every call: in a training step that is
nearly all of it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import TypeAlias

from ..backends.base import Backend
from ..candidates import XLA, Candidates, is_view, refusal
from ..costs import Cost, Measured
from ..graph.ir import Graph, Node
from ..graph.region import Region
from ..lowering.plan import Plan

_Placed: TypeAlias = tuple[Region, str]


def bridged(
    plan: Plan, options: Candidates, costs: Mapping[tuple[str, str], Cost], backends: Mapping[str, Backend]
) -> Plan | None:
    """``plan`` with kernels for each island that there are kernels for; None if there is no such island.

    ``options`` are the candidates of the plan's graph. The bodies of control flow stay as they are.
    """
    graph = plan.graph
    backend = next((backend for backend in backends.values() if backend.is_bridge), None)
    if backend is None:
        return None
    placed = {node for region, _ in plan.placed for node in region.nodes}
    left = dict.fromkeys(_between(graph, placed))
    libraries = {name for name, each in backends.items() if name != XLA and each.kind == "kernel-library"}
    single = _single_kernels(options, costs, libraries)
    bridges: dict[Node, _Placed] = {}
    for root in reversed(left):
        if root not in bridges and not is_view(Region.of(graph, (root,))):
            found = single.get(root) or _grown(root, placed | set(bridges), graph, backend)
            bridges |= {} if found is None else dict.fromkeys(found[0].nodes, found)
    done = [island for island in _islands(graph, left) if _is_done(graph, island, bridges)]
    made = dict.fromkeys(bridges[node] for island in done for node in island if node in bridges)
    return replace(plan, placed=(*plan.placed, *made)) if made else None


def _between(graph: Graph, placed: set[Node]) -> list[Node]:
    """The nodes that wait for one of ``placed`` and that another of them waits for, in order."""
    after: set[int] = set()
    for i in range(len(graph.nodes)):
        if any(graph.nodes[p] in placed or p in after for p in graph.predecessors[i]):
            after.add(i)
    before: set[int] = set()
    for i in reversed(range(len(graph.nodes))):
        if i in before or graph.nodes[i] in placed:
            before.update(graph.predecessors[i])
    return [graph.nodes[i] for i in sorted(after & before) if graph.nodes[i] not in placed]


def _single_kernels(
    options: Candidates, costs: Mapping[tuple[str, str], Cost], libraries: Collection[str]
) -> dict[Node, _Placed]:
    """For each node that kernels of ``libraries`` take alone, the fastest; graph runtimes are no steps of a program."""
    found: dict[Node, tuple[float, _Placed]] = {}
    for candidate in options.chosen_from:
        cost = costs.get((candidate.key, candidate.backend))
        if candidate.backend in libraries and len(candidate.region.nodes) == 1 and isinstance(cost, Measured):
            each = cost.median_us, (candidate.region, candidate.backend)
            node = candidate.region.nodes[0]
            found[node] = min(found.get(node, each), each, key=lambda pair: pair[0])
    return {node: placed for node, (_, placed) in found.items()}


def _islands(graph: Graph, left: Mapping[Node, None]) -> list[list[Node]]:
    """``left`` divided into what hangs together."""
    islands: dict[Node, list[Node]] = {}
    for node in left:
        own = [node]
        for value in node.inputs:
            maker = graph.producer.get(value)
            if maker is not None and maker in left and islands[maker] is not own:
                own += islands[maker]
                islands |= dict.fromkeys(islands[maker], own)
        islands[node] = own
        islands |= dict.fromkeys(own, own)
    return list({id(island): island for island in islands.values()}.values())


def _is_done(graph: Graph, island: list[Node], bridges: Mapping[Node, _Placed]) -> bool:
    return all(node in bridges or is_view(Region.of(graph, (node,))) for node in island)


def _grown(root: Node, taken: set[Node], graph: Graph, backend: Backend) -> _Placed | None:
    """``root`` with all that only it needs, as far as that can be done in one pass; None if it cannot be itself."""
    region = Region.of(graph, (root,))
    if not _is_possible(region, backend):
        # A selection needs the comparison that it goes by.
        region = Region.of(graph, (root, *_feeders(region, taken)))
        if not _is_possible(region, backend):
            return None
    refused: set[Node] = set()
    while (feeder := next((n for n in _feeders(region, taken) if n not in refused), None)) is not None:
        longer = Region.of(graph, (*region.nodes, feeder))
        if _is_possible(longer, backend):
            region = longer
        else:
            refused.add(feeder)
    return region, backend.name


def _feeders(region: Region, taken: set[Node]) -> list[Node]:
    """The nodes that only ``region`` reads, last first."""
    graph, inside = region.graph, set(region.nodes)
    makers = {graph.producer[v] for v in region.entries if v in graph.producer}

    def is_own(node: Node) -> bool:
        return node not in taken and all(
            v not in graph.output_set and inside.issuperset(graph.users.get(v, ())) for v in node.outputs
        )

    return sorted(filter(is_own, makers), key=lambda node: -graph.position[node])


def _is_possible(region: Region, backend: Backend) -> bool:
    return refusal(backend, region) is None
