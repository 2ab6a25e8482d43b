"""What tuning is doing right now, for whoever looks after it from outside.

A *step* is something a backend does that may crash or never end. Steps stand on a board of shared memory, so that they
can be read after the process that wrote them is gone. Without a board, steps are not recorded.
"""

from __future__ import annotations

import json
import mmap
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from functools import lru_cache

from .costs import CostKey

#: Limits in seconds. Compiling may be slow on a busy machine; nothing is known of how long a first run should take.
COMPILE_S = 60.0
RUN_S = 5.0
#: While it is timed, when it has run twice already.
RACE_S = 60.0
PROPOSE_S = 30.0

_SLOT = 4096
_SLOTS = 8
_HEAD = struct.Struct("=ddI")
#: Its parts: a length of 0 says that there is nothing to read, as while the rest is written.
_TIMES, _LENGTH = struct.Struct("=dd"), struct.Struct("=I")


@dataclass(frozen=True)
class Step:
    """``stage`` of ``backend`` for the region with ``ops``; ``key`` is that of its cost, None if it has none.

    ``limit_s`` are the seconds it may take, None for as long as it likes.
    """

    backend: str
    stage: str
    ops: str = ""
    key: CostKey | None = None
    limit_s: float | None = None


class Board:
    """Slots of shared memory, one for each thread that is at a step; ``fileno`` names a file of ``Board.BYTES``."""

    BYTES = _SLOT * _SLOTS

    def __init__(self, fileno: int) -> None:
        self._memory = mmap.mmap(fileno, self.BYTES)
        self._threads: dict[int, int] = {}
        self._lock = threading.Lock()

    def write(self, step: Step | None) -> None:
        """Record what this thread is at."""
        start = _SLOT * self._slot()
        # Who reads meanwhile sees nothing rather than one step's text with another's length or times.
        _LENGTH.pack_into(self._memory, start + _TIMES.size, 0)
        if step is None:
            return
        text = _text(step)
        self._memory[start + _HEAD.size : start + _HEAD.size + len(text)] = text
        limit = float("inf") if step.limit_s is None else step.limit_s
        _TIMES.pack_into(self._memory, start, time.monotonic(), limit)
        _LENGTH.pack_into(self._memory, start + _TIMES.size, len(text))

    def read(self) -> list[tuple[Step, float]]:
        """Each step under way, with the seconds by which it has passed its limit (negative if it has not)."""
        found: list[tuple[Step, float]] = []
        for start in range(0, self.BYTES, _SLOT):
            begun, limit, length = head = _HEAD.unpack_from(self._memory, start)
            if length:
                text = self._memory[start + _HEAD.size : start + _HEAD.size + length]
                if _HEAD.unpack_from(self._memory, start) != head:  # written meanwhile: a step that begins now
                    continue
                with suppress(ValueError, TypeError):  # it is being written: this step has just begun
                    found.append((_step(text), time.monotonic() - begun - limit))
        return found

    def clear(self) -> None:
        """Nothing is under way."""
        self._memory[:] = bytes(self.BYTES)

    def _slot(self) -> int:
        """The first for the main thread, the others for those beside it in turn."""
        if threading.current_thread() is threading.main_thread():
            return 0
        with self._lock:
            return self._threads.setdefault(threading.get_ident(), 1 + len(self._threads) % (_SLOTS - 1))


@lru_cache(maxsize=256)
def _text(step: Step) -> bytes:
    fields = asdict(step)
    fields["ops"] = step.ops[:500]
    text = json.dumps(fields).encode()
    if len(text) > _SLOT - _HEAD.size:  # the key's texts are long: it goes without
        text = json.dumps(fields | {"key": None}).encode()[: _SLOT - _HEAD.size]
    return text


def _step(text: bytes) -> Step:
    fields = json.loads(text)
    key = fields.pop("key")
    return Step(**fields, key=None if key is None else CostKey(**key))


_board: Board | None = None


def use(board: Board | None) -> None:
    """Record steps of this process on ``board``."""
    global _board
    _board = board


def announce(step: Step | None) -> None:
    """Say what this thread is at; None for nothing that anybody has to look after."""
    if _board is not None:
        _board.write(step)


@contextmanager
def at(step: Step) -> Iterator[None]:
    """Announce ``step`` for as long as the block runs. Blocks may stand inside each other."""
    if _board is None:
        yield
        return
    outer = getattr(_current, "step", None)
    _current.step = step
    _board.write(step)
    try:
        yield
    finally:
        _current.step = outer
        _board.write(outer)


_current = threading.local()

_listener: Callable[[str, int, int], None] | None = None


def listen(listener: Callable[[str, int, int], None] | None) -> None:
    """Have ``listener(what, done, total)`` told how far tuning has come."""
    global _listener
    _listener = listener


def report(what: str, done: int, total: int) -> None:
    """Say how far tuning has come: ``done`` of ``total`` of ``what``."""
    if _listener is not None:
        _listener(what, done, total)
