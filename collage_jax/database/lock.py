"""Locks between processes. The kernel releases one whose holder ends, however that happens.

They are ``flock``s, so they do not work where Python lacks ``fcntl`` or the file system lacks locks.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, TypeAlias

try:
    import fcntl
except ImportError:  # not a Unix
    fcntl = None

#: ``"taken"``: others held it until the time was over. ``"impossible"``: there are no locks here.
Outcome: TypeAlias = Literal["held", "taken", "impossible"]

#: Descriptors of lock files that this process has open.
_OPEN: set[int] = set()


@contextmanager
def tuning_lock(directory: Path | None, timeout_s: float) -> Iterator[bool]:
    """A context in which no other process with this ``directory`` tunes: two that time at once mislead each other.

    True if that holds; False if another one still tunes after ``timeout_s`` seconds, or if locks do not work there or
    ``directory`` is None. Threads exclude each other too, so one that holds the lock must not ask for it again.
    """
    if directory is None or not _made(directory):
        yield False
        return
    with exclusive(directory / "tuning.lock", timeout_s) as outcome:
        yield outcome == "held"


@contextmanager
def exclusive(path: Path, timeout_s: float) -> Iterator[Outcome]:
    """A context that holds the lock ``path``, a file made if there is none, unless the outcome is another.

    The file stays: were it removed, one process could lock the old file and another a new one of that name.
    """
    descriptor = _opened(path)
    if descriptor is None:
        yield "impossible"
        return
    try:
        yield _locked(descriptor, timeout_s)
    finally:
        if descriptor in _OPEN:  # not so in a child that was forked inside
            _OPEN.discard(descriptor)
            os.close(descriptor)


def _made(directory: Path) -> bool:
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError:
        return False
    return True


def _opened(path: Path) -> int | None:
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError:
        return None
    _OPEN.add(descriptor)
    return descriptor


def _locked(descriptor: int, timeout_s: float) -> Outcome:
    if fcntl is None:
        return "impossible"
    deadline, pause_s = time.monotonic() + timeout_s, 0.001
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return "held"
        except BlockingIOError:
            left_s = deadline - time.monotonic()
            if left_s <= 0:
                return "taken"
            time.sleep(min(pause_s, left_s))
            pause_s = min(2 * pause_s, 0.1)
        except OSError:
            return "impossible"


def _forget() -> None:
    """Close what was inherited: a lock is held until the last descriptor of it is closed, a child's too."""
    while _OPEN:
        os.close(_OPEN.pop())


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
