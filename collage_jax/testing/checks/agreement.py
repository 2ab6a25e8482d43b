"""Kernels compute what XLA computes."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from ..findings import Violation
from ..subject import Subject

violation = partial(Violation, "agreement")


def check_agreement(subject: Subject) -> Iterator[Violation]:
    """Every sample on every kind of input."""
    subject.require_usable()
    for sample in subject.working:
        found = subject.difference(sample)
        if found is not None:
            yield violation(found.rule, found.got, found.remedy, str(sample))
