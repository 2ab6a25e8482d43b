"""Whole programs with the backend's kernels in them, by a placement that is made here and not by timing."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import jax

from ..api import jit
from ..backends import registry
from ..backends.base import Backend
from ..costs import Measured
from ..graph.ir import Graph
from ..graph.region import Region
from ..lowering.plan import Plan
from ..measure.compare import tolerance
from ..measure.whole import default_tolerance
from ..placement import Place, PlacedRegion, Placement
from ..tuning.stages import environment
from .case import concrete
from .findings import Skipped
from .samples import Program, Sample
from .subject import Subject

#: Nothing was timed.
COST = Measured(0.0, runs=0)


@dataclass(frozen=True, eq=False)
class Placed:
    """``function``, decorated, runs the backend's kernels at ``args``; ``samples`` are the regions it has there."""

    program: Program
    samples: tuple[Sample, ...]
    function: Any
    args: tuple[Any, ...]

    def allowed(self, wanted: Any) -> float:
        """How far results may be from ``wanted``, relative to the largest."""
        return default_tolerance(jax.tree.leaves(wanted)) + sum(tolerance(s.region) for s in self.samples)

    @property
    def left_to_xla(self) -> str:
        """Why the backend runs nothing here, or nothing."""
        placement = self.function.placement(*self.args)
        name = self.samples[0].label if placement.is_xla else ""
        return f"{name} left to XLA: {'; '.join(placement.notes)}" if name else ""


@contextmanager
def known(backend: Backend) -> Iterator[None]:
    """``backend`` under its name, for as long as that takes.

    Another instance of the same class may be there already, from a package: it runs in place of this one.
    """
    try:
        held = registry.get(backend.name)
    except ValueError:
        try:
            registry.register_backend(backend)
        except (TypeError, ValueError) as error:
            raise Skipped(f"it cannot be registered: {error}") from error
        try:
            yield
        finally:
            registry.unregister_backend(backend.name)
        return
    if type(held) is not type(backend):
        raise Skipped(f"another backend is called {backend.name!r} in this process: {type(held).__name__}")
    yield


def placed_programs(subject: Subject) -> list[Placed]:
    """Programs in which the backend has right kernels, its author's own first; as many as the effort says."""
    if subject.backend.name == registry.REFERENCE:
        raise Skipped("what stays with the reference is no placement")
    right = {sample.key for sample in subject.right}
    by_program: dict[Program, list[Sample]] = defaultdict(list)
    for sample in subject.supported:
        program = sample.program
        if sample.key in right and not program.problem.has_effects:
            by_program[program].append(sample)
    own = [p for p in by_program if p.own]
    # Of the standard programs, short ones in which it has several regions.
    others = sorted((p for p in by_program if not p.own), key=lambda p: (-min(3, len(by_program[p])), _length(p)))
    return [_placed(subject, p, by_program[p]) for p in [*own, *others][: subject.effort.placed]]


def _length(program: Program) -> int:
    return sum(len(graph.nodes) for graph in program.problem.graphs.values())


def _placed(subject: Subject, program: Program, samples: list[Sample]) -> Placed:
    chosen = _together(program, samples)
    name = subject.backend.name
    places = ((s, Place(s.graph, s.region.indices)) for s in chosen)
    regions = tuple(PlacedRegion(name, s.region.ops, s.label, COST, {}, "", 1, s.key, (p,)) for s, p in places)
    backends = {name: subject.backend, registry.REFERENCE: registry.reference()}
    placement = Placement(regions, program=program.problem.key, environment=environment(backends))
    function = jit(program.case.fun, backends=[name], placement=placement)
    return Placed(program, tuple(chosen), function, concrete(program.args))


def _together(program: Program, samples: list[Sample]) -> list[Sample]:
    """As many of ``samples``, the largest first, as do not overlap and can run one after another."""
    chosen: list[Sample] = []
    placed: dict[Graph, list[tuple[Region, str]]] = defaultdict(list)
    for sample in sorted(samples, key=lambda s: -len(s.region.nodes)):
        held = placed[sample.region.graph]
        if any(set(sample.region.nodes) & set(other.nodes) for other, _ in held):
            continue
        try:
            Plan(sample.region.graph, (*held, (sample.region, sample.label))).steps  # noqa: B018
        except ValueError:  # they would wait for each other
            continue
        held.append((sample.region, sample.label))
        chosen.append(sample)
    return chosen
