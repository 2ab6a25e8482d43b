"""What was decided for one signature, as data that a person or a program can read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from .candidates import Refusal
from .costs import Cost, Measured


@dataclass(frozen=True)
class PlacedRegion:
    """One region of a placement.

    ``ops`` are its operations in order; ``count`` how often an equal region stands in the program with the same choice
    (loop bodies once); ``cost`` of one run on ``backend``; ``alternatives`` the other backends' costs or reasons.
    ``shapes`` describes what goes in and comes out.
    """

    backend: str
    ops: tuple[str, ...]
    label: str
    cost: Cost
    alternatives: Mapping[str, Cost]
    shapes: str
    count: int = 1

    @property
    def total_us(self) -> float:
        """Microseconds of all its runs together; 0 if it was not measured."""
        return self.cost.median_us * self.count if isinstance(self.cost, Measured) else 0.0


@dataclass(frozen=True)
class Placement:
    """Which backend runs what, and how fast that is.

    ``predicted_us`` is the sum of the regions' costs, ``measured_us`` the time of the whole program as placed,
    ``xla_us`` that of ``jax.jit``, measured in turn with it; None where nothing was measured. ``notes`` says what else
    decided (no backend available, side effects, the budget spent, ...).
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

    def __str__(self) -> str:
        from .report import table

        return table(self)
