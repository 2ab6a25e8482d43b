"""A failing program as a file that is read, and run again by ``collage-jax fuzz --replay FILE``."""

from __future__ import annotations

import pprint
from pathlib import Path
from typing import Any

from .program import Argument, Function, Options, Part, Program
from .running import Outcome

HEAD = '''r"""Found by `collage-jax fuzz --seed {seed} --programs 1`: {verdict}.

{why}

Run again by `collage-jax fuzz --replay FILE`.
"""

import jax
import jax.ad_checkpoint
import jax.custom_batching
import jax.custom_derivatives
import jax.numpy as jnp
import jax.scipy.linalg
import numpy as np
from jax import lax


{text}


ARGUMENTS = {arguments}

OPTIONS = {options}
'''


def text_of(program: Program, found: Outcome) -> str:
    """The file's text."""
    fields = [
        {k: v for k, v in vars(a).items() if v != Argument.__dataclass_fields__[k].default} for a in program.arguments
    ]
    return HEAD.format(
        seed=program.seed,
        verdict=found.verdict,
        why=found.why.replace('"', "'"),
        text=program.text,
        arguments=pprint.pformat(fields, width=110, sort_dicts=False),
        options=pprint.pformat(vars(program.options), width=110, sort_dicts=False),
    )


def save(program: Program, found: Outcome, folder: Path) -> Path:
    """Write the program into ``folder``; the file's name."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{found.verdict}_{program.seed}_{len(list(folder.glob('*.py')))}.py"
    path.write_text(text_of(program, found), encoding="utf8")
    return path


def load(path: Path) -> Program:
    """The program in a file that ``save`` wrote, or that was changed since. The file is run as Python."""
    names: dict[str, Any] = {"__name__": path.stem}
    text = path.read_text(encoding="utf8")
    exec(compile(text, str(path), "exec"), names)
    missing = [name for name in ("program", "ARGUMENTS", "OPTIONS") if name not in names]
    if missing:
        lacks = f"{path} must define program, ARGUMENTS and OPTIONS, and lacks {', '.join(missing)}"
        raise ValueError(f"{lacks}; give a file that `collage-jax fuzz` saved")
    arguments = tuple(Argument(**fields) for fields in names["ARGUMENTS"])
    function = Function("program", tuple(a.name for a in arguments), (), ())
    return Program((Part(function, arguments),), Options(**names["OPTIONS"]), source=text)
