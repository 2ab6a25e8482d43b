"""The same inputs give the same bits."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from ...measure.inputs import draw
from ..findings import Violation
from ..kernels import bits, compiled, forms, run
from ..subject import Subject

violation = partial(Violation, "determinism")

#: Runs of one kernel on the same arrays.
RUNS = 3


def check_determinism(subject: Subject) -> Iterator[Violation]:
    """A kernel run again, then one emitted again."""
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
