"""A placement as a table that a person reads."""

from __future__ import annotations

import shutil
import sys
from io import StringIO

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ..backends.base import ELSEWHERE, NO_KERNEL
from ..costs import Cost, Estimated, Failed, Measured
from ..placement import PlacedRegion, Placement
from .alike import told_once
from .savings import BETTER, faster_but_left, is_better, saved_most

WIDTH = 150
#: In fewer columns the shapes of regions have no room; in fewer than the second nothing has.
WITH_SHAPES, NARROWEST = 120, 60
#: Regions with less than this share of the time, or without one, are told in one row if there are so many of them.
SMALL, FEW = 0.001, 4


def width() -> int:
    """Columns there are: of the terminal, or where the text goes elsewhere, as many as are read with ease."""
    is_shown = getattr(sys.stdout, "isatty", lambda: False)()
    return min(WIDTH, max(NARROWEST, shutil.get_terminal_size().columns)) if is_shown else WIDTH


def columns(title: str, is_wide: bool) -> Table:
    """A table without its columns, with fewer lines where there is little room."""
    return Table(title=title, title_justify="left", **({} if is_wide else {"box": SIMPLE_HEAD, "pad_edge": False}))


def table(placement: Placement) -> str:
    """``placement`` as text: the whole beside XLA's, its regions by total time, why others were refused, and notes."""
    console = Console(file=StringIO(), width=width(), no_color=True, highlight=False)
    for line in (*verdict(placement), *saved_most(placement)):
        console.print(Text(line))
    if placement.regions:
        console.print(_regions(placement, console.width >= WITH_SHAPES))
        for line in faster_but_left(placement.regions):
            console.print(Text(line))
    for line in (*_failures(placement), *_not_available(placement), *_refusals(placement), *remarks(placement)):
        console.print(Text(line))
    return console.file.getvalue()  # type: ignore[attr-defined]


def _regions(placement: Placement, is_wide: bool) -> Table:
    total = sum(region.total_us for region in placement.regions)
    how = "estimated" if any(isinstance(region.cost, Estimated) for region in placement.regions) else "timed alone"
    title = f"Parts of the program, {how}. XLA alone is used." if placement.is_xla else "Placement"
    rows = columns(title, is_wide)
    rows.add_column("region", no_wrap=True)
    rows.add_column("backend", overflow="fold")
    rows.add_column("ops", overflow="fold", ratio=3)
    if is_wide:
        rows.add_column("shapes", overflow="fold", ratio=3)
    for heading in ("n", "us each", "share"):
        rows.add_column(heading, justify="right", no_wrap=True)
    rows.add_column("others", overflow="fold", ratio=2)
    ranked = sorted(placement.regions, key=lambda r: -r.total_us)
    small = [region for region in ranked if region.total_us < SMALL * total]
    if len(small) < FEW:
        small = []
    for region in ranked[: len(ranked) - len(small)]:
        share = f"{region.total_us / total:.1%}" if total else ""
        rows.add_row(*map(Text, _cells(region, share, is_wide)))
    if small:
        rest = f"{len(small)} more, of less than {SMALL:.1%} each or not timed alone"
        share = f"{sum(region.total_us for region in small) / total:.1%}"
        times = str(sum(region.count for region in small)), "", share
        rows.add_row(*map(Text, ("", "", rest, *([""] if is_wide else []), *times, "")))
    return rows


def _cells(region: PlacedRegion, share: str, with_shapes: bool) -> tuple[str, ...]:
    times = str(region.count), _short(region.cost), share
    shapes = (region.shapes,) if with_shapes else ()
    return (region.name, region.backend, region.label, *shapes, *times, _others(region))


def _others(region: PlacedRegion) -> str:
    ranked = sorted(region.alternatives.items(), key=lambda item: _rank(item[1]))
    return "; ".join(f"{name} {_short(cost)}{BETTER if is_better(cost, region) else ''}" for name, cost in ranked)


def _short(cost: Cost) -> str:
    """A cost for a narrow column; why something failed stands below the table."""
    if isinstance(cost, Failed):
        return "not measured" if cost.stage == "budget" else f"failed ({cost.stage})"
    return cost_text(cost)


def _rank(cost: Cost) -> float:
    return cost.median_us if isinstance(cost, Measured) else float("inf")


def cost_text(cost: Cost) -> str:
    """A cost in a few characters: microseconds, marked if estimated, or the stage and reason of a failure."""
    if isinstance(cost, Failed):
        return f"{cost.stage}: {cost.reason}"
    if not cost.has_time:
        return "-"
    return f"{cost.median_us:.1f} est." if isinstance(cost, Estimated) else f"{cost.median_us:.1f}"


def _failures(placement: Placement) -> list[str]:
    found = [
        f"  {name}: {'+'.join(region.ops)}: {cost_text(cost)}"
        for region in placement.regions
        for name, cost in ((region.backend, region.cost), *region.alternatives.items())
        if isinstance(cost, Failed) and cost.stage != "budget"
    ]
    return ["Failed:", *told_once(found)] if found else []


def _not_available(placement: Placement) -> list[str]:
    """Why backends are out; of those with nothing to do here, whatever the program is, their names alone."""
    reasons = placement.unavailable or {}
    idle = [name for name, reason in reasons.items() if reason.startswith((ELSEWHERE, NO_KERNEL))]
    lines = [f"{name} is not available: {reason}" for name, reason in reasons.items() if name not in idle]
    if idle:
        lines.append(f"For other platforms, or without kernels: {', '.join(idle)}; `collage-jax doctor` says why.")
    return lines


def _refusals(placement: Placement) -> list[str]:
    found = [f"  {r.backend}: {'+'.join(r.ops) or 'everything'}: {r.reason}" for r in placement.refusals]
    return ["Refused:", *told_once(found)] if found else []


def verdict(placement: Placement) -> list[str]:
    """What runs the program, and how fast that is."""
    counts = ", ".join(f"{name} {n}" for name, n in placement.counts().items())
    lines = [f"Regions: {counts}" if counts else "XLA runs everything."]
    if placement.xla_us is not None and placement.is_xla:
        lines.append(f"When tuned: jax.jit {placement.xla_us:.1f} us; it is used as it is.")
    elif placement.xla_us is not None and placement.measured_us is not None:
        lines.append(
            f"When tuned: jax.jit {placement.xla_us:.1f} us, placed {placement.measured_us:.1f} us"
            f" (predicted {placement.predicted_us or 0.0:.1f} us): {placement.speedup:.2f}x"
            + (f", error {placement.error:.1e} of the largest output" if placement.error is not None else "")
        )
    return lines


def remarks(placement: Placement) -> list[str]:
    """How that was found, and what else decided."""
    count = placement.distinct_measured
    took = f"Tuned in {placement.tuning_s:.1f} s, {count} distinct region{'' if count == 1 else 's'} measured."
    return [*([took] if placement.tuning_s or count else []), *placement.notes]
