"""The one connection of a process to a database: opened when needed, repaired where that helps, in memory otherwise.

A file that is damaged or not ours is set aside. Where a file cannot be used (no permission, a full disk, a lock that
is never released) the connection becomes one to a copy in memory, so that what is known stays known and a run goes on.
Of each such thing the user is warned once.

Threads take turns. With a connection for each of them, one thread could rename a damaged file under another, nobody
would close those of threads that ended, and a fork would copy open connections, which SQLite does not allow. So all
are closed before a fork, and both processes open their own afterwards.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import warnings
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from . import opening
from .lock import exclusive
from .opening import Identity
from .schema import Unusable
from .transactions import Fault, fault_of

T = TypeVar("T")

_ERRORS = (OSError, sqlite3.Error, Unusable)


class SharedConnection:
    """The connection to the file ``path``, or to memory if it is None.

    With ``read_only``, to a copy in memory of the file as it is at first use. ``timeout_s`` bounds each wait for
    another process.
    """

    def __init__(self, path: Path | None, read_only: bool, timeout_s: float) -> None:
        self.path = path
        self._read_only = read_only
        self._timeout_s = timeout_s
        self._lock = threading.RLock()
        self._connection: sqlite3.Connection | None = None
        self._close: Callable[[], object] = lambda: None
        self._identity: Identity | None = None  # of the open file; None in memory
        self._warnings: list[str] = []
        with _FORKING:
            _ALL.add(self)

    @property
    def in_memory(self) -> bool:
        """True if nothing that is written now outlives the process."""
        return self.run(lambda _: self._identity is None)

    def run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """What ``work`` returns for the connection. It is called again after a repair, so it must be one transaction,
        or only read. Errors that are not the file's are raised.
        """
        with self._lock:
            result = self._attempt(work)
            waiting, self._warnings = self._warnings, []
        for message in waiting:  # not while the lock is held: where warnings are errors this raises
            warnings.warn(message, RuntimeWarning, stacklevel=3)
        return result

    def close(self) -> None:
        """Close it. What is in memory is lost; it is opened again when needed."""
        with self._lock:
            self._close()
            self._connection = self._identity = None

    def pause(self) -> None:
        """Close the file and keep others from opening it until ``resume``. Memory stays, a fork copies it rightly."""
        self._lock.acquire()
        if self._identity is not None:
            self.close()

    def resume(self) -> None:
        """End ``pause``."""
        self._lock.release()

    def _attempt(self, work: Callable[[sqlite3.Connection], T]) -> T:
        try:
            return work(self._ready())
        except sqlite3.Error as error:
            fault = fault_of(error)
            if self._identity is None or fault is None:
                raise
            if fault is Fault.UNUSABLE:
                self._leave(error)
            else:  # the file says what is wrong; it may also be another one already, which is right
                self.close()
                self._open(thorough=True)
        try:
            return work(self._ready())
        except sqlite3.Error as error:
            fault = fault_of(error)
            if self._identity is None or fault not in (Fault.UNUSABLE, Fault.DAMAGED):
                raise
            self._leave(error, copied=fault is Fault.UNUSABLE)
        return work(self._ready())

    def _ready(self) -> sqlite3.Connection:
        if self._connection is not None and self._identity is not None:
            assert self.path is not None
            if opening.identity(self.path) != self._identity:  # removed, or set aside by another process
                self.close()
        if self._connection is None:
            self._open()
        assert self._connection is not None
        return self._connection

    def _open(self, thorough: bool = False) -> None:
        if self.path is None:
            self._use(opening.empty())
            return
        try:
            if self._read_only:
                self._use(opening.snapshot(self.path, self._timeout_s))
                return
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with exclusive(Path(f"{self.path}.lock"), self._timeout_s) as outcome:
                if outcome == "taken":
                    raise TimeoutError(f"another process has been opening it for {self._timeout_s:g} s")
                connection, warning = opening.open_file(self.path, self._timeout_s, thorough)
                self._use(connection, opening.identity(self.path))
            self._warnings += [warning] if warning else []
        except _ERRORS as error:
            self._leave(error, copied=not self._read_only)

    def _leave(self, error: Exception, copied: bool = True) -> None:
        """Go on in memory, with a copy of what the file holds if it is ``copied``."""
        assert self.path is not None
        self.close()
        try:
            memory = opening.snapshot(self.path, self._timeout_s) if copied else opening.empty()
        except _ERRORS:
            memory = opening.empty()
        self._use(memory)
        if self._read_only:
            said = "cannot be read, so no costs are taken from it. Check its path, its permissions and its release."
        else:
            said = (
                "cannot be used, so new costs live in memory, for this process alone. Free its disk, let it be "
                'written, or set COLLAGE_JAX_CACHE_DIR to another directory ("off" for none).'
            )
        reason = f"it {error}" if isinstance(error, Unusable) else error
        self._warnings.append(f"{self.path} {said} The reason: {reason}")

    def _use(self, connection: sqlite3.Connection, identity: Identity | None = None) -> None:
        self._connection, self._identity = connection, identity
        self._close = weakref.finalize(self, connection.close)  # at the end of the process too


_ALL: weakref.WeakSet[SharedConnection] = weakref.WeakSet()
_FORKING = threading.Lock()
_PAUSED: list[SharedConnection] = []


def _before_fork() -> None:
    _FORKING.acquire()
    for connection in list(_ALL):
        connection.pause()
        _PAUSED.append(connection)


def _after_fork() -> None:
    while _PAUSED:
        _PAUSED.pop().resume()
    _FORKING.release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork, after_in_child=_after_fork)
