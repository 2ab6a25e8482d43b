"""Graph + backends -> candidates: which regions which backend could run, and what was refused and why."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass

from . import watch
from .backends.base import Backend, Proposal, Unsupported
from .costs import FAULTS, told
from .graph.canonical import region_key
from .graph.ir import Graph, Node, Value
from .graph.region import Region
from .graph.subgraphs import maximal_convex
from .switches import NOTHING, Switches

#: Shape-only operations: XLA folds them into their neighbours, alone they cost nothing worth measuring.
VIEWS = frozenset({"reshape", "squeeze", "expand_dims", "broadcast_in_dim"})

XLA = "xla"

#: A graph runtime's region of more nodes than this is not timed alone.
TIMED_ALONE = 24


@dataclass(frozen=True, eq=False)
class Candidate:
    """A region that a backend could run. ``key`` is equal for equal work; ``label`` names the pattern that matched."""

    region: Region
    backend: str
    label: str
    key: str
    frozen: frozenset[Value] = frozenset()


@dataclass(frozen=True)
class Refusal:
    """A region that a backend's pattern matched and the backend refused; without ``ops``, the whole function."""

    ops: tuple[str, ...]
    backend: str
    reason: str


@dataclass(frozen=True, eq=False)
class Candidates:
    """All candidates of a graph, XLA's among them, in a fixed order.

    ``subgraphs`` are those of graph runtimes that are too large to be timed alone, beside everything they hold: they
    are tried as parts of whole programs.
    """

    graph: Graph
    chosen_from: tuple[Candidate, ...]
    refusals: tuple[Refusal, ...]
    subgraphs: tuple[Candidate, ...] = ()


def find(
    graph: Graph, backends: Sequence[Backend], frozen: Collection[Value] = (), switches: Switches = NOTHING
) -> Candidates:
    """Candidates of ``graph``: what each backend proposes and supports, and XLA on those regions and their nodes.

    Nodes that no backend wants get no candidate: they stay with XLA whatever is chosen, as do those of regions that
    ``switches`` bar. ``frozen`` values are the same call after call, so that kernels may take them in a form of their
    own.
    """
    frozen = frozenset(frozen)
    found: list[Candidate] = []
    subgraphs: list[Candidate] = []
    refusals: dict[Refusal, None] = {}
    regions: dict[tuple[int, ...], Region] = {}
    for backend in backends:
        seen: set[tuple[int, ...]] = set()
        with watch.at(watch.Step(backend.name, "propose", limit_s=watch.PROPOSE_S)):
            for proposal in _proposals(backend, graph):
                if isinstance(proposal, Unsupported):
                    refusals[Refusal((), backend.name, proposal.reason)] = None
                    continue
                region = Region.of(graph, proposal.nodes)
                if region.indices in seen:
                    continue
                seen.add(region.indices)
                refused = refusal(backend, region) if proposal.refused is None else proposal.refused
                if refused is not None:
                    refusals[Refusal(region.ops, backend.name, refused.reason)] = None
                    continue
                if backend.kind == "graph-runtime" and len(region.nodes) > TIMED_ALONE:
                    subgraphs.append(_candidate(region, backend.name, proposal.label, frozen))
                    continue
                region = regions.setdefault(region.indices, region)
                found.append(_candidate(region, backend.name, proposal.label, frozen))
    fallbacks = {backend.name for backend in backends if backend.is_fallback}
    taken = {c.region for c in found if c.backend not in fallbacks}
    found = [c for c in found if c.backend not in fallbacks or c.region not in taken]
    chosen_from = (*found, *_xla_candidates(graph, regions, frozen))
    everything = Candidates(graph, chosen_from, tuple(refusals), tuple(subgraphs))
    return _allowed(everything, backends, frozen, switches) if switches.regions else everything


