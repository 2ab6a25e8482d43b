"""The tables of a database file, and how files of earlier versions get them.

``circumstances`` holds all of a cost's key but the region: few rows that many costs share. ``costs`` holds a time
(``median_us`` and what belongs to it) or a failure (``stage``, ``reason``). ``decisions`` holds JSON texts by their
programs' keys. Times of writing and last use are seconds since 1970.
"""

from __future__ import annotations

import sqlite3

from .transactions import Fault, fault_of, writing

#: Marks a file as one of ours; "CJAX" in ASCII.
APPLICATION_ID = 0x434A4158

#: What a cost means: raise it when regions are hashed, checked or timed in another way. Older costs are then unknown.
COST_SCHEMA = 1

#: ``_STEPS[i]`` makes version ``i + 1`` of ``i``, which is an empty file for 0. Steps stay as they were released.
_STEPS = (
    (
        """CREATE TABLE costs (
            region TEXT NOT NULL, backend TEXT NOT NULL, version TEXT NOT NULL, jaxlib TEXT NOT NULL,
            device TEXT NOT NULL, settings TEXT NOT NULL,
            median_us REAL, spread_us REAL, runs INTEGER, error REAL, note TEXT, stage TEXT, reason TEXT,
            PRIMARY KEY (region, backend, version, jaxlib, device, settings)
        ) WITHOUT ROWID""",
    ),
    (
        "ALTER TABLE costs RENAME TO costs_1",
        """CREATE TABLE circumstances (
            id INTEGER PRIMARY KEY,
            backend TEXT NOT NULL, version TEXT NOT NULL, jaxlib TEXT NOT NULL, device TEXT NOT NULL,
            settings TEXT NOT NULL, schema INTEGER NOT NULL,
            UNIQUE (backend, version, jaxlib, device, settings, schema)
        )""",
        """CREATE TABLE costs (
            id INTEGER PRIMARY KEY,
            region TEXT NOT NULL, circumstances INTEGER NOT NULL REFERENCES circumstances (id),
            median_us REAL, spread_us REAL, runs INTEGER, error REAL, note TEXT, stage TEXT, reason TEXT,
            written_s REAL NOT NULL, used_s REAL NOT NULL,
            UNIQUE (region, circumstances)
        )""",
        "CREATE INDEX costs_by_use ON costs (used_s)",
        """CREATE TABLE decisions (
            key TEXT PRIMARY KEY, text TEXT NOT NULL, written_s REAL NOT NULL, used_s REAL NOT NULL
        )""",
        "CREATE INDEX decisions_by_use ON decisions (used_s)",
        """INSERT INTO circumstances (backend, version, jaxlib, device, settings, schema)
            SELECT DISTINCT backend, version, jaxlib, device, settings, 1 FROM costs_1""",
        """INSERT INTO costs (region, circumstances, median_us, spread_us, runs, error, note, stage, reason,
                written_s, used_s)
            SELECT region, id, median_us, spread_us, runs, error, note, stage, reason,
                CAST(strftime('%s', 'now') AS REAL), CAST(strftime('%s', 'now') AS REAL)
            FROM costs_1 JOIN circumstances USING (backend, version, jaxlib, device, settings)""",
        "DROP TABLE costs_1",
    ),
)

VERSION = len(_STEPS)

#: Fail where a table or a column is missing.
_PROBES = (
    "SELECT id, backend, version, jaxlib, device, settings, schema FROM circumstances LIMIT 0",
    "SELECT id, region, circumstances, median_us, spread_us, runs, error, note, stage, reason, written_s, used_s "
    "FROM costs LIMIT 0",
    "SELECT key, text, written_s, used_s FROM decisions LIMIT 0",
)


class Unusable(Exception):
    """A file that is no database of ours, or one of a later version. ``mark`` is added to its name to set it aside."""

    def __init__(self, reason: str, mark: str = "damaged") -> None:
        super().__init__(reason)
        self.mark = mark


def prepare(connection: sqlite3.Connection, thorough: bool = False) -> None:
    """Give the database of ``connection`` the present tables, whichever earlier version it has.

    With ``thorough`` all of it is read and checked. Raises ``Unusable`` where the contents are to blame, and
    ``sqlite3.Error`` where the disk, permissions or locks are.
    """
    try:
        version = _version(connection)
        if thorough:
            _check(connection)
        if version == VERSION:
            for probe in _PROBES:
                connection.execute(probe)
        # Nothing is changed before this: until here it could be another program's file.
        # With a write-ahead log readers and the writer do not wait for each other. Where the disk cannot do that,
        # SQLite stays with its older journal. "NORMAL" may lose the last costs at a power failure, and nothing more.
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        if version < VERSION:
            with writing(connection):
                _migrate(connection)
    except sqlite3.Error as error:
        if fault_of(error) in (Fault.DAMAGED, Fault.CHANGED) or isinstance(error, sqlite3.IntegrityError):
            raise Unusable(f"is damaged ({error})") from error
        raise


def _migrate(connection: sqlite3.Connection) -> None:
    for step in _STEPS[_version(connection) :]:  # asked once more: another process may have been faster
        for statement in step:
            connection.execute(statement)
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    connection.execute(f"PRAGMA user_version = {VERSION}")


def _version(connection: sqlite3.Connection) -> int:
    """The version of the tables, 0 for an empty file."""
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if application == version == tables == 0:
        return 0
    if application != APPLICATION_ID:
        raise Unusable(f"is no cost database (application id {application}, not {APPLICATION_ID})")
    if version > VERSION:
        raise Unusable(f"is of a later release (schema {version}, this one reads up to {VERSION})", f"schema-{version}")
    if version < 1:
        raise Unusable(f"is damaged (schema {version})")
    return version


def _check(connection: sqlite3.Connection) -> None:
    (found,) = connection.execute("PRAGMA integrity_check(1)").fetchone()
    if found != "ok":
        raise Unusable(f"is damaged ({' '.join(found.split())})")
