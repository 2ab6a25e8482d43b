"""Commands on exported functions: a file is made of a program, and called."""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import click
import jax
import jax.numpy as jnp

from .._compat import typeof
from ..api import disabled
from ..calls.within import drawn
from ..shipping import Loaded, load
from ..shipping import export as export_program
from .programs import ROUNDS, compare, program_command
from .target import NewPath, target_of

FILE = click.Path(path_type=Path, exists=True, dir_okay=False)


@program_command(
    "export",
    "Tune a program and write it to a file that other processes load without tuning (collage_jax.load).",
    "A file that other processes load.",
)
@click.option("-o", "--output", type=NewPath(dir_okay=False), required=True, metavar="FILE")
@click.option("--no-fallback", is_flag=True, help="Leave out the program by XLA alone, for where kernels cannot run.")
@click.option("--vjp-order", type=click.IntRange(min=0), default=0, help="How often it can be differentiated.")
def export(output: Path, no_fallback: bool, vjp_order: int, **chosen: Any) -> None:
    target = target_of(**chosen)
    options = {"path": output, "fallback": not no_fallback, "vjp_order": vjp_order}
    exported = export_program(target.placed, *target.arguments, **options)
    counts = ", ".join(f"{name}: {count} regions" for name, count in exported.placements[0].counts().items())
    click.echo(f"Written to {output}: {exported.nbytes / 1e6:.1f} MB ({counts or 'nothing placed'})")


@click.command("run")
@click.argument("file", type=FILE)
@click.option("--bench", is_flag=True, help="Time it in turn with what XLA alone makes of it.")
@click.option("--rounds", type=click.IntRange(min=3), default=ROUNDS, show_default=True, help="Rounds at most.")
@click.option("--json", "as_json", is_flag=True, help="Print the figures of --bench as JSON.")
@click.option("--strict", is_flag=True, help="Fail where its kernels cannot run here.")
def run(file: Path, bench: bool, rounds: int, as_json: bool, strict: bool) -> None:
    """Load what `export` wrote to FILE, and call it with each set of arguments that it takes; they are drawn."""
    begin = time.perf_counter()
    loaded = load(file, strict=strict)
    if not as_json:
        click.echo(loaded.explain())
        click.echo(f"Loaded and compiled in {time.perf_counter() - begin:.2f} s.")
    plain = _without_kernels(file) if bench else loaded
    for signature, (args, kwargs) in zip(loaded.manifest.signatures, loaded.signatures, strict=True):
        leaves, tree = jax.tree.flatten((args, kwargs))
        arrays = drawn(list(map(typeof, leaves)))
        name = f"{file}: {', '.join(signature.inputs)}"
        if bench:
            calls = {
                "XLA alone": partial(_call, plain, tree, arrays),
                "with kernels": partial(_call, loaded, tree, arrays),
            }
            compare(calls, name, rounds, as_json)
        else:
            begin = time.perf_counter()
            jax.block_until_ready(_call(loaded, tree, arrays))
            click.echo(f"{name}: called in {(time.perf_counter() - begin) * 1e3:.3f} ms")


def _without_kernels(file: Path) -> Loaded:
    with disabled():
        return load(file)


def _call(loaded: Loaded, tree: Any, arrays: Sequence[Any]) -> Any:
    is_donated = loaded.manifest.donated_nums or loaded.manifest.donated_names
    args, kwargs = jax.tree.unflatten(tree, map(jnp.copy, arrays) if is_donated else arrays)
    return loaded(*args, **kwargs)


FILES = (export, run)
