"""Times, shares and costs as a few characters, for people."""

from __future__ import annotations

from typing import TypeGuard

from ..costs import Cost, Estimated, Failed, Measured
from ..placement import PlacedRegion


def duration(us: float) -> str:
    """Microseconds in the unit that suits them, to three or four digits."""
    for scale, unit in ((1e6, "s"), (1e3, "ms")):
        if us >= scale:
            return f"{_digits(us / scale)} {unit}"
    return f"{_digits(us)} us"


def _digits(number: float) -> str:
    if number >= 100:
        return f"{number:.0f}"
    return f"{number:.1f}" if number >= 10 else f"{number:.2f}"


def is_timed(cost: Cost) -> TypeGuard[Measured]:
    """True if ``cost`` is a time, measured or estimated; XLA's operations that were not timed alone have none."""
    return isinstance(cost, Measured) and cost.has_time


def short(cost: Cost) -> str:
    """A cost in a word or two; the reason of a failure left out."""
    if isinstance(cost, Failed):
        return "not measured" if cost.stage == "budget" else f"failed ({cost.stage})"
    if isinstance(cost, Estimated):
        return f"{duration(cost.median_us)} est."
    return duration(cost.median_us) if cost.has_time else "not timed alone"


def measurement(cost: Cost) -> str:
    """All that is known of a cost, in a line."""
    if isinstance(cost, Failed):
        return cost.reason if cost.stage == "budget" else f"{short(cost)}: {cost.reason}"
    if not cost.has_time:
        return cost.note or short(cost)
    if isinstance(cost, Estimated):
        return f"{duration(cost.median_us)}, an estimate" + (f" ({cost.note})" if cost.note else "")
    parts = [f"spread {duration(cost.spread_us)}", f"{cost.runs} run{'s' if cost.runs > 1 else ''}"]
    if cost.error is not None:
        parts.append(f"error {cost.error:.1e}")
    return f"{duration(cost.median_us)} ({', '.join(parts)})" + (f"; {cost.note}" if cost.note else "")


def ranked(region: PlacedRegion) -> list[tuple[str, Cost]]:
    """The alternatives of a region, the fastest first, then those that failed, then those not tried."""
    return sorted(region.alternatives.items(), key=lambda item: _rank(item[1]))


def _rank(cost: Cost) -> tuple[int, float]:
    if isinstance(cost, Failed):
        return (3 if cost.stage == "budget" else 2), 0.0
    return (0, cost.median_us) if cost.has_time else (1, 0.0)


def against(cost: Cost, chosen: Cost) -> str:
    """How many times ``chosen`` a cost is, as ``1.52x``; nothing where one of them has no time."""
    times = [each.median_us for each in (cost, chosen) if is_timed(each)]
    return f"{times[0] / times[1]:.2f}x" if len(times) == 2 and times[1] else ""


def details(region: PlacedRegion, all_us: float) -> list[str]:
    """What is known of a region, in lines: what drawings show when pointed at. ``all_us``: time of all regions."""
    lines = [
        region.label,
        "" if region.ops == (region.label,) else f"operations: {', '.join(region.ops)}",
        region.shapes,
    ]
    lines.append(f"{region.backend}: {measurement(region.cost)}")
    places = f"in {region.count} places" if region.count > 1 else ""
    share = f"{duration(region.total_us)}, {region.total_us / all_us:.1%} of all regions" if region.total_us else ""
    lines.append(": ".join(filter(None, (places, share))))
    for name, cost in ranked(region):
        ratio = against(cost, region.cost)
        lines.append(f"{name}: {measurement(cost)}" + (f", {ratio}" if ratio else ""))
    return [line for line in lines if line]
