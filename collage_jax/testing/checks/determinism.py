"""The same inputs give the same bits; where that is promised, however many threads work on them."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from ...backends import registry
from ...measure.inputs import draw
from ..findings import Skipped, Violation
from ..fresh import Ended
from ..kernels import bits, compiled, forms, run
from ..subject import Subject

violation = partial(Violation, "determinism")

#: Runs of one kernel on the same arrays.
RUNS = 3


def check_determinism(subject: Subject) -> Iterator[Violation]:
    """A kernel run again, then one emitted again; if ``deterministic`` is set, run by a process with one processor."""
    subject.require_usable()
    for sample, kernel in subject.sampled:
        arrays = draw(sample.region.entries)
        first, *others = [bits(run(kernel, arrays)) for _ in range(RUNS)]
        if any(other != first for other in others):
            remedy = "sum in a fixed order, and draw no random numbers"
            yield violation("a kernel must give the same bits each time", "others", remedy, str(sample))
            continue
        again = compiled(subject.backend.emit(sample.region), forms(sample.region.entries))
        if bits(run(again, arrays)) != first:
            remedy = "let `emit` depend on the region alone, not on when it is called"
            yield violation("a kernel emitted again must give the same bits", "others", remedy, str(sample))
    if subject.backend.deterministic and subject.backend.name != registry.REFERENCE:
        yield from _alone(subject)


def _alone(subject: Subject) -> Iterator[Violation]:
    """Where one processor is another version, other bits are none of the promise."""
    try:
        elsewhere = subject.elsewhere
    except (Ended, Skipped):  # other checks report it
        return
    if elsewhere.alone is None or elsewhere.alone.version != elsewhere.first.version:
        return
    for sample, one, all_ in zip(elsewhere.samples, elsewhere.alone.results, elsewhere.first.results, strict=True):
        if None not in (one.results, all_.results) and one.results != all_.results:
            rule = "a deterministic backend must give the same bits on one processor as on all"
            remedy = "divide no sum by threads, or have `version()` name their number, or leave out `deterministic`"
            yield violation(rule, "others", remedy, str(sample))
