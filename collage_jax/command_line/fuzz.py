"""The command that tries random programs."""

from __future__ import annotations

import sys
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table


@click.command()
@click.option("--programs", type=click.IntRange(min=1), help="How many programs (600 if no time is given).")
@click.option("--seconds", type=click.FloatRange(min=0), help="For how long.")
@click.option(
    "--seed",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="The first seed: the same seeds, the same programs.",
)
@click.option("--jobs", type=click.IntRange(min=1), default=1, show_default=True, help="Processes that run programs.")
@click.option(
    "--save", "folder", type=click.Path(path_type=Path, file_okay=False), help="Write failing programs there."
)
@click.option(
    "--limit-s", type=click.FloatRange(min=1), default=300.0, show_default=True, help="Longer than this is hanging."
)
@click.option(
    "--primitives", is_flag=True, help="Also list how many programs held which primitive, and which none can."
)
@click.option(
    "--replay", type=click.Path(path_type=Path, exists=True, dir_okay=False), help="Run this saved program instead."
)
def fuzz(
    programs: int | None,
    seconds: float | None,
    seed: int,
    jobs: int,
    folder: Path | None,
    limit_s: float,
    primitives: bool,
    replay: Path | None,
) -> None:
    """Compare jax.jit and collage_jax.jit on random programs, kernels placed wherever a backend takes something.

    Nothing is timed. Programs run in processes of their own, so that crashes and hangs are found. The exit status is 1
    if a program came out wrong.
    """
    from ..fuzz import session
    from ..fuzz.reproducer import load, text_of
    from ..fuzz.serving import Runner

    console = Console(highlight=False)
    if replay is not None:
        runner = Runner(limit_s)
        outcome = runner.program(load(replay))
        runner.close()
        kernels = ", ".join(f"{name} {count}" for name, count in outcome.kernels.most_common()) or "none"
        click.echo(f"{replay}: {outcome.verdict}. {outcome.why}\nkernels: {kernels}")
        sys.exit(int(outcome.is_wrong))
    wanted = 600 if programs is None and seconds is None else programs
    shown = [0.0]

    def tell(tally: session.Tally) -> None:
        if tally.seconds - shown[0] >= 20:
            shown[0] = tally.seconds
            click.echo(
                (
                    f"{tally.seconds:.0f} s: {tally.programs} programs, "
                    f"{tally.kernels.total()} kernels, {len(tally.failures)} failures"
                ),
                err=True,
            )

    tally = session.fuzz(seed, wanted, seconds, jobs, folder, tell, limit_s)
    for failure in tally.failures:
        click.echo(
            f"--- {failure.outcome.verdict}: {failure.outcome.why}" + (f" ({failure.path})" if failure.path else "")
        )
        click.echo(text_of(failure.program, failure.outcome))
    console.print(_table("programs", tally.verdicts))
    console.print(_table("kernels", tally.kernels))
    if tally.refusals:
        console.print(_table("refused by jax.jit itself", tally.refusals))
    if primitives:
        _list_primitives(console, tally)
    rate = tally.programs / max(tally.seconds, 1e-9)
    click.echo(
        f"{tally.programs} programs (seeds {seed} to {tally.last_seed}), {tally.kernels.total()} kernels placed, in "
        f"{tally.seconds:.0f} s ({rate:.1f} a second): {len(tally.failures)} failures"
    )
    sys.exit(int(bool(tally.failures)))


def _list_primitives(console: Console, tally: object) -> None:
    from ..fuzz.coverage import OUT_OF_REACH, known

    held = tally.primitives  # type: ignore[attr-defined]
    console.print(
        _table(
            "primitives, by the programs that hold them", {n: held[n] for n in sorted(known() - OUT_OF_REACH.keys())}
        )
    )
    table = Table(
        "primitive", "why no program holds it", title="primitives that no program holds", title_justify="left"
    )
    for name, why in sorted(OUT_OF_REACH.items()):
        table.add_row(name, why)
    console.print(table)


def _table(title: str, counts: object) -> Table:
    table = Table(title, "count", title_justify="left")
    for name, count in dict(counts).items():  # type: ignore[call-overload]
        table.add_row(str(name), str(count))
    return table
