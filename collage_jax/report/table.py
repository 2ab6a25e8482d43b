"""A placement as a table that a person reads."""

from __future__ import annotations

import shutil
import sys
from io import StringIO

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ..costs import Cost, Estimated, Failed, Measured
from ..placement import PlacedRegion, Placement

WIDTH = 150
#: In fewer columns the shapes of regions have no room; in fewer than the second nothing has.
WITH_SHAPES, NARROWEST = 120, 60


def width() -> int:
    """Columns there are: of the terminal, or where the text goes elsewhere, as many as are read with ease."""
    is_shown = getattr(sys.stdout, "isatty", lambda: False)()
    return min(WIDTH, max(NARROWEST, shutil.get_terminal_size().columns)) if is_shown else WIDTH


def columns(title: str, is_wide: bool) -> Table:
    """A table without its columns, with fewer lines where there is little room."""
    return Table(title=title, title_justify="left", **({} if is_wide else {"box": SIMPLE_HEAD, "pad_edge": False}))


def table(placement: Placement) -> str:
    """``placement`` as text: its regions by total time, why others were refused, and the whole beside XLA's."""
    console = Console(file=StringIO(), width=width(), no_color=True, highlight=False)
    is_wide = console.width >= WITH_SHAPES
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
    for region in sorted(placement.regions, key=lambda r: -r.total_us):
        share = f"{region.total_us / total:.1%}" if total else ""
        rows.add_row(*map(Text, _cells(region, share, is_wide)))
    if placement.regions:
        console.print(rows)
    _print_failures(console, placement)
    _print_refusals(console, placement)
    for line in summary(placement):
        console.print(Text(line))
    return console.file.getvalue()  # type: ignore[attr-defined]


def _cells(region: PlacedRegion, share: str, with_shapes: bool) -> tuple[str, ...]:
    times = str(region.count), _short(region.cost), share
    shapes = (region.shapes,) if with_shapes else ()
    return (region.name, region.backend, region.label, *shapes, *times, _others(region))


def _others(region: PlacedRegion) -> str:
    ranked = sorted(region.alternatives.items(), key=lambda item: _rank(item[1]))
    return "; ".join(f"{name} {_short(cost)}" for name, cost in ranked)


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


def _print_failures(console: Console, placement: Placement) -> None:
    counted: dict[str, int] = {}
    for region in placement.regions:
        for name, cost in ((region.backend, region.cost), *region.alternatives.items()):
            if isinstance(cost, Failed) and cost.stage != "budget":
                line = f"  {name}: {'+'.join(region.ops)}: {cost_text(cost)}"
                counted[line] = counted.get(line, 0) + 1
    if counted:
        console.print(Text("Failed:"))
    for line, count in counted.items():
        console.print(Text(line + (f" (x{count})" if count > 1 else "")))


def _print_refusals(console: Console, placement: Placement) -> None:
    for name, reason in (placement.unavailable or {}).items():
        console.print(Text(f"{name} is not available: {reason}"))
    if not placement.refusals:
        return
    console.print(Text("Refused:"))
    counted: dict[tuple[str, str, str], int] = {}
    for refusal in placement.refusals:
        key = (refusal.backend, "+".join(refusal.ops) or "everything", refusal.reason)
        counted[key] = counted.get(key, 0) + 1
    for (backend, ops, reason), count in counted.items():
        console.print(Text(f"  {backend}: {ops}{f' (x{count})' if count > 1 else ''}: {reason}"))


def summary(placement: Placement) -> list[str]:
    """The whole program in a few lines."""
    counts = ", ".join(f"{name} {n}" for name, n in placement.counts().items())
    lines = [f"Regions: {counts}" if counts else "XLA runs everything."]
    if placement.xla_us is not None and placement.is_xla:
        lines.append(f"jax.jit {placement.xla_us:.1f} us; it is used as it is.")
    elif placement.xla_us is not None and placement.measured_us is not None:
        lines.append(
            f"jax.jit {placement.xla_us:.1f} us, placed {placement.measured_us:.1f} us"
            f" (predicted {placement.predicted_us or 0.0:.1f} us): {placement.speedup:.2f}x"
            + (f", error {placement.error:.1e} of the largest output" if placement.error is not None else "")
        )
    lines.append(f"Tuned in {placement.tuning_s:.1f} s, {placement.distinct_measured} distinct regions measured.")
    return lines + list(placement.notes)
