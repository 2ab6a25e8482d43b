"""The same questions put to processes that know nothing of this one."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import cloudpickle
import jax

from .. import _compat, spawn
from ..backends.base import Backend
from ..worker import transfer
from .child import Answer, Question
from .findings import Skipped
from .samples import Sample, by_program

#: Seconds after which a process counts as hanging.
PATIENCE_S = 600.0

#: First thing in a process that may use one processor.
ALONE = "import os; os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])"


class Ended(Exception):
    """The process came to an end before it had answered; how is the message."""


@dataclass(frozen=True, eq=False)
class Answers:
    """What a fresh process made of ``samples``, and what another did that could find compiled what the first compiled.

    Results are in the order of ``samples``. ``alone`` is what a process made of them that may use one processor, where
    the backend says that it is deterministic. ``by_value`` is True if they could not import the backend's module and
    were sent it.
    """

    by_value: bool
    samples: tuple[Sample, ...]
    first: Answer
    second: Answer
    alone: Answer | None = None


def answers(backend: Backend, samples: Sequence[Sample]) -> Answers:
    """What other processes make of ``samples``.

    Raises ``Skipped`` if the backend cannot be sent to another process, ``Ended`` if a process does not survive it.
    """
    with TemporaryDirectory(prefix="collage-jax-") as folder:
        by_value = False
        answer = _ask(backend, samples, Path(folder), by_value)
        if answer.unreadable:
            # Modules that only this process can import, such as those of test runners, go as a whole.
            by_value = True
            answer = _ask(backend, samples, Path(folder), by_value)
        if answer.unreadable:
            raise Skipped(f"another process cannot read {backend.name} as it was sent: {answer.unreadable}")
        ordered = tuple(sample for each in by_program(samples).values() for sample in each)
        second = _ask_again(Path(folder))
        asks_alone = backend.deterministic and hasattr(os, "sched_setaffinity")
        return Answers(by_value, ordered, answer, second, _ask_again(Path(folder), ALONE) if asks_alone else None)


def _ask(backend: Backend, samples: Sequence[Sample], folder: Path, by_value: bool) -> Answer:
    module = sys.modules[type(backend).__module__]
    if by_value:
        cloudpickle.register_pickle_by_value(module)
    try:
        held = transfer.dumps(backend)
        parts = by_program(samples).items()
        programs = [(program.jaxpr, [(s.graph, s.region.indices) for s in each]) for program, each in parts]
        question = transfer.dumps(Question(held, backend.portable(), _compat.configuration(), programs))
    except transfer.NotPortable as error:
        raise Skipped(f"{backend.name} cannot be sent to another process: {error}") from error
    finally:
        if by_value:
            cloudpickle.unregister_pickle_by_value(module)
    (folder / "question").write_bytes(question)
    return _ask_again(folder)


def _ask_again(folder: Path, first: str = "") -> Answer:
    """The answer of a new process, which does ``first`` first, to the question that is there."""
    paths = str(folder / "question"), str(folder / "answer")
    command = spawn.command("collage_jax.testing.child:main", *paths, first=first)
    (folder / "answer").unlink(missing_ok=True)
    try:
        done = subprocess.run(
            command, env=_environment(folder), capture_output=True, text=True, timeout=PATIENCE_S, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise Ended(f"no answer after {PATIENCE_S:.0f} s") from error
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["nothing said"])[-1]
        raise Ended(f"a process that ended with status {done.returncode}: {last}")
    return pickle.loads((folder / "answer").read_bytes())


def _environment(folder: Path) -> dict[str, str]:
    platform = "cuda" if jax.default_backend() == "gpu" else jax.default_backend()
    return {
        **spawn.environment(),
        "JAX_PLATFORMS": platform,
        "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
        "JAX_ENABLE_COMPILATION_CACHE": "true",
        "JAX_COMPILATION_CACHE_DIR": str(folder / "compiled"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
    }
