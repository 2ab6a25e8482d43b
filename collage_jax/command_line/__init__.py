"""The command line, ``collage-jax`` or ``python -m collage_jax``.

target         a function and its arguments, named on the command line
programs       explain, profile, tune, bench, report: what is done with a target
files          export, run: a target as a file for other processes
cache          what is kept of tuning: list, export, import, merge, prune, clear
fuzz           random programs, compared with jax.jit
doctor         devices, backends, versions, and how to get what is missing
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

import click

from .. import __version__
from .cache import cache
from .doctor import doctor, list_backends
from .files import FILES
from .fuzz import fuzz
from .programs import COMMANDS

PROGRAM = "collage-jax"

#: The exit code of what was interrupted at the keyboard, as of a shell's own commands.
INTERRUPTED = 130


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name=PROGRAM)
def group() -> None:
    """jax.jit with a choice of kernels: see what runs where, how fast, and why."""


for command in (doctor, list_backends, cache, fuzz, *COMMANDS, *FILES):
    group.add_command(command)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command that ``arguments`` name, those of the process by default; ends the process where it fails."""
    try:
        group.main(arguments, prog_name=PROGRAM, standalone_mode=False)
    except click.exceptions.Abort as abort:
        interrupted = isinstance(abort.__cause__ or abort.__context__, KeyboardInterrupt)
        if interrupted:
            click.echo(f"{PROGRAM}: interrupted", err=True)
            sys.exit(INTERRUPTED)
        sys.exit(f"{PROGRAM}: aborted")
    except click.ClickException as error:
        # A wrong command or option: click shows how it is used.
        error.show()
        sys.exit(error.exit_code)
    except (TypeError, ValueError, OSError) as error:
        sys.exit(f"{PROGRAM}: {error}")
