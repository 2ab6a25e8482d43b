"""What a command works on: a function and its arguments, made by what ``module:name`` or ``file.py:name`` names."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import click

from ..api import jit

Command = TypeVar("Command", bound=Callable[..., Any])


@dataclass(frozen=True, eq=False)
class Target:
    """``function`` and its ``arguments``; ``options`` are those of ``collage_jax.jit``."""

    name: str
    function: Callable[..., Any]
    arguments: Sequence[Any]
    options: dict[str, Any]

    @property
    def placed(self) -> Any:
        """The function, decorated."""
        return jit(self.function, **self.options)


def with_target(command: Command) -> Command:
    """``command`` with the options that make a ``Target`` of what it is called with; ``target_of`` makes it."""
    options = [
        click.argument("target"),
        click.option(
            "--frozen", type=int, multiple=True, metavar="N", help="Number of an argument that stays the same."
        ),
        click.option("--budget-s", type=float, help="Seconds of tuning (default 60)."),
        click.option("--backend", "backends", multiple=True, metavar="NAME", help="Allow this one; may be repeated."),
    ]
    for option in reversed(options):
        command = option(command)
    return command


def target_of(target: str, frozen: Sequence[int], budget_s: float | None, backends: Sequence[str]) -> Target:
    """What ``target`` names, called without arguments, returns (function, its arguments)."""
    made = _named(target)()
    if not (isinstance(made, tuple) and len(made) == 2 and callable(made[0]) and isinstance(made[1], (tuple, list))):
        raise TypeError(f"{target} must return (function, its arguments), got {type(made).__name__}")
    function, arguments = made
    options = {"frozen_argnums": tuple(frozen), "budget_s": budget_s, "backends": list(backends) or None}
    return Target(target, function, arguments, options)


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
