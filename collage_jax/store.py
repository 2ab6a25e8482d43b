"""Where this process keeps costs and decisions."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from .config import config
from .database import Database, costs_file


def store() -> Database:
    """The database that ``config.cache_dir`` names; all functions of a process share it."""
    return _database(costs_file(config.cache_dir))


@cache
def _database(path: Path | None) -> Database:
    return Database(path)
