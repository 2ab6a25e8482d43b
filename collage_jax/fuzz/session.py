"""Many programs: seed after seed, in several processes, until there were enough or the time is over."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

from .program import Program
from .reproducer import save
from .running import Outcome
from .serving import Ran, Runner
from .shrinking import shrunk


@dataclass(frozen=True)
class Failure:
    """A program that failed, cut down, and the file that it is in, if it was saved."""

    program: Program
    outcome: Outcome
    path: Path | None = None


@dataclass
class Tally:
    """What ran so far: programs by verdict, kernels by backend, programs that hold a primitive, by its name."""

    verdicts: Counter[str] = field(default_factory=Counter)
    kernels: Counter[str] = field(default_factory=Counter)
    primitives: Counter[str] = field(default_factory=Counter)
    refusals: Counter[str] = field(default_factory=Counter)
    misfits: Counter[str] = field(default_factory=Counter)
    failures: list[Failure] = field(default_factory=list)
    last_seed: int = 0
    seconds: float = 0.0

    @property
    def programs(self) -> int:
        return self.verdicts.total()

    def add(self, ran: Ran) -> None:
        """Count what came of one seed."""
        self.primitives += ran.drawn.primitives
        self.misfits += ran.drawn.misfits
        for program, outcome in ran.outcomes:
            self.verdicts[outcome.verdict] += len(program.parts)
            self.kernels += outcome.kernels
            if outcome.verdict == "refused":
                self.refusals[outcome.why[:100]] += 1


def fuzz(
    seed: int,
    programs: int | None,
    seconds: float | None,
    jobs: int = 1,
    folder: Path | None = None,
    tell: Callable[[Tally], None] = lambda tally: None,
    limit_s: float = 300.0,
    shrink_s: float = 120.0,
) -> Tally:
    """Run seeds from ``seed`` on until ``programs`` ran or ``seconds`` passed, in ``jobs`` processes.

    Each failure is cut down and, given a ``folder``, saved there. ``tell`` is called after each seed. An interrupt at
    the keyboard ends it with what there is.
    """
    begin, tally, numbers = time.monotonic(), Tally(), count(seed)
    runners = [Runner(limit_s) for _ in range(jobs)]

    def is_over() -> bool:
        enough = programs is not None and tally.programs >= programs
        return enough or (seconds is not None and time.monotonic() - begin >= seconds)

    def ready(runner: Runner, number: int) -> tuple[Ran, list[Failure]]:
        ran = runner.seed(number)
        return ran, list(_failures(ran, runner, folder, shrink_s))

    pool = ThreadPoolExecutor(jobs)
    running: dict[Future[tuple[Ran, list[Failure]]], tuple[Runner, int]] = {}
    try:
        for runner in runners:
            number = next(numbers)
            running[pool.submit(ready, runner, number)] = runner, number
        while running:
            done, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                runner, number = running.pop(future)
                ran, failures = future.result()
                tally.add(ran)
                tally.failures += failures
                tally.last_seed, tally.seconds = max(tally.last_seed, number), time.monotonic() - begin
                tell(tally)
                if not is_over():
                    number = next(numbers)
                    running[pool.submit(ready, runner, number)] = runner, number
    except KeyboardInterrupt:
        pass
    finally:
        for runner in runners:
            runner.close()
        pool.shutdown(wait=False, cancel_futures=True)
    tally.seconds = time.monotonic() - begin
    return tally


def _failures(ran: Ran, runner: Runner, folder: Path | None, shrink_s: float) -> Iterator[Failure]:
    for program, outcome in ran.outcomes:
        if outcome.is_wrong:
            if folder is not None:
                save(program, outcome, folder / "whole")
            small, why = shrunk(program, outcome, runner.program, shrink_s)
            yield Failure(small, why, None if folder is None else save(small, why, folder))
