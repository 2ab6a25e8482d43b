"""How far tuning has come, shown on a terminal and nowhere else."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ..config import config


@contextmanager
def shown(name: str) -> Iterator[Callable[[str, int, int], None]]:
    """A function that is told ``(what, done, total)`` while ``name`` is tuned; total 0 where there is no end to it."""
    stream = sys.stderr
    if not config.progress or not getattr(stream, "isatty", lambda: False)():
        yield lambda what, done, total: None
        return
    from rich.console import Console  # slow to import, and most processes have no terminal to show it on
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (
        TextColumn("tuning {task.description}"),
        BarColumn(),
        TextColumn("{task.fields[count]}"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=Console(file=stream), transient=True) as bars:
        bar = bars.add_task(name, total=None, count="")

        def tell(what: str, done: int, total: int) -> None:
            count = f"{done}/{total} {what}" if total else f"{done} {what}"
            bars.update(bar, completed=done, total=total or None, count=count)

        yield tell
