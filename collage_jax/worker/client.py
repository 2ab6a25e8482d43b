"""The caller's side: has a worker tune, looks after it, and starts another where a backend has ended it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import replace

from ..costs import CostStore, Failed, told
from ..log import LOG
from ..placement import Placement
from ..tuning.stages import Barred
from ..watch import Step
from . import transfer
from .channel import Closed
from .jobs import Ask, Done, Go, Job, Progress, Tell
from .process import Process

#: How often the board is looked at, in seconds.
LOOK_S = 0.1
#: How long a worker may take to finish after an interrupt, in seconds.
FINISH_S = 10.0
#: How many workers one job may use up.
WORKERS = 25
#: What a program may take beyond its budget (compiling XLA's own, a last race), in seconds; past it, it is left to XLA.
OVERTIME_S = 600.0


class NoWorker(Exception):
    """Tuning in a worker is not possible here; the message says why."""


class Client:
    """One worker at a time, kept for the next job. Jobs of several threads wait for each other."""

    def __init__(self) -> None:
        self._process: Process | None = None
        self._lock = threading.Lock()

    def tune(self, job: Job, store: CostStore, progress: Callable[[str, int, int], None]) -> Placement:
        """The placement for ``job``, whatever its backends do. Costs come from ``store`` and go there.

        Raises ``NoWorker`` if the job cannot be sent, and ``KeyboardInterrupt`` at a second interrupt.
        """
        try:
            data = transfer.dumps(job)
        except transfer.NotPortable as error:
            raise NoWorker(str(error)) from error
        deadline = time.monotonic() + job.settings.budget_s
        barred = Barred()
        ended: list[str] = []
        with self._lock:
            for _ in range(WORKERS):
                try:
                    done = self._attempt(data, Go(barred, deadline), store, progress, deadline + OVERTIME_S)
                except NoWorker:
                    raise
                except _Ended as end:
                    ended.append(end.reason)
                    LOG.warning("%s", end.reason)
                    if not end.steps and barred.one_by_one:
                        break  # again, and again nothing is to blame
                    barred = _learnt(barred, end, store)
                    continue
                except BaseException:
                    self._end()  # it may be in the middle of a message: the next one would be taken for its rest
                    raise
                if done.placement is None:
                    note = f"Tuning failed: {done.failure.strip().splitlines()[-1]}"
                    return Placement((), notes=(note,), is_final=False)
                # Workers after the first had less time, but for the same program.
                given = job.settings.budget_s if done.placement.budget_s else 0.0
                return replace(done.placement, budget_s=given, notes=(*_noted(ended), *done.placement.notes))
        return Placement((), notes=(*_noted(ended), "XLA alone is used."), is_final=False)

    def close(self) -> None:
        """End the worker."""
        with self._lock:
            self._end()

    def _end(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process = None

    def _attempt(
        self, data: bytes, go: Go, store: CostStore, progress: Callable[[str, int, int], None], latest: float
    ) -> Done:
        process = self._ready()
        finishing: float | None = None
        try:
            process.channel.send_bytes(data)
            process.channel.send(go)
        except Closed:
            self._process = None
            raise _Ended([], process.wait()) from None
        while True:
            try:
                done = self._next(process, store, progress)
                if done is not None:
                    return done
                self._check(process, min(latest, finishing or latest))
            except KeyboardInterrupt:
                if finishing is not None:
                    self._process = None
                    process.kill()
                    raise
                process.interrupt()
                finishing = time.monotonic() + FINISH_S

    def _next(self, process: Process, store: CostStore, progress: Callable[[str, int, int], None]) -> Done | None:
        """Deal with one message, or wait for one a while."""
        try:
            if not process.channel.is_ready(LOOK_S):
                return None
            match _received(process):
                case Ask(keys):
                    process.channel.send(store.get_many(keys))
                case Tell(key, cost):
                    store.put(key, cost)
                case Progress(what, done, total):
                    progress(what, done, total)
                case Done() as done:
                    return done
        except Closed:
            steps = [step for step, _ in process.board.read()]
            self._process = None
            raise _Ended(steps, process.wait()) from None
        return None

    def _check(self, process: Process, latest: float) -> None:
        """End the worker if a step takes longer than it may."""
        late = [(step, over) for step, over in process.board.read() if over > 0]
        if late or time.monotonic() > latest:
            self._process = None
            process.kill()
            limit = f"after {late[0][0].limit_s:.0f} s" if late else "long past its budget"
            raise _Ended([step for step, _ in late], f"stopped {limit}", stage="timeout")

    def _ready(self) -> Process:
        if self._process is not None and not self._process.is_alive:
            self._process.kill()
            self._process = None
        if self._process is None:
            try:
                self._process = Process()
            except OSError as error:
                raise NoWorker(f"{type(error).__name__}: {error}") from error
        self._process.board.clear()
        return self._process


def _received(process: Process) -> object:
    """The next message; ``Closed`` for what is none, after which nothing more can be understood."""
    try:
        return process.channel.receive()
    except Closed:
        raise
    except Exception as error:
        LOG.warning("The process that tunes sent what cannot be read: %s", told(error))
        raise Closed from error


class _Ended(Exception):
    """A worker came to an end: what it was at, and how."""

    def __init__(self, steps: list[Step], how: str, stage: str = "crash") -> None:
        super().__init__(how)
        self.steps, self.how, self.stage = steps, how, stage

    @property
    def reason(self) -> str:
        if not self.steps:
            return f"The process that tunes was {self.how}"
        step = self.steps[0]
        what = f"{step.backend or 'a program'}, {step.stage}" + (f", {step.ops}" if step.ops else "")
        return f"The process that tunes was {self.how} ({what})"


def _noted(reasons: list[str]) -> list[str]:
    return [f"{reason}; another one went on." for reason in dict.fromkeys(reasons)]


def _learnt(barred: Barred, end: _Ended, store: CostStore) -> Barred:
    """What the next worker must leave out."""
    suspects = end.steps
    if not suspects or (len(suspects) > 1 and not barred.one_by_one):
        # Nothing to blame, or too much: the next one does one thing at a time.
        return replace(barred, one_by_one=True)
    for step in suspects:
        if step.key is not None:
            store.put(step.key, Failed(end.stage, f"the process was {end.how} at the stage {step.stage!r}"))
        elif step.stage == "program":
            barred = replace(barred, programs={**barred.programs, step.ops: f"the process was {end.how}"})
        else:
            reason = f"the process was {end.how} while {step.backend} looked for what it can run"
            barred = replace(barred, backends={**barred.backends, step.backend: reason})
    return barred
