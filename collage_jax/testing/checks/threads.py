"""Threads may ask, emit, compile and run at once."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

from ...candidates import refusal
from ...measure.compare import largest_error, tolerance
from ...measure.inputs import draw
from ..findings import Violation, said
from ..kernels import Kernel, compiled, forms, run
from ..samples import Sample
from ..subject import Subject

violation = partial(Violation, "threads")

RULE = "threads must be able to use a backend at once"
REMEDY = "keep what a call needs in the call: no state in the backend, no scratch shared between runs"
#: How often each thread runs a kernel that all share.
RUNS = 10
#: Seconds after which threads count as waiting for each other.
PATIENCE_S = 300.0


def check_threads(subject: Subject) -> Iterator[Violation]:
    """Each thread emits every sample, from another one on, and all run shared kernels on arrays of their own."""
    subject.require_usable()
    work = subject.sampled
    if not work:
        return
    count = subject.effort.threads
    wanted = [[run(kernel, draw(s.region.entries, seed=i)) for s, kernel in work] for i in range(count)]
    start = threading.Barrier(count)
    found: dict[str, tuple[Sample, str]] = {}
    threads = [
        threading.Thread(target=_use, args=(subject, work, i, wanted[i], start, found), daemon=True)
        for i in range(count)
    ]
    for thread in threads:
        thread.start()
    latest = time.monotonic() + PATIENCE_S
    for thread in threads:
        thread.join(max(0.0, latest - time.monotonic()))
    for sample, got in found.values():
        yield violation(RULE, got, REMEDY, str(sample))
    if any(thread.is_alive() for thread in threads):
        yield violation(RULE, f"threads that are still at it after {PATIENCE_S:.0f} s", "take locks in one order")


def _use(
    subject: Subject,
    work: Sequence[tuple[Sample, Kernel]],
    number: int,
    wanted: Sequence[Sequence[Any]],
    start: threading.Barrier,
    found: dict[str, tuple[Sample, str]],
) -> None:
    start.wait()
    for step in range(len(work)):
        # In half of the turns all are at the same region, in the others each is at its own.
        place = (step + number * (step % 2)) % len(work)
        sample, shared = work[place]
        arrays = draw(sample.region.entries, seed=number)
        allowed = tolerance(sample.region)
        try:
            if refusal(subject.backend, sample.region) is not None:
                found.setdefault(sample.key, (sample, "a refusal of what is supported otherwise"))
                continue
            own = compiled(subject.backend.emit(sample.region), forms(sample.region.entries))
            for kernel in (own, *[shared] * RUNS):
                error = largest_error(run(kernel, arrays), wanted[place])
                if not error <= allowed:
                    what = "a kernel emitted meanwhile" if kernel is own else "a kernel that others run meanwhile"
                    found.setdefault(sample.key, (sample, f"results {error:.1e} of the largest apart from {what}"))
        except Exception as failure:
            found.setdefault(sample.key, (sample, said(failure)))
