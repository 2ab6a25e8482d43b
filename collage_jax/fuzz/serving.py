"""A process that runs programs, so that one that crashes or hangs is known and costs nothing but itself."""

from __future__ import annotations

import gc
import multiprocessing
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess

from .drawing import Drawn, drawn
from .program import Program
from .running import CRASHES, HANGS, Outcome, outcome, outcomes

#: What makes XLA compile faster: programs run once or twice. Their digits are as good.
FAST = "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"
#: What makes it much faster, where there are these flags: XLA ends a process that is given one it does not know.
FASTER = f"{FAST} --xla_cpu_parallel_codegen_split_count=1 --xla_cpu_use_fusion_emitters=false"

#: Programs after which what JAX keeps of them is let go, and after which the process is replaced.
CLEAR_AFTER, REPLACE_AFTER = 10, 400


TERMINATED = Outcome(CRASHES, signal.SIGTERM.name)


@dataclass(frozen=True)
class Ran:
    """What came of the programs of one seed."""

    drawn: Drawn
    outcomes: Sequence[tuple[Program, Outcome]]


class Runner:
    """Runs programs in a process of its own, replaced when it dies, is silent for ``limit_s``, or has done many."""

    def __init__(self, limit_s: float = 300.0) -> None:
        self._limit_s = limit_s
        self._process: SpawnProcess | None = None
        self._connection: Connection | None = None
        self._count = 0

    def seed(self, number: int) -> Ran:
        """The programs of a seed, drawn and run there; what ends the process is run again, part by part."""
        found = self._ask(number)
        if isinstance(found, Ran):
            return found
        made = drawn(number)
        alone = [(each, self.program(each)) for each in map(made.program.only, range(len(made.program.parts)))]
        if any(o.is_wrong for _, o in alone):
            return Ran(made, alone)
        return Ran(made, [(made.program, found)])

    def program(self, program: Program) -> Outcome:
        """What comes of one program."""
        found = self._ask(program)
        assert isinstance(found, Outcome)
        return found

    def close(self) -> None:
        """End the process."""
        if self._process is not None:
            self._process.kill()
            self._process.join()
            self._process = None

    def _ask(self, job: int | Program) -> Ran | Outcome:
        """The answer to ``job``. A process that somebody terminates says nothing of its programs: another is asked."""
        answer = self._asked(job)
        return self._asked(job) if answer == TERMINATED else answer

    def _asked(self, job: int | Program) -> Ran | Outcome:
        if self._process is None or self._count >= REPLACE_AFTER:
            self._start()
        assert self._connection is not None and self._process is not None
        self._count += 1
        try:
            self._connection.send(job)
            if not self._connection.poll(self._limit_s):
                self.close()
                return Outcome(HANGS, f"no answer within {self._limit_s:g} s")
            return self._connection.recv()
        except (EOFError, BrokenPipeError, ConnectionResetError):
            self._process.join()
            code = self._process.exitcode or 0
            self._process = None
            return Outcome(CRASHES, signal.Signals(-code).name if code < 0 else f"the process ended with status {code}")

    def _start(self) -> None:
        self.close()
        self._count = 0
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        ours = {
            "XLA_FLAGS": _flags(),
            "JAX_PLATFORMS": "cpu",
            "COLLAGE_JAX_CACHE_DIR": "off",
        }
        before = {name: os.environ.get(name) for name in ours}
        os.environ.update(ours)
        try:
            process = self._process = context.Process(target=_serve, args=(theirs,), daemon=True)
            process.start()
        finally:
            for name, text in before.items():
                if text is None:
                    del os.environ[name]
                else:
                    os.environ[name] = text
        theirs.close()


@cache
def _flags() -> str:
    """The caller's flags for XLA, and those of ours that this XLA knows."""
    begin = [sys.executable, "-c", "import jax; jax.devices()"]
    for flags in (FASTER, FAST):
        together = f"{os.environ.get('XLA_FLAGS', '')} {flags}".strip()
        environment = {**os.environ, "XLA_FLAGS": together, "JAX_PLATFORMS": "cpu"}
        if subprocess.run(begin, env=environment, capture_output=True, check=False).returncode == 0:
            return together
    return os.environ.get("XLA_FLAGS", "")


def _serve(connection: Connection) -> None:
    import jax

    count = 0
    while True:
        try:
            job = connection.recv()
        except EOFError:
            return
        if isinstance(job, int):
            made = drawn(job)
            connection.send(Ran(made, outcomes(made.program)))
        else:
            connection.send(outcome(job))
        count += 1
        if count % CLEAR_AFTER == 0:
            jax.clear_caches()
            gc.collect()
