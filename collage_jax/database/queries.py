"""Single records read and written, on a connection whose tables are as ``schema`` makes them."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator
from typing import Any

from ..costs import CostKey
from .records import Decision, Record, from_columns, is_amount, storable, to_columns
from .schema import COST_SCHEMA
from .transactions import writing

#: When a record was last used is known to this many seconds: noting every use would make each reader a writer.
USE_NOTED_EVERY_S = 24 * 3600.0

_VALUES = "median_us, spread_us, runs, error, note, stage, reason, written_s"
_SAME = "backend = ? AND version = ? AND jaxlib = ? AND device = ? AND settings = ? AND schema = ?"


def find_cost(connection: sqlite3.Connection, key: CostKey) -> tuple[Record, int, float] | None:
    """The record for ``key``, its row, and when it was last used; None if there is none that makes sense."""
    region, *circumstances = _key_columns(key)
    row = connection.execute(
        f"SELECT costs.id, used_s, {_VALUES} FROM circumstances JOIN costs ON circumstances = circumstances.id "
        f"WHERE {_SAME} AND region = ?",
        (*circumstances, region),
    ).fetchone()
    if row is None:
        return None
    number, used_s, *values = row
    record = _record(key, values)
    return None if record is None else (record, number, used_s if is_amount(used_s) else 0.0)


def write_cost(connection: sqlite3.Connection, record: Record, now_s: float) -> None:
    """Keep ``record``, whose cost has no flaw, in place of any other for its key."""
    region, *circumstances = _key_columns(record.key)
    connection.execute(
        "INSERT OR IGNORE INTO circumstances (backend, version, jaxlib, device, settings, schema) "
        "VALUES (?, ?, ?, ?, ?, ?)",
        circumstances,
    )
    connection.execute(
        f"INSERT OR REPLACE INTO costs (region, circumstances, {_VALUES}, used_s) "
        f"SELECT ?, id, ?, ?, ?, ?, ?, ?, ?, ?, ? FROM circumstances WHERE {_SAME}",
        (region, *to_columns(record.cost), record.written_s, now_s, *circumstances),
    )


def all_costs(connection: sqlite3.Connection) -> Iterator[Record]:
    """Every record of the present ``COST_SCHEMA`` that makes sense."""
    for region, backend, version, jaxlib, device, settings, *values in connection.execute(
        f"SELECT region, backend, version, jaxlib, device, settings, {_VALUES} FROM circumstances "
        "JOIN costs ON circumstances = circumstances.id WHERE schema = ?",
        (COST_SCHEMA,),
    ):
        record = _record(CostKey(region, backend, version, jaxlib, device, settings), values)
        if record is not None:
            yield record


def texts_with(connection: sqlite3.Connection, part: str) -> list[str]:
    """The texts of decisions that hold ``part``, the last used first."""
    found = connection.execute("SELECT text FROM decisions WHERE instr(text, ?) ORDER BY used_s DESC", (part,))
    return [text for (text,) in found]


def find_decision(connection: sqlite3.Connection, key: str) -> tuple[Decision, int, float] | None:
    """The decision for ``key``, its row, and when it was last used; None if there is none that is JSON."""
    row = connection.execute(
        "SELECT rowid, used_s, text, written_s FROM decisions WHERE key = ?", (storable(key),)
    ).fetchone()
    if row is None:
        return None
    number, used_s, text, written_s = row
    if not (is_json(text) and is_amount(written_s)):
        return None
    return Decision(key, text, written_s), number, used_s if is_amount(used_s) else 0.0


def write_decision(connection: sqlite3.Connection, decision: Decision, now_s: float) -> None:
    """Keep ``decision``, whose text is JSON, in place of any other for its key."""
    connection.execute(
        "INSERT OR REPLACE INTO decisions (key, text, written_s, used_s) VALUES (?, ?, ?, ?)",
        (storable(decision.key), storable(decision.text), decision.written_s, now_s),
    )


def all_decisions(connection: sqlite3.Connection) -> Iterator[Decision]:
    """Every decision that is JSON."""
    for key, text, written_s in connection.execute("SELECT key, text, written_s FROM decisions"):
        if is_json(text) and is_amount(written_s):
            yield Decision(key, text, written_s)


def note_use(connection: sqlite3.Connection, table: str, rows: Iterable[int], now_s: float, timeout_s: float) -> None:
    """Note that ``rows`` of ``table`` were used, unless another process is writing: that is not worth waiting for."""
    connection.execute("PRAGMA busy_timeout = 0")
    try:
        with writing(connection):
            statement = f"UPDATE {table} SET used_s = ? WHERE rowid = ?"
            connection.executemany(statement, [(now_s, row) for row in rows])
    except sqlite3.OperationalError:
        pass  # busy, full or not writable: a put will find out, and what was read is right
    finally:
        connection.execute(f"PRAGMA busy_timeout = {round(1000 * timeout_s)}")


def is_json(text: object) -> bool:
    """True for text that a JSON parser takes."""
    if not isinstance(text, str):
        return False
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def _key_columns(key: CostKey) -> tuple[Any, ...]:
    texts = (key.region, key.backend, key.version, key.jaxlib, key.device, key.settings)
    return (*map(storable, texts), COST_SCHEMA)


def _record(key: CostKey, values: list[Any]) -> Record | None:
    *columns, written_s = values
    cost = from_columns(tuple(columns))
    return Record(key, cost, written_s) if cost is not None and is_amount(written_s) else None
