"""What keeps a database small, and what it holds in numbers."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from .records import PASSING_S, PASSING_STAGES, storable
from .schema import COST_SCHEMA


@dataclass(frozen=True)
class BackendStatistics:
    """How many times and failures are kept of a backend, and of which of its versions."""

    measured: int
    failed: int
    versions: tuple[str, ...]


@dataclass(frozen=True)
class Statistics:
    """What a database holds. ``persistent`` is False where what is written now lives in memory alone, and ``path`` None
    where everything does. ``file_bytes`` is the size of the file with its log.
    """

    path: Path | None
    persistent: bool
    file_bytes: int
    decisions: int
    backends: Mapping[str, BackendStatistics]

    @property
    def costs(self) -> int:
        """All costs, failures too."""
        return sum(backend.measured + backend.failed for backend in self.backends.values())


def trim(connection: sqlite3.Connection, table: str, most: int) -> int:
    """Delete what was not used for longest until ``table`` has ``most`` rows; how many that were."""
    (count,) = connection.execute(f"SELECT count(*) FROM {table}").fetchone()
    if count <= most:
        return 0
    return connection.execute(
        f"DELETE FROM {table} WHERE rowid IN (SELECT rowid FROM {table} ORDER BY used_s, rowid LIMIT ?)",
        (count - most,),
    ).rowcount


def drop_outdated(connection: sqlite3.Connection, versions: Mapping[str, str], now_s: float) -> int:
    """Delete costs that can no longer be asked for: of another schema, of failures that are past, and of the backends
    in ``versions`` those of another version; how many that were.
    """
    stages = ", ".join("?" * len(PASSING_STAGES))
    deleted = connection.execute(
        f"DELETE FROM costs WHERE stage IN ({stages}) AND abs(? - written_s) > ?", (*PASSING_STAGES, now_s, PASSING_S)
    ).rowcount
    of = "DELETE FROM costs WHERE circumstances IN (SELECT id FROM circumstances WHERE"
    deleted += connection.execute(f"{of} schema != ?)", (COST_SCHEMA,)).rowcount
    for backend, version in versions.items():
        deleted += connection.execute(
            f"{of} backend = ? AND version != ?)", (storable(backend), storable(version))
        ).rowcount
    return deleted


def drop_unused(connection: sqlite3.Connection, table: str, before_s: float) -> int:
    """Delete rows of ``table`` that were last used before ``before_s``; how many that were."""
    return connection.execute(f"DELETE FROM {table} WHERE used_s < ?", (before_s,)).rowcount


def drop_empty_circumstances(connection: sqlite3.Connection) -> None:
    """Delete circumstances that no cost has any more."""
    connection.execute("DELETE FROM circumstances WHERE id NOT IN (SELECT circumstances FROM costs)")


def shrink(connection: sqlite3.Connection) -> None:
    """Give the disk what deleted rows took, if no other process is in the way."""
    with suppress(sqlite3.OperationalError):  # later rows use the room again
        connection.execute("VACUUM")


def statistics(connection: sqlite3.Connection, path: Path | None, persistent: bool) -> Statistics:
    """What the database of ``connection`` holds."""
    rows = connection.execute(
        "SELECT backend, version, count(median_us), count(stage) FROM circumstances "
        "JOIN costs ON circumstances = circumstances.id GROUP BY backend, version ORDER BY backend, version"
    ).fetchall()
    backends: dict[str, BackendStatistics] = {}
    for backend, version, measured, failed in rows:
        before = backends.get(backend, BackendStatistics(0, 0, ()))
        versions = (*before.versions, version)
        backends[backend] = BackendStatistics(before.measured + measured, before.failed + failed, versions)
    (decisions,) = connection.execute("SELECT count(*) FROM decisions").fetchone()
    files = [] if path is None else [path, Path(f"{path}-wal")]
    file_bytes = sum(f.stat().st_size for f in files if f.exists())
    return Statistics(path, persistent, file_bytes, decisions, backends)
