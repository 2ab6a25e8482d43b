"""Commands on the installation: what there is, why the rest is not there, and how to get it."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping
from dataclasses import asdict, fields
from importlib import metadata
from typing import Any

import click
import jax
from rich.console import Console
from rich.table import Table
from rich.text import Text

from .. import __version__, device, profiling
from ..backends import registry
from ..config import VARIABLES, config, unknown_variables
from ..database import Database, costs_file
from ..patterns.vocabulary import why_no_region
from ..report.table import NARROWEST
from ..switches import Switches, in_force

#: Packages whose versions matter.
PACKAGES = ("jax", "jaxlib", "numpy")


@click.command(short_help="Versions, devices, backends; how to get what is missing.")
@click.option("--json", "as_json", is_flag=True, help="Print it as JSON.")
@click.option("--limits", is_flag=True, help="Measure what the machine does at best too; takes a few seconds.")
def doctor(as_json: bool, limits: bool) -> None:
    """Devices, backends, versions, threads, settings, switches, what is kept; how to get what is missing."""
    found = _facts()
    if limits:
        found["limits"] = _limits()
    backends = [asdict(backend) for backend in registry.backends()]
    if as_json:
        click.echo(json.dumps({**found, "backends": backends}, indent=1))
        return
    console = Console(highlight=False)
    console.width = max(console.width, NARROWEST)
    facts = Table(box=None, show_header=False, pad_edge=False)
    facts.add_column(style="bold", no_wrap=True)
    facts.add_column(overflow="fold")
    for name, value in found.items():
        facts.add_row(name, Text(_told(value)))
    console.print(facts, Text(), _table(backends), sep="\n")


@click.command("backends")
def list_backends() -> None:
    """What there is to run programs on, or why it is not there."""
    for backend in registry.backends():
        state = f"version {backend.version}" if backend.available else f"not available: {backend.unavailable}"
        click.echo(f"{backend.name} ({backend.kind}; {', '.join(backend.platforms)}): {state}")


def _facts() -> dict[str, Any]:
    return {
        "collage_jax": __version__,
        "Python": f"{platform.python_version()} on {platform.platform()}",
        "packages": {name: _version(name) for name in PACKAGES},
        "devices": [f"{d.platform}:{d.id} {d.device_kind}" for d in jax.devices()],
        "machine": device.description(),
        "threads": _threads(),
        "kept": _kept(),
        "settings": {f.name: getattr(config, f.name) for f in fields(config)},
        "environment": {n: os.environ[n] for n in (*VARIABLES.values(), *unknown_variables()) if n in os.environ},
        "switched off": _switched_off(in_force()),
    }


def _threads() -> dict[str, Any]:
    found: dict[str, Any] = {"processors": device.processors(), "of the machine": os.cpu_count()}
    if (quota := _quota()) is not None:
        found["quota"] = quota
    return found | {n: os.environ[n] for n in ("OMP_NUM_THREADS", "XLA_FLAGS") if n in os.environ}


def _quota() -> float | None:
    """How many processors' time the container may take; None for as much as there is, or where that is not known."""
    try:
        with open("/sys/fs/cgroup/cpu.max", encoding="utf8") as file:
            limit, period = file.read().split()
        return None if limit == "max" else round(int(limit) / int(period), 2)
    except (OSError, ValueError):
        return None


def _kept() -> str:
    path = costs_file(config.cache_dir)
    if path is None:
        return "in memory alone"
    if not path.exists():
        return f"{path}: nothing yet"
    found = Database(path, read_only=True).statistics()
    return f"{path}: {found.costs} costs, {found.decisions} decisions, {found.file_bytes / 1e6:.1f} MB"


def _switched_off(switches: Switches) -> list[str]:
    everything = ["everything"] if switches.off else []
    named = [f"backend {n}{_unknown(registry.why_unknown(n))}" for n in switches.backends]
    named += [f"region {n}{_unknown(why_no_region(n))}" for n in switches.regions]
    return [*everything, *named, *(["whatever is not deterministic"] if switches.deterministic else [])]


def _unknown(why: str | None) -> str:
    return "" if why is None else " (unknown)"


def _limits() -> dict[str, float]:
    best = profiling.limits(registry.with_reference(registry.usable(None)[0]))
    return {"GFLOP/s": round(best.flops / 1e9, 1), "GB/s": round(best.bytes / 1e9, 1)}


def _told(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return {None: "default", True: "on", False: "off"}[value]
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_told(held)}" for name, held in value.items()) or "none"
    if isinstance(value, (list, tuple)):
        return ", ".join(map(str, value)) or "none"
    return str(value)


def _table(backends: list[dict[str, Any]]) -> Table:
    table = Table(title="Backends", title_justify="left")
    table.add_column("backend", no_wrap=True)
    table.add_column("kind", no_wrap=True)
    table.add_column("same bits", no_wrap=True)
    table.add_column("state", overflow="fold")
    for backend in backends:
        missing = backend["unavailable"]
        state = Text.assemble(("ready", "green"), f", version {backend['version']}")
        if missing is not None:
            state = Text.assemble(("not available", "red"), f": {missing}")
        kind = backend["kind"].replace("kernel-library", "kernels").replace("graph-runtime", "subgraphs")
        table.add_row(backend["name"], kind, "yes" if backend["deterministic"] else "", state)
    return table


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "(not installed)"
