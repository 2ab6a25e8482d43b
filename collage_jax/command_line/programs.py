"""Commands on a program: what runs where, how fast, and why.

TARGET is module:name or file.py:name of what is called without arguments and returns (function, its arguments).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import click
import jax
import numpy as np

from ..backends import registry
from ..measure.race import race
from .target import NewPath, target_of, with_target

#: Rounds of a comparison, and seconds for it at most.
ROUNDS, SECONDS = 21, 20.0

_TARGET = "TARGET is module:name or file.py:name of what, called without arguments, returns (function, its arguments)."


def program_command(name: str, does: str, in_short: str) -> Any:
    """A command on a target: what it ``does``, for its own help and for the list of all."""

    def decorated(function: Any) -> click.Command:
        return click.command(name, help=f"{does}\n\n{_TARGET}", short_help=in_short)(with_target(function))

    return decorated


@program_command(
    "explain",
    "Tune a program and print which backend runs what, how fast, and why the others do not.",
    "Which backend runs what, how fast, and why.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the placement as JSON.")
def explain(as_json: bool, **chosen: Any) -> None:
    target = target_of(**chosen)
    placement = target.placed.placement(*target.arguments)
    click.echo(placement.to_json() if as_json else str(placement), nl=not as_json)


@program_command(
    "profile",
    "Tune a program and print where its time goes, region by region, beside what the machine can do.",
    "Where the time goes, region by region.",
)
def profile(**chosen: Any) -> None:
    target = target_of(**chosen)
    click.echo(target.placed.explain(*target.arguments, profile=True))


@program_command(
    "tune",
    "Tune a program ahead of time: what is decided is kept, and other processes use it.",
    "Tune ahead of time, for other processes.",
)
@click.option("--save", type=NewPath(), help="Write the placement to this file or folder too.")
@click.option("--deterministic", is_flag=True, help="With backends alone that give the same bits each time.")
@click.option("--again", is_flag=True, help="Decide anew, as on a quieter machine, and keep that instead.")
def tune(save: Path | None, deterministic: bool, again: bool, disable_backends: Sequence[str], **chosen: Any) -> None:
    others = [b.name for b in registry.backends() if not b.deterministic] if deterministic else []
    target = target_of(disable_backends=[*disable_backends, *others], **({"tune": "again"} if again else {}), **chosen)
    placement = target.placed.placement(*target.arguments)
    counts = ", ".join(f"{name}: {count} regions" for name, count in placement.counts().items()) or "nothing placed"
    click.echo(
        f"{target.name}: {placement.speedup:.2f} times as fast as jax.jit in {placement.tuning_s:.1f} s ({counts})"
    )
    for note in placement.notes:
        click.echo(f"  {note}")
    if save is not None:
        placement.save(save)
        how = f"set COLLAGE_JAX_PLACEMENTS={save}" if save.is_dir() else f"pass placement={str(save)!r}"
        click.echo(f"Saved to {save}; to have it used, {how}.")


@program_command(
    "bench", "Time a program, jax.jit and collage_jax.jit in turn.", "jax.jit and collage_jax.jit, timed in turn."
)
@click.option("--rounds", type=click.IntRange(min=3), default=ROUNDS, show_default=True, help="Rounds at most.")
@click.option("--json", "as_json", is_flag=True, help="Print the figures as JSON.")
def bench(rounds: int, as_json: bool, **chosen: Any) -> None:
    target = target_of(**chosen)
    functions = {"jax.jit": jax.jit(target.function), "collage_jax.jit": target.placed}
    calls = {name: lambda f=f: f(*target.arguments) for name, f in functions.items()}
    compare(calls, target.name, rounds, as_json)


def compare(calls: Mapping[str, Callable[[], Any]], program: str, rounds: int, as_json: bool) -> None:
    """Time two calls, the reference first, in turn and print what came of it."""
    for call in calls.values():
        jax.block_until_ready(call())
    times = race(calls, rounds=rounds, seconds=SECONDS, hopeless=float("inf"))
    reference, other = times.values()
    count = len(reference)
    measured_ms = {name: _quartiles(seconds * 1e3) for name, seconds in times.items()}
    ratio = _quartiles(reference / other)
    if as_json:
        click.echo(json.dumps({"program": program, "rounds": count, "ms": measured_ms, "ratio": ratio}))
        return
    for name, (low, median, high) in measured_ms.items():
        click.echo(f"{name:16} {median:10.3f} ms ({low:.3f} to {high:.3f})")
    low, median, high = ratio
    click.echo(f"{median:.2f} times as fast (quartiles {low:.2f} to {high:.2f} over {count} rounds)")


def _quartiles(samples: np.ndarray) -> list[float]:
    return [float(each) for each in np.percentile(samples, (25, 50, 75))]


@program_command(
    "report",
    "Tune a program and write a page for the browser: its graph by backend, costs, refusals.",
    "A page for the browser.",
)
@click.option("-o", "--output", type=NewPath(), default=Path("placement.html"), show_default=True)
def report(output: Path, **chosen: Any) -> None:
    target = target_of(**chosen)
    target.placed.placement(*target.arguments).to_html(output)
    click.echo(f"Written to {output}")


COMMANDS = (explain, profile, tune, bench, report)
