"""What was decided for one signature, as data that a person or a program can read."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import TypeAlias

from .candidates import Refusal
from .costs import Cost, Measured
from .spelling import did_you_mean
from .switches import NAME_DIGITS, Switches, checked_names, is_called

#: Edges of a graph: pairs of places of nodes, the second of which reads what the first makes.
Edges: TypeAlias = tuple[tuple[int, int], ...]


#: The cost of what XLA runs among its own.
LEFT = Measured(0.0, runs=0, note="part of XLA's program; not measured alone")


@dataclass(frozen=True)
class Place:
    """Where a region stands: the places of its nodes in their graph.

    ``graph`` is ``""`` for the program itself; for the body of a loop or condition it is the place of its node, the
    parameter that holds it and its number there, such as ``"7.branches.1"``; deeper ones follow after a ``/``.
    """

    graph: str
    nodes: tuple[int, ...]


@dataclass(frozen=True)
class PlacedRegion:
    """One region of a placement.

    ``ops`` are its operations in order; ``count`` how often an equal region stands in the program with the same choice
    (loop bodies once); ``cost`` of one run on ``backend``; ``alternatives`` the other backends' costs or reasons.
    ``shapes`` describes what goes in and comes out. ``key`` is the region's canonical hash, ``places`` where the equal
    regions stand.
    """

    backend: str
    ops: tuple[str, ...]
    label: str
    cost: Cost
    alternatives: Mapping[str, Cost]
    shapes: str
    count: int = 1
    key: str = ""
    places: tuple[Place, ...] = ()

    @property
    def name(self) -> str:
        """What ``disable_regions`` and ``Placement.without`` call it, the same in any process; "" for none."""
        return self.key[:NAME_DIGITS]

    @property
    def total_us(self) -> float:
        """Microseconds of all its runs together; 0 if it was not measured."""
        return self.cost.median_us * self.count if isinstance(self.cost, Measured) else 0.0


@dataclass(frozen=True)
class Placement:
    """Which backend runs what, and how fast that is.

    ``uncorrected_us`` is the sum of the regions' costs, ``predicted_us`` the same corrected by what whole programs
    took; ``measured_us`` the time of the whole program as placed, ``xla_us`` that of ``jax.jit``, measured in turn with
    it; None where nothing was measured. ``notes`` says what else decided (no backend available, side effects, the
    budget spent, ...). ``tuning_s`` and ``distinct_measured`` are of this tuning: 0 where it was decided before.
    ``is_final`` is False if tuning ended before everything was measured; ``budget_s`` are the
    seconds that it was given, 0 if it ended for another reason: with more, it may find more.

    ``program`` is the canonical hash of the function's graph, ``edges`` how its nodes depend on each other, by graph
    (see ``Place``), ``environment`` what the times hold for: versions of the backends used, of JAX, the device.
    """

    regions: tuple[PlacedRegion, ...]
    refusals: tuple[Refusal, ...] = ()
    predicted_us: float | None = None
    measured_us: float | None = None
    xla_us: float | None = None
    error: float | None = None
    tuning_s: float = 0.0
    distinct_measured: int = 0
    unavailable: Mapping[str, str] | None = None
    notes: tuple[str, ...] = ()
    uncorrected_us: float | None = None
    is_final: bool = True
    budget_s: float = 0.0
    program: str = ""
    edges: Mapping[str, Edges] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def speedup(self) -> float:
        """``jax.jit``'s time over ours; 1 where XLA alone was chosen."""
        if self.measured_us is None or self.xla_us is None or self.is_xla:
            return 1.0
        return self.xla_us / self.measured_us

    @property
    def is_xla(self) -> bool:
        """True if XLA runs everything."""
        return all(region.backend == "xla" for region in self.regions)

    def counts(self) -> dict[str, int]:
        """Number of regions by backend."""
        found: dict[str, int] = {}
        for region in self.regions:
            found[region.backend] = found.get(region.backend, 0) + region.count
        return found

    def without(self, backends: Iterable[str] = (), regions: Iterable[str] = ()) -> Placement:
        """The same with XLA running what ``backends`` had, and the regions called ``regions``; to be pinned.

        A region is called as ``explain`` prints it, or by an operation that it holds. What was measured of the whole
        program holds for it no more and is dropped. ``ValueError`` for a name that nothing here has.
        """
        off = Switches(False, checked_names("backends", backends), checked_names("regions", regions))
        known = {"backends": {r.backend for r in self.regions} - {"xla"}, "regions": {r.name for r in self.regions}}
        for name in off.backends:
            if name not in known["backends"]:
                listed = ", ".join(sorted(known["backends"])) or "none but XLA"
                raise ValueError(
                    f"`backends` must hold backends of this placement, got {name!r}; it has {listed}"
                    f"{did_you_mean(name, known['backends'])}"
                )
        for name in off.regions:
            if not any(is_called(name, region.key, region.ops) for region in self.regions):
                names = known["regions"].union(*(region.ops for region in self.regions))
                raise ValueError(
                    f"`regions` must hold names or operations of this placement's regions, got {name!r}; "
                    f"print the placement for them{did_you_mean(name, names)}"
                )
        return self.left_to_xla(off.bars)

    def left_to_xla(self, why_not: Callable[[str, str, Collection[str]], str | None]) -> Placement:
        """The same with XLA running each region for which ``why_not(backend, key, ops)`` gives a reason, and notes."""
        rows: dict[tuple[str, str], PlacedRegion] = {}
        notes: dict[str, None] = {}
        for region in self.regions:
            why = None if region.backend == "xla" else why_not(region.backend, region.key, region.ops)
            if why is not None:
                notes[f"{'+'.join(region.ops)} ({region.name}) stays with XLA, not {region.backend}: {why}"] = None
                region = _on_xla(region)
            known = rows.get((region.key, region.backend))
            rows[region.key, region.backend] = region if known is None else _together(known, region)
        if not notes:
            return self
        gone = dict.fromkeys(("predicted_us", "uncorrected_us", "measured_us", "xla_us", "error"))
        return replace(self, regions=tuple(rows.values()), notes=(*self.notes, *notes), **gone)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write everything as JSON, to be read again by ``load`` in any process.

        In a folder the file is named after the program, as ``config.placements`` wants it.
        """
        from .report.files import save

        save(self, os.path.join(path, self.file_name) if os.path.isdir(path) else path)

    @property
    def file_name(self) -> str:
        """What the file is called in a folder of placements. ``ValueError`` if this one is of no program."""
        if not self.program:
            raise ValueError(
                "a placement in a folder of them must be one of a program that some backend wants, got one in which"
                " XLA runs everything anyway; leave it out"
            )
        return f"{self.program}.json"

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Placement:
        """A placement that ``save`` wrote. Pin it with ``collage_jax.jit(f, placement=...)``.

        Raises ``ValueError`` for a file that is not one, or of a newer format.
        """
        from .report.files import load

        return load(path)

    def to_json(self) -> str:
        """Everything as JSON text."""
        from .report.files import to_json

        return to_json(self)

    def to_html(self, path: str | os.PathLike[str]) -> None:
        """Write one self-contained page: the graph by backend, costs, runner-ups, refusals, predicted and measured."""
        from .report.html import write_html

        write_html(self, path)

    def to_dot(self) -> str:
        """The graph in Graphviz's language, regions coloured by backend."""
        from .report.dot import to_dot

        return to_dot(self)

    def diff(self, other: Placement) -> str:
        """What ``other`` places otherwise than this one, as a table for a person; empty if nothing."""
        from .report.difference import difference

        if not isinstance(other, Placement):
            raise TypeError(f"`other` must be a Placement, got {other!r}; read a file with Placement.load")
        return difference(self, other)

    def __str__(self) -> str:
        from .report.table import table

        return table(self)


def _on_xla(region: PlacedRegion) -> PlacedRegion:
    """``region`` as XLA runs it."""
    costs = {**region.alternatives, region.backend: region.cost}
    cost = costs.pop("xla", LEFT)
    return replace(region, backend="xla", label="+".join(region.ops), cost=cost, alternatives=costs)


def _together(one: PlacedRegion, other: PlacedRegion) -> PlacedRegion:
    return replace(one, count=one.count + other.count, places=(*one.places, *other.places))