def _allowed(
    found: Candidates, backends: Sequence[Backend], frozen: frozenset[Value], switches: Switches
) -> Candidates:
    """``found`` without what holds a node of a region that ``switches`` bar.

    A graph runtime, which takes as much as it can, gets the parts around such nodes instead.
    """
    everything = (*found.chosen_from, *found.subgraphs)
    singles = (_candidate(Region.of(found.graph, (node,)), XLA, XLA, frozen) for node in found.graph.nodes)
    barred = {
        node: why
        for candidate in (*everything, *singles)
        if (
            why := switches.why_not_region(
                candidate.key, candidate.region.ops if len(candidate.region.nodes) == 1 else ()
            )
        )
        for node in candidate.region.nodes
    }
    runtimes = {b.name: b for b in backends if b.kind == "graph-runtime"}
    kept: dict[tuple[str, tuple[int, ...]], Candidate] = {}
    refusals = dict.fromkeys(found.refusals)
    for candidate in (c for c in everything if c.backend != XLA):
        held = [node for node in candidate.region.nodes if node in barred]
        if not held:
            kept[candidate.backend, candidate.region.indices] = candidate
            continue
        refusals[Refusal(candidate.region.ops, candidate.backend, barred[held[0]])] = None
        if (runtime := runtimes.get(candidate.backend)) is not None:
            free = set(candidate.region.nodes).difference(held)
            for nodes in maximal_convex(found.graph, free.__contains__):
                part = Region.of(found.graph, nodes)
                if refusal(runtime, part) is None:
                    label = f"{len(nodes)} operations"
                    kept[runtime.name, part.indices] = _candidate(part, runtime.name, label, frozen)
    large = [c for c in kept.values() if c.backend in runtimes and len(c.region.nodes) > TIMED_ALONE]
    small = [c for c in kept.values() if c not in large]
    regions = {c.region.indices: c.region for c in small}
    chosen_from = (*small, *_xla_candidates(found.graph, regions, frozen))
    return Candidates(found.graph, chosen_from, tuple(refusals), tuple(large))


def is_wanted(graph: Graph, backends: Iterable[Backend]) -> bool:
    """True if one of ``backends`` could run some part of ``graph``."""
    return any(
        isinstance(proposal, Proposal)
        and proposal.refused is None
        and refusal(backend, Region.of(graph, proposal.nodes)) is None
        for backend in backends
        for proposal in _proposals(backend, graph)
    )


def _proposals(backend: Backend, graph: Graph) -> Iterator[Proposal | Unsupported]:
    """What ``backend`` proposes, as it comes; at the end why it stopped if it failed on the way."""
    try:
        for proposal in backend.propose(graph):
            if not proposal.nodes or not all(node in graph.position for node in proposal.nodes):
                raise ValueError(f"{proposal.label} must hold nodes of this graph, got {proposal.nodes}")
            yield proposal
    except FAULTS as error:
        yield Unsupported(f"`propose` failed: {told(error)}")


def refusal(backend: Backend, region: Region) -> Unsupported | None:
    """Why ``backend`` cannot run ``region``, or None if it can."""
    if not region.is_convex:
        return Unsupported("the region is not convex: a path leaves it and comes back")
    if any(node.barrier for node in region.nodes):
        return Unsupported(
            "the region holds an operation that must keep its place (an effect, a collective, randomness)"
        )
    try:
        refused = backend.supports(region)
    except FAULTS as error:
        return Unsupported(f"`supports` failed: {told(error)}")
    if refused is None or isinstance(refused, Unsupported):
        return refused
    return Unsupported(f"`supports` must return None or Unsupported(reason), got {refused!r}")


def candidate_of(region: Region, backend: str, frozen: Collection[Value] = ()) -> Candidate:
    """``region`` on ``backend``; ``frozen`` values are the same call after call."""
    return _candidate(region, backend, "+".join(region.ops), frozenset(frozen))


def _candidate(region: Region, backend: str, label: str, frozen: frozenset[Value]) -> Candidate:
    held = frozen.intersection(region.entries)
    return Candidate(region, backend, label, region_key(region, held), held)


def _xla_candidates(graph: Graph, regions: dict[tuple[int, ...], Region], frozen: frozenset[Value]) -> list[Candidate]:
    singles: dict[Node, None] = dict.fromkeys(node for region in regions.values() for node in region.nodes)
    all_regions = dict(regions)
    for node in singles:
        single = Region.of(graph, (node,))
        all_regions.setdefault(single.indices, single)
    return [_candidate(region, XLA, XLA, frozen) for _, region in sorted(all_regions.items())]


def is_view(region: Region) -> bool:
    """True if the region only changes shapes."""
    return all(node.op in VIEWS for node in region.nodes)
