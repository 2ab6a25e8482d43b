"""The plans near one, as genomes for the evolutionary search.

Each region of the plan, and each operation that it leaves to XLA and others could run, is a gene; its choices are the
backends that could have it, the plan's own first. What a graph runtime gets is merged into the largest subgraphs that
it takes.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from ..backends.base import Backend
from ..candidates import XLA, Candidates, refusal
from ..costs import Cost, Measured
from ..graph.ir import Graph, Node
from ..graph.region import Region
from ..graph.subgraphs import merged
from ..lowering.plan import Plan
from ..search.genome import Genome

#: A kernel this many times slower alone than the best for its region is not tried inside a program.
NEAR = 2.0
#: With more genes than this, regions that are equal share one.
GENES = 64


@dataclass(frozen=True, eq=False)
class Gene:
    """``regions``, equal ones of one graph, on one of ``names``."""

    graph: Graph
    key: str
    regions: tuple[Region, ...]
    names: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Neighbourhood:
    """``base`` is the plan that the genome of zeros stands for."""

    base: Plan
    genes: tuple[Gene, ...]
    backends: Mapping[str, Backend]

    @property
    def choices(self) -> tuple[int, ...]:
        return tuple(len(gene.names) for gene in self.genes)

    @property
    def labels(self) -> tuple[tuple[str, ...], ...]:
        return tuple(gene.names for gene in self.genes)

    @property
    def groups(self) -> list[list[int]]:
        """Genes whose regions are equal."""
        found: dict[str, list[int]] = defaultdict(list)
        for i, gene in enumerate(self.genes):
            found[gene.key].append(i)
        return list(found.values())

    def genome_of(self, name: str) -> Genome:
        """As much as possible on the backend ``name``, the rest as in ``base``."""
        return tuple(gene.names.index(name) if name in gene.names else 0 for gene in self.genes)

    @cached_property
    def seeds(self) -> list[Genome]:
        """The plan itself, then each way to give all that is possible to one graph runtime."""
        runtimes = [name for name, backend in self.backends.items() if backend.kind == "graph-runtime" and name != XLA]
        return list(dict.fromkeys([(0,) * len(self.genes), *map(self.genome_of, runtimes)]))

    def plan(self, genome: Genome, together: bool = True) -> Plan:
        """What ``genome`` stands for; unless ``together``, with what a graph runtime gets still in pieces."""
        placed: dict[Graph, list[tuple[Region, str]]] = defaultdict(list)
        given: dict[Graph, dict[str, list[Region]]] = defaultdict(lambda: defaultdict(list))
        for gene, choice in zip(self.genes, genome, strict=True):
            name = gene.names[choice]
            if name == XLA:
                continue
            runtime = together and self.backends[name].kind == "graph-runtime"
            (given[gene.graph][name] if runtime else placed[gene.graph]).extend(
                gene.regions if runtime else [(region, name) for region in gene.regions]  # type: ignore[arg-type]
            )
        for plan, region, name in self.base.everything():
            if region not in self._free:
                placed[plan.graph].append((region, name))
        for graph, by_name in given.items():
            waiting = dict(by_name)
            for name in by_name:
                regions = waiting.pop(name)
                fixed = [r.nodes for r in (*(r for r, _ in placed[graph]), *(r for rs in waiting.values() for r in rs))]
                placed[graph] += self._together(graph, name, regions, fixed)
        return Plan.of(self.base.graph, placed)

    @cached_property
    def _free(self) -> frozenset[Region]:
        return frozenset(region for gene in self.genes for region in gene.regions)

    def _together(
        self, graph: Graph, name: str, regions: Sequence[Region], fixed: Sequence[tuple[Node, ...]]
    ) -> Iterator[tuple[Region, str]]:
        """``regions`` merged where the backend takes what comes of it; those that it does not take stay with XLA."""
        for nodes in merged(graph, [r.nodes for r in regions], fixed):
            whole = Region.of(graph, nodes)
            parts = (
                [whole] if refusal(self.backends[name], whole) is None else [r for r in regions if r.nodes[0] in nodes]
            )
            yield from ((part, name) for part in parts if refusal(self.backends[name], part) is None)


def around(
    base: Plan,
    options: Mapping[Graph, Candidates],
    costs: Mapping[tuple[str, str], Cost],
    backends: Mapping[str, Backend],
) -> Neighbourhood:
    """What could be otherwise in ``base``, given the candidates and their costs."""
    genes = [gene for graph, each in options.items() for gene in _genes(base, graph, each, costs, backends)]
    genes = [gene for gene in genes if len(gene.names) > 1]
    return Neighbourhood(base, tuple(genes if len(genes) <= GENES else _shared(genes)), backends)


def _genes(
    base: Plan,
    graph: Graph,
    options: Candidates,
    costs: Mapping[tuple[str, str], Cost],
    backends: Mapping[str, Backend],
) -> Iterator[Gene]:
    by_region: dict[tuple[int, ...], dict[str, str]] = defaultdict(dict)
    taken: dict[str, set[Node]] = defaultdict(set)
    for candidate in (*options.chosen_from, *options.subgraphs):
        by_region[candidate.region.indices][candidate.backend] = candidate.key
        if backends[candidate.backend].kind == "graph-runtime" and candidate.backend != XLA:
            taken[candidate.backend].update(candidate.region.nodes)
    placed = {region: name for plan, region, name in base.everything() if plan.graph is graph}
    covered = {node for region in placed for node in region.nodes}
    singles = (Region.of(graph, (node,)) for node in graph.nodes if node not in covered and not node.subgraphs)
    for region, own in sorted([*placed.items(), *((r, XLA) for r in singles)], key=lambda item: item[0].indices):
        keys = by_region.get(region.indices, {})
        times = {n: c.median_us for n, k in keys.items() if isinstance(c := costs.get((k, n)), Measured)}
        near = [n for n, us in sorted(times.items()) if us <= NEAR * min(times.values())]
        runtimes = [n for n, nodes in sorted(taken.items()) if nodes.issuperset(region.nodes)]
        names: dict[str, None] = dict.fromkeys([own, *near, *runtimes, *([XLA] if times else [])])
        yield Gene(graph, next(iter(keys.values()), ""), (region,), tuple(names))


def _shared(genes: Sequence[Gene]) -> list[Gene]:
    """``genes`` of which equal ones are one."""
    found: dict[tuple[int, str, tuple[str, ...]], list[Gene]] = defaultdict(list)
    for gene in genes:
        found[id(gene.graph), gene.key, gene.names].append(gene)
    return [replace(g[0], regions=tuple(r for each in g for r in each.regions)) for g in found.values()]
