"""How much of the processors other processes took meanwhile: times of a busy machine say little."""

from __future__ import annotations

import os
import time
from pathlib import Path

#: The kernel's times of each processor since it started, in ticks; Linux has it.
STATISTICS = Path("/proc/stat")
#: Columns there: user, nice, system, interrupts, soft interrupts, and stolen by other virtual machines.
_BUSY = (0, 1, 2, 5, 6, 7)
#: Worth a note: others took more than this share of the processors.
BUSY = 0.2
#: In less time ticks are too coarse to tell.
SHORTEST_S = 1.0


class Others:
    """Watches from when it is made. Children of this process count as its own once they have ended."""

    def __init__(self) -> None:
        self._begin = time.perf_counter()
        self._busy_s, self._own_s = _busy_s(), _own_s()

    def share(self) -> float | None:
        """What other processes took of the processors that this one may use, between 0 and 1; None if not known."""
        busy_s, took_s = _busy_s(), time.perf_counter() - self._begin
        if busy_s is None or self._busy_s is None or took_s < SHORTEST_S:
            return None
        others_s = busy_s - self._busy_s - (_own_s() - self._own_s)
        return min(1.0, max(0.0, others_s / (took_s * len(_processors()))))

    def note(self) -> tuple[str, ...]:
        """A line for whoever reads the times, if others took too much."""
        share = self.share()
        if share is None or share < BUSY:
            return ()
        return (
            f"Other processes took {share:.0%} of the processors meanwhile, so that these times say little: tune "
            'again when they are idle (`collage-jax tune TARGET --again`, or tune="again").',
        )


def _busy_s() -> float | None:
    """Seconds that the processors which this process may use were busy, for whomever; None where it is not told."""
    try:
        lines = STATISTICS.read_text().splitlines()
        wanted = {f"cpu{number}" for number in _processors()}
        rows = [columns for name, *columns in map(str.split, lines) if name in wanted]
        ticks = sum(int(columns[at]) for columns in rows for at in _BUSY)
    except (OSError, AttributeError, ValueError, IndexError):
        return None
    return ticks / os.sysconf("SC_CLK_TCK") if len(rows) == len(wanted) else None


def _own_s() -> float:
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def _processors() -> set[int]:
    return os.sched_getaffinity(0)
