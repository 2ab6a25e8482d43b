"""What is kept of a cost, when it counts, and which of two for the same key is the better one."""

from __future__ import annotations

import math
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any, TypeAlias

from ..costs import STAGES, Cost, CostKey, Failed, Measured

#: Stages of failures that the machine's load can cause. They are forgotten after ``PASSING_S`` seconds.
PASSING_STAGES = ("crash", "timeout")
PASSING_S = 7 * 24 * 3600.0

#: Stages of failures that are kept. A spent budget says nothing about the kernel.
KEPT_STAGES = tuple(stage for stage in STAGES if stage != "budget")

#: ``median_us``, ``spread_us``, ``runs``, ``error``, ``note``, ``stage`` and ``reason``, as SQLite has them.
CostColumns: TypeAlias = tuple[Any, Any, Any, Any, Any, Any, Any]


@dataclass(frozen=True)
class Record:
    """A cost with its key and the time it was found, in seconds since 1970."""

    key: CostKey
    cost: Cost
    written_s: float


@dataclass(frozen=True)
class Decision:
    """A JSON text with its program's key and the time it was decided, in seconds since 1970."""

    key: str
    text: str
    written_s: float


def flaw(cost: Cost) -> str | None:
    """Why ``cost`` cannot be kept, as rule and value; None if it can."""
    if isinstance(cost, Failed):
        if cost.stage not in KEPT_STAGES:
            return f"stage must be one of {', '.join(KEPT_STAGES)}, got {cost.stage!r}"
        return None if isinstance(cost.reason, str) else f"reason must be text, got {cost.reason!r}"
    for name in ("median_us", "spread_us", "error"):
        value = getattr(cost, name)
        if not (is_amount(value) or (name == "error" and value is None)):
            return f"{name} must be a finite number, 0 or more, got {value!r}"
    if not (isinstance(cost.runs, Integral) and is_amount(cost.runs) and cost.runs < 2**63):
        return f"runs must be a whole number, 0 or more, got {cost.runs!r}"
    return None if isinstance(cost.note, str) else f"note must be text, got {cost.note!r}"


def is_amount(value: object) -> bool:
    """True for a finite number that is not negative."""
    if isinstance(value, bool) or not isinstance(value, Real):
        return False
    try:
        return 0 <= float(value) < math.inf
    except OverflowError:
        return False


def to_columns(cost: Cost) -> CostColumns:
    """``cost``, which has no flaw, as columns."""
    if isinstance(cost, Failed):
        return None, None, None, None, None, cost.stage, storable(cost.reason)
    error = None if cost.error is None else float(cost.error)
    return float(cost.median_us), float(cost.spread_us), int(cost.runs), error, storable(cost.note), None, None


def from_columns(columns: CostColumns) -> Cost | None:
    """The cost that ``columns`` hold; None if it makes no sense."""
    median_us, spread_us, runs, error, note, stage, reason = columns
    if (median_us is None) == (stage is None):
        return None
    cost = Measured(median_us, spread_us, runs, error, note) if stage is None else Failed(stage, reason)
    return cost if flaw(cost) is None else None


def storable(text: str) -> str:
    """``text`` without what UTF-8 cannot hold: messages may carry halves of surrogate pairs, from undecodable bytes."""
    return text.encode("utf8", "backslashreplace").decode("utf8")


def is_past(record: Record, now_s: float) -> bool:
    """True if ``record`` no longer counts."""
    # A clock may have been wrong: a failure from next year would otherwise stay until then.
    is_passing = isinstance(record.cost, Failed) and record.cost.stage in PASSING_STAGES
    return is_passing and abs(now_s - record.written_s) > PASSING_S


def strength(record: Record) -> tuple[int, int, float]:
    """Of two records for one key, that of greater strength is kept when databases are merged.

    A wrong result counts more than any time, for results must be right. A time counts more than any other failure,
    which may be one machine's own trouble; of two times, that of more runs. Among equals the later one is kept.
    """
    cost = record.cost
    if isinstance(cost, Measured):
        return 2, cost.runs, record.written_s
    return {"verify": 3, "crash": 0, "timeout": 0}.get(cost.stage, 1), 0, record.written_s
