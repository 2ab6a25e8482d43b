"""A profile as a table that a person reads."""

from __future__ import annotations

from io import StringIO
from typing import TYPE_CHECKING

from rich.console import Console
from rich.text import Text

from .table import WITH_SHAPES, columns, width

if TYPE_CHECKING:
    from ..profiling import Profile

COLUMNS = ("n", "us each", "share", "GFLOP/s", "GB/s", "of limit")


def table(profile: Profile) -> str:
    """Regions by total time, XLA's part, and the whole beside the machine's limits."""
    console = Console(file=StringIO(), width=width(), no_color=True, highlight=False)
    is_wide = console.width >= WITH_SHAPES
    rows = columns("Profile, inside the whole program", is_wide)
    rows.add_column("backend", overflow="fold")
    rows.add_column("ops", overflow="fold", ratio=3)
    if is_wide:
        rows.add_column("shapes", overflow="fold", ratio=3)
    for heading in COLUMNS:
        rows.add_column(heading, justify="right")
    for row in profile.rows:
        rate = row.us * 1e3  # operations in so many nanoseconds: GFLOP/s
        cells = (
            row.backend,
            row.label,
            *([row.shapes] if is_wide else []),
            str(row.count),
            f"{'' if row.inside else '~'}{row.us:.1f}",
            f"{row.total_us / profile.whole_us:.1%}",
            f"{row.flops / rate:.0f}" if row.flops and row.us else "",
            f"{row.bytes / rate:.1f}" if row.us else "",
            f"{row.share_of(profile.limits):.0%}" if row.us else "",
        )
        rows.add_row(*map(Text, cells))
    rest = (XLA_PART, "everything else, and the way to and from kernels", *([""] if is_wide else []), "", "")
    rows.add_row(*map(Text, (*rest, f"{profile.rest_us / profile.whole_us:.1%}", "", "", "")))
    console.print(rows)
    for line in _summary(profile):
        console.print(Text(line))
    return console.file.getvalue()  # type: ignore[attr-defined]


XLA_PART = "xla"


def _summary(profile: Profile) -> list[str]:
    achieved, limits = profile.flops / profile.whole_us / 1e3, profile.limits
    lines = [
        f"Whole program {profile.whole_us:.1f} us, {profile.rest_us:.1f} us of it outside of placed regions.",
        f"{achieved:.1f} GFLOP/s by the operations of its products and convolutions. The machine gives "
        f"{limits.flops / 1e9:.0f} GFLOP/s, of which this is {achieved * 1e9 / limits.flops:.0%}, and "
        f"{limits.bytes / 1e9:.1f} GB/s of memory.",
    ]
    if any(not row.inside for row in profile.rows):
        lines.append("~ timed alone, not inside the program.")
    return lines
