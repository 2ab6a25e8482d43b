"""What a command works on: a function and its arguments, made by what ``module:name`` or ``file.py:name`` names."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import click

from ..api import jit
from ..config import config
from ..spelling import did_you_mean

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
        click.option(
            "--disable-backend", "disable_backends", multiple=True, metavar="NAME", help="Do without this one."
        ),
        click.option(
            "--disable-region",
            "disable_regions",
            multiple=True,
            metavar="NAME",
            help="Leave this region, or kind of operation, to XLA.",
        ),
    ]
    for option in reversed(options):
        command = option(command)
    return command


def target_of(target: str, frozen: Sequence[int], backends: Sequence[str], **options: Any) -> Target:
    """What ``target`` names, called without arguments, returns (function, its arguments)."""
    made = _called(target, _named(target))
    if not (isinstance(made, tuple) and len(made) == 2 and callable(made[0]) and isinstance(made[1], (tuple, list))):
        raise TypeError(
            f"{target} must return (function, its arguments), got {_shape_of(made)}; "
            "end it with, say: return layer, (weights, x)"
        )
    function, arguments = made
    if not sys.stderr.isatty():  # where no bar is shown
        budget_s = options.get("budget_s")
        most_s = config.budget_s if budget_s is None else budget_s
        click.echo(f"Tuning {target}, unless it was tuned before: {most_s:g} s at most", err=True)
    return Target(
        target, function, arguments, {"frozen_argnums": tuple(frozen), "backends": list(backends) or None, **options}
    )


def _shape_of(made: Any) -> str:
    """What ``made`` is, and if it is a tuple, of what."""
    name = type(made).__name__
    return f"{name} of ({', '.join(type(each).__name__ for each in made)})" if isinstance(made, tuple) else name


class NewPath(click.Path):
    """A path to write to once there is something to write, in a folder that has to be there before."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        path = Path(os.fsdecode(super().convert(value, param, ctx)))
        if not path.absolute().parent.is_dir():
            self.fail(f"{str(path.parent)!r} must be a folder that exists; make it first.", param, ctx)
        return path


def _called(target: str, make: Callable[[], Any]) -> Any:
    """What ``make`` returns; its own errors with their traceback, for they are the user's to mend."""
    try:
        inspect.signature(make).bind()
    except TypeError as error:
        raise TypeError(
            f"{target} must be called without arguments, got one that is not: {error}; give the arguments defaults"
        ) from None
    except ValueError:  # something without a signature
        pass
    try:
        return make()
    except Exception as error:
        traceback.print_exc()
        raise click.ClickException(f"{target} failed with {type(error).__name__}; its traceback is above") from error


def _named(target: str) -> Callable[[], Any]:
    """What ``target`` names. Files may import what lies beside them, as scripts do."""
    place, _, name = target.rpartition(":")
    if not place or not name:
        raise ValueError(
            f"the target must be module:name or file.py:name, got {target!r}; name the function that returns "
            "(function, its arguments), such as program.py:make"
        )
    try:
        module = _run(Path(place)) if place.endswith(".py") else importlib.import_module(place)
    except (ModuleNotFoundError, FileNotFoundError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise ValueError(
            f"the target must be in a module or file that can be imported, got {target!r} ({why}); "
            "give a file that exists, or install the module"
        ) from error
    if not callable(found := getattr(module, name, None)):
        functions = [n for n, held in vars(module).items() if callable(held)]
        remedy = did_you_mean(name, functions) or "; name a function that is there"
        got = "there is none" if found is None else f"got {found!r}"
        raise ValueError(f"{place} must have a function called {name!r}, {got}{remedy}")
    return found


def _run(path: Path) -> Any:
    path = path.resolve(strict=True)
    sys.path.insert(0, str(path.parent))
    # Under a name of its own: the file may be called as a module that is there already.
    spec = importlib.util.spec_from_file_location(f"__target_{path.stem}", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module
