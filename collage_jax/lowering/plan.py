"""A plan: which backend runs which region of a graph, and of the graphs inside its control flow."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from ..graph.ir import Graph, Node
from ..graph.region import Region


@dataclass(frozen=True, eq=False)
class Plan:
    """``placed`` pairs disjoint regions with backend names; every other node of ``graph`` stays with XLA.

    ``inner`` holds, for control-flow nodes, a plan for each body by parameter name.
    """

    graph: Graph
    placed: tuple[tuple[Region, str], ...] = ()
    inner: Mapping[Node, Mapping[str, tuple[Plan, ...]]] = field(default_factory=dict)

    @classmethod
    def plain(cls, graph: Graph) -> Plan:
        """The plan in which XLA runs everything."""
        return cls.of(graph, {})

    @classmethod
    def of(cls, graph: Graph, placed: Mapping[Graph, Sequence[tuple[Region, str]]]) -> Plan:
        """The plan with the regions that ``placed`` holds for ``graph`` and for the bodies of its control flow."""
        inner = {
            n: {k: tuple(cls.of(body, placed) for body in bodies) for k, bodies in n.subgraphs.items()}
            for n in graph.nodes
            if n.subgraphs
        }
        return cls(graph, tuple(placed.get(graph, ())), inner)

    @cached_property
    def steps(self) -> tuple[tuple[Region, str | None], ...]:
        """Regions in an order in which they can run; None stands for a node left to XLA.

        Raises ``ValueError`` if regions feed each other in a circle.
        """
        owner: dict[Node, int] = {}
        regions: list[tuple[Region, str | None]] = list(self.placed)
        for i, (region, _) in enumerate(regions):
            owner.update((node, i) for node in region.nodes)
        for node in self.graph.nodes:
            if node not in owner:
                owner[node] = len(regions)
                regions.append((Region.of(self.graph, (node,)), None))
        return tuple(regions[i] for i in _ordered(self.graph, owner, len(regions)))

    def everything(self) -> Iterator[tuple[Plan, Region, str]]:
        """Every placed region, those inside control flow included, with the plan it belongs to."""
        yield from ((self, region, name) for region, name in self.placed)
        for bodies in self.inner.values():
            for plans in bodies.values():
                for plan in plans:
                    yield from plan.everything()

    @cached_property
    def identity(self) -> frozenset[tuple[int, tuple[int, ...], str]]:
        """Equal for plans of one graph that place the same regions."""
        return frozenset((id(plan.graph), region.indices, name) for plan, region, name in self.everything())

    @cached_property
    def is_plain(self) -> bool:
        """True if XLA runs everything."""
        return next(self.everything(), None) is None


def _ordered(graph: Graph, owner: Mapping[Node, int], count: int) -> list[int]:
    """Steps in topological order, those with earlier nodes first where there is a choice."""
    needs: list[set[int]] = [set() for _ in range(count)]
    feeds: list[set[int]] = [set() for _ in range(count)]
    for i, node in enumerate(graph.nodes):
        step = owner[node]
        for other in {owner[graph.nodes[p]] for p in graph.predecessors[i]} - {step}:
            needs[step].add(other)
            feeds[other].add(step)
    order: list[int] = []
    # Depth first from the first ready step keeps a producer near its consumer, as the program had them.
    ready = [i for i in reversed(_by_first_node(graph, owner, count)) if not needs[i]]
    while ready:
        step = ready.pop()
        order.append(step)
        for other in sorted(feeds[step], reverse=True):
            needs[other].discard(step)
            if not needs[other]:
                ready.append(other)
    if len(order) < count:
        raise ValueError("regions feed each other in a circle; the placement cannot run")
    return order


def _by_first_node(graph: Graph, owner: Mapping[Node, int], count: int) -> list[int]:
    first: dict[int, int] = {}
    for i, node in enumerate(graph.nodes):
        first.setdefault(owner[node], i)
    return sorted(range(count), key=lambda step: first[step])
