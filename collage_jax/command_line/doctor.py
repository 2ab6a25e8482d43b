"""Commands on the installation: what there is, why the rest is not there, and how to get it."""

from __future__ import annotations

import platform
from dataclasses import fields
from importlib import metadata

import click
import jax
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from .. import __version__, device
from ..backends.registry import backends
from ..config import config
from ..database import costs_file

#: Packages whose versions matter.
PACKAGES = ("jax", "jaxlib", "numpy")


@click.command()
def doctor() -> None:
    """Devices, backends, versions and settings; why a backend is missing, and how to get it."""
    console = Console(width=max(Console().width, 100), highlight=False, soft_wrap=False)
    facts = Table(box=None, show_header=False, pad_edge=False)
    facts.add_column(style="bold")
    facts.add_column(overflow="fold")
    facts.add_row("collage_jax", __version__)
    facts.add_row("Python", f"{platform.python_version()} on {platform.platform()}")
    facts.add_row("packages", ", ".join(f"{name} {_version(name)}" for name in PACKAGES))
    facts.add_row("devices", ", ".join(f"{d.platform}:{d.id} {d.device_kind}" for d in jax.devices()))
    facts.add_row("machine", escape(device.description()))
    path = costs_file(config.cache_dir)
    facts.add_row("tuning is kept in", "memory alone" if path is None else escape(str(path)))
    facts.add_row("settings", escape(", ".join(f"{f.name}={getattr(config, f.name)}" for f in fields(config))))
    console.print(facts)
    console.print(_backends_table())


@click.command("backends")
def list_backends() -> None:
    """What there is to run programs on, or why it is not there."""
    for backend in backends():
        state = f"version {backend.version}" if backend.available else f"not available: {backend.unavailable}"
        click.echo(f"{backend.name} ({backend.kind}; {', '.join(backend.platforms)}): {state}")


def _backends_table() -> Table:
    table = Table(title="Backends", title_justify="left")
    for column in ("backend", "kind", "state"):
        table.add_column(column, overflow="fold")
    for backend in backends():
        if backend.available:
            state = f"[green]ready[/green], version {escape(backend.version)}"
        else:
            state = f"[red]not available[/red]: {escape(str(backend.unavailable))}"
        table.add_row(backend.name, backend.kind, state)
    return table


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "(not installed)"
