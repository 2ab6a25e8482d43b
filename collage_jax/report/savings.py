"""What a reader of the table asks first: where most was saved, and why a faster kernel was not chosen."""

from __future__ import annotations

from collections.abc import Iterable

from ..costs import Cost
from ..placement import PlacedRegion, Placement
from .figures import duration, is_timed

#: So many regions are named, and none that saves less than this share of what all save.
NAMED, LEAST = 3, 0.05
#: Stands after a time that is shorter than that of the backend chosen.
BETTER = "*"


def saved_most(placement: Placement) -> list[str]:
    """A line on the regions that gain most over XLA, by their times alone; none where XLA alone is used."""
    saved = [(_saved_us(region), region) for region in placement.regions]
    total_us = sum(us for us, _ in saved if us > 0)
    if placement.is_xla or not total_us:
        return []
    ranked = sorted(saved, key=lambda each: -each[0])[:NAMED]
    named = "; ".join(_change(region, us) for us, region in ranked if us >= LEAST * total_us)
    return [f"Most of it comes from: {named}."] if named else []


def faster_but_left(regions: Iterable[PlacedRegion]) -> list[str]:
    """What ``BETTER`` means, if a time of ``regions`` is marked so."""
    if any(is_better(cost, region) for region in regions for cost in region.alternatives.values()):
        return [
            f"{BETTER} Faster alone, and not chosen: whole programs decide. In them XLA may run the region as one with "
            "its neighbours, and a kernel's call and another layout of its operands cost time."
        ]
    return []


def is_better(cost: Cost, region: PlacedRegion) -> bool:
    """True for a time below that of the backend that ``region`` got."""
    return is_timed(cost) and is_timed(region.cost) and cost.median_us < region.cost.median_us


def _saved_us(region: PlacedRegion) -> float:
    xla = region.alternatives.get("xla")
    if xla is None or not is_timed(xla) or not is_timed(region.cost):
        return 0.0
    return xla.median_us * region.count - region.total_us


def _change(region: PlacedRegion, saved_us: float) -> str:
    times = f"{duration(region.total_us + saved_us)} to {duration(region.total_us)} by {region.backend}"
    return f"{f'{region.count} x ' if region.count > 1 else ''}{region.label} ({region.name}), {times}"
