"""A backend under test: the programs it is tried on, the regions it has to serve, their kernels.

*sample*: a distinct region that the backend has to serve: proposed and supported; for a graph runtime also the parts of
what it proposed, which the search puts together anew. ``strict`` holds it to whatever else ``supports`` says yes to.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from ..backends import registry
from ..backends.base import Backend, Proposal, Unsupported
from ..candidates import refusal
from ..graph.canonical import region_key
from ..graph.ir import Graph
from ..graph.region import Region
from ..measure.inputs import draw
from .agreement import Difference, difference
from .case import Case
from .effort import Effort
from .findings import Skipped, said
from .fresh import Answers, Ended, answers
from .kernels import Kernel, compiled, forms, run, xla
from .samples import Program, Sample, program_of, standard_programs
from .sampling import random_regions, varied


@dataclass(frozen=True)
class Broken:
    """Why there is no kernel: what failed, and how."""

    stage: str
    reason: str


class Subject:
    """``backend`` with the programs it is tried on: ``cases``, and the standard ones unless others are given."""

    def __init__(
        self,
        backend: Backend,
        cases: Sequence[Case],
        effort: Effort,
        strict: bool = False,
        others: Sequence[Program] | None = None,
    ) -> None:
        for each in cases:
            if not isinstance(each, Case):
                raise TypeError(f"`cases` must hold cases, got {each!r}; write case(function, *arguments)")
        self.backend = backend
        self.cases = tuple(cases)
        self.effort = effort
        self.strict = strict
        self._others = others
        self._kernels: dict[str, Kernel | Broken] = {}
        self._references: dict[str, Kernel | None] = {}
        self._elsewhere: Answers | Ended | Skipped | None = None
        self._differences: dict[str, Difference | None] = {}

    def require_usable(self) -> None:
        """Raise ``Skipped`` where the backend says that it cannot be used."""
        reason = registry.why_unavailable(self.backend)
        if reason is not None:
            raise Skipped(f"{self.backend.name} is not available: {reason}")

    @cached_property
    def programs(self) -> tuple[Program, ...]:
        """All programs; ``ValueError`` for a case that is none."""
        own = [program_of(c, args, True) for c in self.cases for args in c.examples(self.effort.examples)]
        return (*own, *(standard_programs() if self._others is None else self._others))

    @property
    def graphs(self) -> Iterator[tuple[Program, str, Graph]]:
        """Every graph of every program, the bodies of control flow too."""
        yield from ((p, name, graph) for p in self.programs for name, graph in p.problem.graphs.items())

    def proposals(self, graph: Graph) -> list[Proposal]:
        """What the backend proposes in ``graph``, as far as it can be used."""
        found: list[Proposal] = []
        try:
            for proposal in self.backend.propose(graph):
                held = proposal.nodes if isinstance(proposal, Proposal) else ()
                if held and all(node in graph.position for node in held):
                    found.append(proposal)
        except Exception:  # what it proposed before counts; the check of refusals reports the rest
            return found
        return found

    def refused(self, graph: Graph, proposal: Proposal) -> Unsupported | None:
        """Why ``proposal`` is not run, or None if it is supported."""
        # What is unsupported is false: `or` would pass over the proposal's own reason.
        return refusal(self.backend, Region.of(graph, proposal.nodes)) if proposal.refused is None else proposal.refused

    def unproposed(self, graph: Graph, seed: int = 0) -> list[Region]:
        """Every node by itself, and random regions."""
        singles = [Region.of(graph, (node,)) for node in graph.nodes]
        return [*singles, *random_regions(graph, self.effort.asked, seed)]

    @cached_property
    def supported(self) -> tuple[Sample, ...]:
        """Every region that the backend has to serve, equal ones too."""
        return tuple(self._supported())

    @cached_property
    def samples(self) -> tuple[Sample, ...]:
        """Distinct regions to run: all in the cases, and a choice of many kinds from the standard programs."""
        first: dict[str, Sample] = {}
        for sample in self.supported:
            first.setdefault(sample.key, sample)
        own = [s for s in first.values() if s.program.own]
        others = [s for s in first.values() if not s.program.own]
        chosen = varied(own, _kind, len(own)) + varied(others, _kind, self.effort.regions)
        return tuple(s for s in chosen if self.reference(s) is not None)

    @cached_property
    def working(self) -> tuple[Sample, ...]:
        """The samples whose kernels can be compiled and run."""
        return tuple(s for s in self.samples if isinstance(self.kernel(s), Kernel))

    @property
    def sampled(self) -> tuple[tuple[Sample, Kernel], ...]:
        """A few working samples with their kernels, for checks that cost much."""
        found = ((s, self.kernel(s)) for s in self.working[: self.effort.sampled])
        return tuple((s, k) for s, k in found if isinstance(k, Kernel))

    @property
    def elsewhere(self) -> Answers:
        """What other processes make of ``sampled``; raises what ``fresh.answers`` does."""
        if self.backend.name == registry.REFERENCE:
            raise Skipped("what XLA compiles by itself is JAX's to keep")
        if self._elsewhere is None:
            try:
                self._elsewhere = answers(self.backend, [s for s, _ in self.sampled])
            except (Ended, Skipped) as why:
                self._elsewhere = why
        if isinstance(self._elsewhere, Exception):
            raise self._elsewhere
        return self._elsewhere

    def kernel(self, sample: Sample) -> Kernel | Broken:
        """The kernel for ``sample``, run once, or what failed on the way there."""
        if sample.key not in self._kernels:
            self._kernels[sample.key] = self._kernel(sample)
        return self._kernels[sample.key]

    def reference(self, sample: Sample) -> Kernel | None:
        """What XLA makes of ``sample``; None where it cannot run the region alone."""
        if sample.key not in self._references:
            try:
                kernel = xla(sample.region)
                run(kernel, draw(sample.region.entries))
            except Exception:  # XLA's own limits are not the backend's
                kernel = None
            self._references[sample.key] = kernel
        return self._references[sample.key]

    def difference(self, sample: Sample) -> Difference | None:
        """The rule that the kernel for ``sample``, a working one, breaks in comparison with XLA, if it does."""
        if sample.key not in self._differences:
            kernel, reference = self.kernel(sample), self.reference(sample)
            assert isinstance(kernel, Kernel) and reference is not None, sample
            self._differences[sample.key] = difference(sample.region, kernel, reference)
        return self._differences[sample.key]

    @cached_property
    def right(self) -> tuple[Sample, ...]:
        """The samples whose kernels compute what XLA does."""
        return tuple(s for s in self.working if self.difference(s) is None)

    def _kernel(self, sample: Sample) -> Kernel | Broken:
        stage = "`emit`"
        try:
            emitted = self.backend.emit(sample.region)
            stage = "what `emit` returned, traced and compiled,"
            kernel = compiled(emitted, forms(sample.region.entries))
            stage = "the compiled kernel"
            run(kernel, draw(sample.region.entries))
        except Exception as error:
            return Broken(stage, said(error))
        return kernel

    def _supported(self) -> Iterator[Sample]:
        for program, name, graph in self.graphs:
            proposals = [p for p in self.proposals(graph) if p.refused is None]
            regions = {Region.of(graph, p.nodes): p.label for p in proposals}
            if self.backend.kind == "graph-runtime":
                inside = {node for p in proposals for node in p.nodes}
                regions |= dict.fromkeys(random_regions(graph, self.effort.asked, 1, inside), "part")
            if self.strict:
                regions |= dict.fromkeys(self.unproposed(graph), "not proposed")
            seen: set[tuple[int, ...]] = set()
            for region, label in regions.items():
                if region.indices not in seen and refusal(self.backend, region) is None:
                    key = region_key(region, frozenset(program.problem.split.kept).intersection(region.entries))
                    yield Sample(program, name, region, str(label), key)
                seen.add(region.indices)


def _kind(sample: Sample) -> tuple[str, ...]:
    return sample.region.ops
