"""Opening a database file, or a picture of it in memory; setting aside what cannot be opened."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import TypeAlias

from . import schema
from .schema import Unusable

#: Device and number of a file, which it keeps when it is renamed.
Identity: TypeAlias = tuple[int, int]

_SIDE_FILES = ("-wal", "-shm")  # SQLite's log of what is not in the file yet, and an index into that


def identity(path: Path) -> Identity | None:
    """Which file is at ``path``; None if there is none that can be seen."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino


#: No record of ours is larger: a decision on a program of 1000 nodes takes about half a megabyte.
LARGEST_RECORD_BYTES = 64 << 20


def open_file(path: Path, timeout_s: float, thorough: bool) -> tuple[sqlite3.Connection, str | None]:
    """A connection to the database ``path``, made if there is none, and what to warn of.

    A file that is damaged, foreign or of a later release is set aside, and a new one begun; with ``thorough`` all of it
    is checked. No other process may open it meanwhile.
    """
    found = identity(path)
    try:
        return _prepared(path, timeout_s, thorough), None
    except Unusable as unusable:
        aside = _set_aside(path, unusable.mark, found)
        connection = _prepared(path, timeout_s, thorough=False)
        if aside is None:
            return connection, None
        return connection, (
            f"{path} {unusable}: it is now called {aside.name}, and a new one was begun, so costs are measured again. "
            f"Delete {aside.name} if nothing in it is wanted."
        )


def snapshot(path: Path, timeout_s: float) -> sqlite3.Connection:
    """A connection to a copy of the database ``path`` in memory. Nothing is written, not even beside the file."""
    # Reading a database takes an index in shared memory, a file that SQLite makes where there is none. A file declared
    # unchangeable needs none. That is true enough of one without a log: no process has it open for writing.
    log = Path(f"{path}-wal")
    options = "mode=ro" if log.exists() and log.stat().st_size else "mode=ro&immutable=1"
    memory = _configured(sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False))
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?{options}", uri=True, timeout=timeout_s)) as source:
            source.backup(memory)
        schema.prepare(memory, thorough=True)
    except BaseException:
        memory.close()
        raise
    return memory


def empty() -> sqlite3.Connection:
    """A connection to a new database in memory."""
    memory = _configured(sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False))
    schema.prepare(memory)
    return memory


def _prepared(path: Path, timeout_s: float, thorough: bool) -> sqlite3.Connection:
    connection = _configured(sqlite3.connect(path, timeout=timeout_s, isolation_level=None, check_same_thread=False))
    try:
        schema.prepare(connection, thorough)
    except BaseException:
        connection.close()
        raise
    return connection


def _configured(connection: sqlite3.Connection) -> sqlite3.Connection:
    # Text that is no UTF-8 must not be an error of its own kind: it makes an unknown record like any other nonsense.
    connection.text_factory = partial(str, encoding="utf8", errors="replace")
    connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, LARGEST_RECORD_BYTES)
    return connection


def _set_aside(path: Path, mark: str, found: Identity | None) -> Path | None:
    """Rename the database ``path`` with its side files; what it is called now, None if it was replaced meanwhile."""
    if identity(path) != found:
        return None
    aside = _free_name(path, mark)
    # The log goes first: were the process killed before it is gone, a new database would take it for its own.
    for end in (*_SIDE_FILES, ""):
        if os.path.lexists(f"{path}{end}"):
            os.rename(f"{path}{end}", f"{aside}{end}")
    return aside


def _free_name(path: Path, mark: str) -> Path:
    numbered = mark == "damaged"
    number = 1
    while True:
        aside = path.with_name(f"{path.name}.{mark}-{number}" if numbered or number > 1 else f"{path.name}.{mark}")
        if not any(os.path.lexists(f"{aside}{end}") for end in ("", *_SIDE_FILES)):
            return aside
        number += 1
