"""Costs and decisions as a JSON file, so that one machine's tuning serves a fleet of the same kind.

The file holds data alone: reading one runs nothing that is in it.
"""

from __future__ import annotations

import json
import os
import reprlib
import time
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, NoReturn

from ..costs import Cost, CostKey, Failed, Measured
from ..whole_file import replacing
from .queries import is_json
from .records import Decision, Record, flaw, is_amount
from .schema import COST_SCHEMA
from .sqlite import Database

FORMAT = "collage_jax costs"
FORMAT_VERSION = 1
#: A larger file is none of ours: 100,000 costs take about 70 MB.
LARGEST_BYTES = 512 << 20

_KEY = tuple(field.name for field in fields(CostKey))
_MEASURED = ("median_us", "spread_us", "runs", "error", "note")
_FAILED = ("stage", "reason")


@dataclass(frozen=True)
class Merged:
    """How many costs and decisions were offered, and how many of them were taken over."""

    costs_offered: int
    costs_taken: int
    decisions_offered: int
    decisions_taken: int


def export_json(database: Database, path: str | os.PathLike[str]) -> int:
    """Write all costs and decisions of ``database`` to ``path``, replacing it as a whole; how many costs those are."""
    costs, decisions = database.contents()
    costs.sort(key=lambda r: [getattr(r.key, name) for name in _KEY])
    decisions.sort(key=lambda d: d.key)
    document = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "cost_schema": COST_SCHEMA,
        "costs": [_cost_entry(record) for record in costs],
        "decisions": [{"key": d.key, "text": d.text, "written_s": d.written_s} for d in decisions],
    }
    with replacing(path) as file:
        file.write((json.dumps(document, indent=1, allow_nan=False) + "\n").encode("utf8"))
    return len(costs)


def import_json(database: Database, path: str | os.PathLike[str]) -> Merged:
    """Merge the costs and decisions that ``export_json`` wrote to ``path`` into ``database``: all, or none if one is
    wrong. Of two costs for one key the stronger is kept (``records.strength``); decisions made here stay.

    Raises ``ValueError`` for a file that is not such an export, ``OSError`` for one that cannot be read.
    """
    costs, decisions = _parsed(Path(path))
    return _merged(database, costs, decisions)


def merge(into: Database, source: Database) -> Merged:
    """Merge what ``source`` holds into ``into``, as ``import_json`` does with a file."""
    costs, decisions = source.contents()
    return _merged(into, costs, decisions)


def _merged(database: Database, costs: list[Record], decisions: list[Decision]) -> Merged:
    costs_taken, decisions_taken = database.merge(costs, decisions)
    return Merged(len(costs), costs_taken, len(decisions), decisions_taken)


def _cost_entry(record: Record) -> dict[str, Any]:
    kind, names = ("failed", _FAILED) if isinstance(record.cost, Failed) else ("measured", _MEASURED)
    key = {name: getattr(record.key, name) for name in _KEY}
    return {**key, kind: {name: getattr(record.cost, name) for name in names}, "written_s": record.written_s}


class _WrongError(Exception):
    """Which place in a file breaks which rule, with the value there."""


def _wrong(place: str, rule: str, value: object) -> _WrongError:
    return _WrongError(f"{place} must be {rule}, got {reprlib.repr(value)}")


def _parsed(path: Path) -> tuple[list[Record], list[Decision]]:
    try:
        with path.open("rb") as file:
            content = file.read(LARGEST_BYTES + 1)
        if len(content) > LARGEST_BYTES:
            raise _WrongError(f"the file must have at most {LARGEST_BYTES >> 20} MiB, got more")
        document = _document(content)
        now_s = time.time()
        costs = [_cost(entry, f"costs[{i}]", now_s) for i, entry in enumerate(_list(document, "costs"))]
        decisions = [_decision(entry, f"decisions[{i}]", now_s) for i, entry in enumerate(_list(document, "decisions"))]
    except _WrongError as wrong:
        raise ValueError(f"{path} cannot be imported: {wrong}; export it anew with export_json") from None
    return costs, decisions


def _document(content: bytes) -> dict[str, Any]:
    def constant(name: str) -> NoReturn:
        raise ValueError(f"{name} is no number")

    try:
        document = json.loads(content.decode("utf8"), parse_constant=constant)
    except (ValueError, RecursionError) as error:
        raise _wrong("the file", f"JSON ({error})", content[:40]) from None
    if not isinstance(document, dict):
        raise _wrong("the file", "a JSON object", document)
    for name, wanted in (("format", FORMAT), ("format_version", FORMAT_VERSION), ("cost_schema", COST_SCHEMA)):
        if document.get(name) != wanted:
            raise _wrong(name, f"{wanted!r} for this release", document.get(name))
    return document


def _cost(entry: object, place: str, now_s: float) -> Record:
    key = CostKey(*(_text(entry, name, place) for name in _KEY))
    kinds = [kind for kind in ("measured", "failed") if isinstance(entry, dict) and kind in entry]
    if len(kinds) != 1:
        raise _wrong(place, 'an object with either "measured" or "failed"', entry)
    names, kind = (_MEASURED, Measured) if kinds == ["measured"] else (_FAILED, Failed)
    inner = f"{place}.{kinds[0]}"
    cost: Cost = kind(*(_member(_member(entry, kinds[0], place), name, inner) for name in names))
    broken = flaw(cost)
    if broken is not None:
        raise _WrongError(f"{inner}.{broken}")
    return Record(key, cost, _time(entry, place, now_s))


def _decision(entry: object, place: str, now_s: float) -> Decision:
    text = _text(entry, "text", place)
    if not is_json(text):
        raise _wrong(f"{place}.text", "JSON", text)
    return Decision(_text(entry, "key", place), text, _time(entry, place, now_s))


def _list(document: dict[str, Any], name: str) -> list[object]:
    value = _member(document, name, "the file")
    if not isinstance(value, list):
        raise _wrong(name, "a list", value)
    return value


def _member(entry: object, name: str, place: str) -> Any:
    if not isinstance(entry, dict) or name not in entry:
        raise _wrong(place, f'an object with "{name}"', entry)
    return entry[name]


def _text(entry: object, name: str, place: str) -> str:
    value = _member(entry, name, place)
    if not isinstance(value, str):
        raise _wrong(f"{place}.{name}", "text", value)
    return value


def _time(entry: object, place: str, now_s: float) -> float:
    value = _member(entry, "written_s", place)
    if not is_amount(value):
        raise _wrong(f"{place}.written_s", "seconds since 1970", value)
    return min(float(value), now_s)  # the other machine's clock may be ahead of ours
