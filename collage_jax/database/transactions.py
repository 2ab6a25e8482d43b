"""Transactions of SQLite, and what its errors say about the file."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from enum import Enum, auto


class Fault(Enum):
    """What is wrong with a database file. ``DAMAGED``: its contents. ``CHANGED``: its tables are not those expected.
    ``UNUSABLE``: the disk is full or fails, the file may not be written, or others lock it for too long.
    """

    DAMAGED = auto()
    CHANGED = auto()
    UNUSABLE = auto()


_FAULTS = {
    sqlite3.SQLITE_CORRUPT: Fault.DAMAGED,
    sqlite3.SQLITE_NOTADB: Fault.DAMAGED,
    sqlite3.SQLITE_TOOBIG: Fault.DAMAGED,  # a record that none of ours is as large as
    sqlite3.SQLITE_ERROR: Fault.CHANGED,
    sqlite3.SQLITE_SCHEMA: Fault.CHANGED,
    sqlite3.SQLITE_AUTH: Fault.UNUSABLE,
    sqlite3.SQLITE_BUSY: Fault.UNUSABLE,
    sqlite3.SQLITE_CANTOPEN: Fault.UNUSABLE,
    sqlite3.SQLITE_FULL: Fault.UNUSABLE,
    sqlite3.SQLITE_IOERR: Fault.UNUSABLE,
    sqlite3.SQLITE_LOCKED: Fault.UNUSABLE,
    sqlite3.SQLITE_NOLFS: Fault.UNUSABLE,
    sqlite3.SQLITE_PERM: Fault.UNUSABLE,
    sqlite3.SQLITE_PROTOCOL: Fault.UNUSABLE,
    sqlite3.SQLITE_READONLY: Fault.UNUSABLE,
}


def fault_of(error: sqlite3.Error) -> Fault | None:
    """What ``error`` says about the file; None if it says nothing, so that the statement is to blame."""
    code = getattr(error, "sqlite_errorcode", None)  # missing where Python's module raised by itself
    return None if code is None else _FAULTS.get(code & 0xFF)  # the higher bits hold details


def writing(connection: sqlite3.Connection) -> AbstractContextManager[None]:
    """A context that writes all or nothing; no other process writes meanwhile."""
    # Taking the lock at once means waiting at once: a reader that turns writer later may be refused without waiting.
    return _transaction(connection, "BEGIN IMMEDIATE")


def reading(connection: sqlite3.Connection) -> AbstractContextManager[None]:
    """A context whose statements all see the same state of the file."""
    return _transaction(connection, "BEGIN DEFERRED")


@contextmanager
def _transaction(connection: sqlite3.Connection, begin: str) -> Iterator[None]:
    try:
        connection.execute(begin)
        yield
        connection.execute("COMMIT")
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
