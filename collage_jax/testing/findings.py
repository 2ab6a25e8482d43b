"""What the contract found: rules that a backend breaks, as data and as an error that says all of them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from unittest import SkipTest

#: Places named for one broken rule; the rest is counted.
NAMED = 4


@dataclass(frozen=True)
class Violation:
    """A rule broken: ``got`` is what was done instead, ``where`` the program and region, ``remedy`` a way out."""

    check: str
    rule: str
    got: str
    remedy: str
    where: str = ""

    def __str__(self) -> str:
        place = f" ({self.where})" if self.where else ""
        return f"{self.check}: {self.rule}, got {self.got}{place}; {self.remedy}"


class ContractViolation(AssertionError):
    """A backend breaks its contract. ``violations`` has every rule and place; the message names some of each."""

    def __init__(self, backend: str, violations: Sequence[Violation]) -> None:
        self.violations = tuple(violations)
        by_rule: dict[tuple[str, str], list[Violation]] = defaultdict(list)
        for violation in violations:
            by_rule[violation.check, violation.rule].append(violation)
        lines = [f"the backend {backend!r} breaks its contract:"]
        for found in by_rule.values():
            lines += [f"  {violation}" for violation in found[:NAMED]]
            if len(found) > NAMED:
                lines.append(f"  ... and so in {len(found) - NAMED} other places")
        super().__init__("\n".join(lines))


class Skipped(SkipTest):
    """A check that cannot be made here; why is the message. Test runners count it as skipped."""


@dataclass(frozen=True)
class Report:
    """A backend that keeps its contract: the checks made, those left out with reasons, the regions that were run."""

    backend: str
    passed: tuple[str, ...]
    skipped: Mapping[str, str]
    regions: tuple[str, ...]


def said(error: BaseException) -> str:
    """``error`` in a line."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    # What Python raised below XLA comes with its whole traceback, the reason last.
    text = (lines[-1] if "Traceback" in lines[0] else lines[0]) if lines else ""
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
