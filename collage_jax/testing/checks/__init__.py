"""The rules of the contract, one module for each; ``CHECKS`` has them by name, in the order in which they are made.

A check takes the subject and gives the rules broken. ``Skipped`` says that it cannot be made here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from ..findings import Violation
from ..subject import Subject
from .agreement import check_agreement
from .cases import check_cases
from .description import check_description
from .determinism import check_determinism
from .export import check_export
from .frozen import check_frozen
from .honesty import check_honesty
from .processes import check_cache, check_processes
from .refusals import check_refusals
from .threads import check_threads
from .transformations import check_transformations

Check = Callable[[Subject], Iterator[Violation]]

CHECKS: Mapping[str, Check] = {
    "description": check_description,
    "refusals": check_refusals,
    "cases": check_cases,
    "honesty": check_honesty,
    "agreement": check_agreement,
    "determinism": check_determinism,
    "threads": check_threads,
    "frozen": check_frozen,
    "transformations": check_transformations,
    "export": check_export,
    "processes": check_processes,
    "cache": check_cache,
}
