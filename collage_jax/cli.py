"""The command line: ``python -m collage_jax profile program.py:make``."""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from .api import jit
from .backends.registry import backends

TARGET = """module:name or file.py:name of what is called without arguments and returns (function, its arguments)"""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command that ``arguments`` name, those of the process by default."""
    parser = argparse.ArgumentParser(prog="python -m collage_jax", description="jax.jit with a choice of kernels")
    commands = parser.add_subparsers(required=True, metavar="command")
    for name, does in (("explain", "which backend runs what, and why"), ("profile", "where the time goes, by region")):
        command = commands.add_parser(name, help=does, description=f"Tune a program and print {does}.")
        command.add_argument("target", help=TARGET)
        command.add_argument("--frozen", type=int, nargs="*", default=[], metavar="N", help="frozen_argnums")
        command.add_argument("--budget-s", type=float, help="seconds of tuning (default 60)")
        command.add_argument("--backends", nargs="+", metavar="NAME", help="allow these alone")
        command.set_defaults(run=_explain, profile=name == "profile")
    listing = commands.add_parser("backends", help="what there is, or why it is not there")
    listing.set_defaults(run=_list_backends)
    options = parser.parse_args(arguments)
    try:
        options.run(options)
    except (TypeError, ValueError) as error:
        sys.exit(f"{parser.prog}: {error}")


def _explain(options: argparse.Namespace) -> None:
    function, arguments = _made_by(_named(options.target), options.target)
    chosen = {"frozen_argnums": options.frozen, "budget_s": options.budget_s, "backends": options.backends}
    print(jit(function, **chosen).explain(*arguments, profile=options.profile))


def _list_backends(options: argparse.Namespace) -> None:
    for backend in backends():
        state = f"version {backend.version}" if backend.available else f"not available: {backend.unavailable}"
        print(f"{backend.name} ({backend.kind}; {', '.join(backend.platforms)}): {state}")


def _named(target: str) -> Callable[[], Any]:
    """What ``target`` names. Files may import what lies beside them, as scripts do."""
    place, _, name = target.rpartition(":")
    if not place or not name:
        raise ValueError(f"the target must be module:name or file.py:name, got {target!r}")
    try:
        module = _run(Path(place)) if place.endswith(".py") else importlib.import_module(place)
    except (ModuleNotFoundError, FileNotFoundError) as error:
        raise ValueError(f"the target {target!r} cannot be imported: {error}; give a file that exists") from error
    if not callable(found := getattr(module, name, None)):
        raise ValueError(f"{place} must have a function called {name!r}, got {found!r}")
    return found


def _run(path: Path) -> Any:
    sys.path.insert(0, str(path.parent.resolve()))
    # Under a name of its own: the file may be called as a module that is there already.
    spec = importlib.util.spec_from_file_location(f"__target_{path.stem}", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def _made_by(make: Callable[[], Any], target: str) -> tuple[Callable[..., Any], Sequence[Any]]:
    made = make()
    if not (isinstance(made, tuple) and len(made) == 2 and callable(made[0]) and isinstance(made[1], (tuple, list))):
        raise TypeError(f"{target} must return (function, its arguments), got {type(made).__name__}")
    return made
