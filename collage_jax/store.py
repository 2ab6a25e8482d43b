"""Where this process keeps costs and decisions."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from .config import config
from .database import Database, costs_file

_instead: list[Database] = []


def store() -> Database:
    """The database that ``config.cache_dir`` names; all functions of a process share it."""
    return _instead[-1] if _instead else _database(costs_file(config.cache_dir))


@contextmanager
def using(database: Database) -> Iterator[None]:
    """``database`` in its place, for all threads, as long as this lasts."""
    _instead.append(database)
    try:
        yield
    finally:
        _instead.remove(database)


@cache
def _database(path: Path | None) -> Database:
    return Database(path)
