"""Commands on a program: what runs where, how fast, and why.

TARGET is module:name or file.py:name of what is called without arguments and returns (function, its arguments).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import jax
import numpy as np

from ..measure.race import race
from .target import target_of, with_target

#: Rounds of a comparison, and seconds for it at most.
ROUNDS, SECONDS = 21, 20.0

_TARGET = "TARGET is module:name or file.py:name of what, called without arguments, returns (function, its arguments)."


def _command(name: str, does: str) -> Any:
    return lambda function: click.command(name, help=f"{does}\n\n{_TARGET}")(with_target(function))


@_command("explain", "Tune a program and print which backend runs what, how fast, and why the others do not.")
def explain(**chosen: Any) -> None:
    target = target_of(**chosen)
    click.echo(target.placed.explain(*target.arguments))


@_command("profile", "Tune a program and print where its time goes, region by region, beside what the machine can do.")
def profile(**chosen: Any) -> None:
    target = target_of(**chosen)
    click.echo(target.placed.explain(*target.arguments, profile=True))


@_command("tune", "Tune a program ahead of time: what is decided is kept, and other processes use it.")
@click.option("--save", type=click.Path(path_type=Path), help="Write the placement to this file too, to be pinned.")
def tune(save: Path | None, **chosen: Any) -> None:
    target = target_of(**chosen)
    placement = target.placed.placement(*target.arguments)
    counts = ", ".join(f"{name}: {count} regions" for name, count in placement.counts().items()) or "nothing placed"
    click.echo(
        f"{target.name}: {placement.speedup:.2f} times as fast as jax.jit in {placement.tuning_s:.1f} s ({counts})"
    )
    for note in placement.notes:
        click.echo(f"  {note}")
    if save is not None:
        placement.save(save)
        click.echo(f"Saved to {save}; pin it with collage_jax.jit(function, placement={str(save)!r}).")


@_command("bench", "Time a program, jax.jit and collage_jax.jit in turn.")
@click.option("--rounds", type=click.IntRange(min=3), default=ROUNDS, show_default=True, help="Rounds at most.")
def bench(rounds: int, **chosen: Any) -> None:
    target = target_of(**chosen)
    functions = {"jax.jit": jax.jit(target.function), "collage_jax.jit": target.placed}
    calls = {name: lambda f=f: f(*target.arguments) for name, f in functions.items()}
    for call in calls.values():
        jax.block_until_ready(call())
    times = race(calls, rounds=rounds, seconds=SECONDS, hopeless=float("inf"))
    for name, seconds in times.items():
        low, median, high = np.percentile(seconds, (25, 50, 75)) * 1e3
        click.echo(f"{name:16} {median:10.3f} ms ({low:.3f} to {high:.3f})")
    low, median, high = np.percentile(times["jax.jit"] / times["collage_jax.jit"], (25, 50, 75))
    count = len(times["jax.jit"])
    click.echo(f"{median:.2f} times as fast (quartiles {low:.2f} to {high:.2f} over {count} rounds)")


@_command("report", "Tune a program and write a page for the browser: its graph by backend, costs, refusals.")
@click.option("-o", "--output", type=click.Path(path_type=Path), default=Path("placement.html"), show_default=True)
def report(output: Path, **chosen: Any) -> None:
    target = target_of(**chosen)
    target.placed.placement(*target.arguments).to_html(output)
    click.echo(f"Written to {output}")


COMMANDS = (explain, profile, tune, bench, report)
