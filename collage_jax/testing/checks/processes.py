"""A program is the same in any process, and stays right when another one finds it compiled."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from functools import partial

from ...measure.inputs import draw
from ..findings import Skipped, Violation
from ..fresh import Ended
from ..kernels import bits, compiled, forms, run
from ..samples import Sample
from ..subject import Subject

RULE = "a lowered program must be the same in any process"
REMEDY = "give calls attributes that stand on their own: shapes and versions, no addresses, no counters"
WORKS = "a backend must work in another process"


def check_processes(subject: Subject) -> Iterator[Violation]:
    """Lowered twice here and once in a fresh process: the same text; and the same version there."""
    violation = partial(Violation, "processes")
    subject.require_usable()
    texts: dict[Sample, str] = {}
    for sample, kernel in subject.sampled:
        texts[sample] = kernel.text
        again = compiled(subject.backend.emit(sample.region), forms(sample.region.entries)).text
        if again != kernel.text:
            yield violation(RULE, f"another when lowered again: {_change(kernel.text, again)}", REMEDY, str(sample))
    try:
        elsewhere = subject.elsewhere
    except Ended as end:
        yield violation(WORKS, str(end), "keep nothing that only one process has")
        return
    first = elsewhere.first
    if first.unusable:
        yield violation("a backend must be available in any process of this machine", first.unusable, "see `adopt`")
        return
    # Without its file a backend's own version, if it gives none, is another.
    if not elsewhere.by_value and first.version != (here := subject.backend.version()):
        got = f"{here!r} here and {first.version!r} in another"
        remedy = "leave out addresses and times: costs are kept under it"
        yield violation("`version()` must be the same in any process", got, remedy)
    for sample, result in zip(elsewhere.samples, first.results, strict=True):
        if result.failure:
            yield violation(WORKS, result.failure, "give what it needs with `portable` and `adopt`", str(sample))
        elif result.text != texts[sample]:
            got = f"another in a fresh process: {_change(texts[sample], result.text)}"
            yield violation(RULE, got, REMEDY, str(sample))


def check_cache(subject: Subject) -> Iterator[Violation]:
    """What one process compiled gives another the same bits, and both give those of this process."""
    violation = partial(Violation, "cache")
    subject.require_usable()
    try:
        elsewhere = subject.elsewhere
    except Ended:  # the check of processes reports it
        return
    kernels = dict(subject.sampled)
    first, second = elsewhere.first, elsewhere.second
    for sample, made, found in zip(elsewhere.samples, first.results, second.results, strict=True):
        if made.results is None:
            continue  # it failed, or differs from run to run: other checks report that
        if found.failure or found.results not in (made.results, None):
            rule = "a program found compiled must give the bits that it gave when it was compiled"
            remedy = "let calls look up nothing by number or address, and hold the version of the code"
            yield violation(rule, found.failure or "others", remedy, str(sample))
        elif bits(run(kernels[sample], draw(sample.region.entries))) != made.results:
            remedy = "let a kernel depend on its operands and attributes alone"
            yield violation("a kernel must give the same bits in any process", "others", remedy, str(sample))
    if kernels and not second.found_compiled:
        raise Skipped("JAX keeps none of these programs in its compilation cache")


def _change(one: str, other: str) -> str:
    """The first lines that differ, as far as they do."""
    for a, b in zip(one.splitlines(), other.splitlines(), strict=False):
        if a != b:
            match = difflib.SequenceMatcher(None, a, b, autojunk=False).get_matching_blocks()[0]
            start = max(0, match.size - 20) if match.a == match.b == 0 else 0
            return f"{a[start : start + 80]!r} is {b[start : start + 80]!r}"
    return "one is longer"
