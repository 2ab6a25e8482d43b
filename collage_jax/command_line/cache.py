"""Commands on what is kept of tuning: a database of costs and decisions, and exports of it as JSON."""

from __future__ import annotations

from pathlib import Path

import click

from ..backends.registry import backends
from ..config import config
from ..database import Database, costs_file, export_json, import_json

FILE = click.Path(path_type=Path, exists=True, dir_okay=False)
NEW = click.Path(path_type=Path, dir_okay=False)

DAY_S = 24 * 3600.0


def _database() -> Database:
    path = costs_file(config.cache_dir)
    if path is None:
        raise ValueError("costs are kept in memory alone; set COLLAGE_JAX_CACHE_DIR to a folder to keep them in a file")
    return Database(path)


@click.group(short_help="What is kept of tuning, and how it travels.")
def cache() -> None:
    """What is kept of tuning on this machine, and how it travels to others."""


@cache.command("list")
def list_() -> None:
    """Where the database is and what it holds, by backend."""
    found = _database().statistics()
    click.echo(f"{found.path}: {found.costs} costs, {found.decisions} decisions, {found.file_bytes / 1e6:.1f} MB")
    for name, backend in found.backends.items():
        versions = ", ".join(filter(None, backend.versions))
        click.echo(f"  {name}: {backend.measured} measured, {backend.failed} failed ({versions})")


@cache.command("export")
@click.argument("file", type=NEW)
def export(file: Path) -> None:
    """Write everything to FILE, as JSON, for machines of the same kind."""
    click.echo(f"{export_json(_database(), file)} costs written to {file}")


@cache.command("import")
@click.argument("files", type=FILE, nargs=-1, required=True)
def import_(files: tuple[Path, ...]) -> None:
    """Take over what FILES, exports of other machines, hold. Nothing in such a file can run code."""
    database = _database()
    for file in files:
        _tell(database, file)


@cache.command("merge")
@click.argument("output", type=NEW)
@click.argument("files", type=FILE, nargs=-1, required=True)
def merge(output: Path, files: tuple[Path, ...]) -> None:
    """Write what several exports hold together to OUTPUT; of two costs for one thing the one with more runs."""
    together = Database(None)
    for file in files:
        _tell(together, file)
    click.echo(f"{export_json(together, output)} costs written to {output}")


@cache.command("prune")
@click.option("--unused-days", type=click.FloatRange(min=0), help="Also delete what was not used for so many days.")
def prune(unused_days: float | None) -> None:
    """Delete what can no longer be asked for: other versions of backends, failures that are past."""
    versions = {backend.name: backend.version for backend in backends() if backend.available}
    unused_s = None if unused_days is None else unused_days * DAY_S
    deleted = _database().prune(versions=versions, unused_for_s=unused_s)
    click.echo(f"{deleted} costs and decisions deleted")


@cache.command("clear")
@click.confirmation_option(prompt="Delete all costs and decisions?")
def clear() -> None:
    """Delete everything that was measured and decided."""
    database = _database()
    found = database.statistics()
    database.clear()
    click.echo(f"{found.costs} costs and {found.decisions} decisions deleted")


def _tell(database: Database, file: Path) -> None:
    merged = import_json(database, file)
    click.echo(
        f"{file}: {merged.costs_taken} of {merged.costs_offered} costs taken, "
        f"{merged.decisions_taken} of {merged.decisions_offered} decisions"
    )
