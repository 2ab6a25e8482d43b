"""What a candidate costs, under which circumstances that was found, and where it is remembered.

A cost is ``Measured`` or ``Failed``, never NaN and never a magic number. Where nothing can be measured
it is ``Estimated``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias, TypeGuard


@dataclass(frozen=True)
class Measured:
    """A time, in microseconds: ``median_us`` over ``runs`` runs, with the distance between quartiles as ``spread_us``.

    ``error`` is the largest absolute difference from XLA's result relative to the largest absolute result; None where
    nothing was compared (XLA itself). ``recalled`` is True for a cost that was known before.
    """

    median_us: float
    spread_us: float = 0.0
    runs: int = 1
    error: float | None = None
    note: str = ""
    recalled: bool = field(default=False, compare=False)

    @property
    def has_time(self) -> bool:
        """False where ``median_us`` stands for nothing, for operations that were not timed alone."""
        return self.runs > 0


@dataclass(frozen=True)
class Estimated(Measured):
    """A time that a model gives for a device that is not here: nothing ran. ``note`` says what the model counted."""

    runs: int = 0

    @property
    def has_time(self) -> bool:
        return True


STAGES = ("supports", "compile", "run", "verify", "crash", "timeout", "budget")


@dataclass(frozen=True)
class Failed:
    """Why there is no time.

    ``stage`` is where it ended: ``"supports"``, ``"compile"``, ``"run"`` or ``"verify"``, where results differ from
    XLA's. ``"crash"`` and ``"timeout"`` ended the process that measured; ``"budget"`` means that nothing was tried.
    """

    stage: str
    reason: str

    @property
    def was_tried(self) -> bool:
        """False where the budget did not reach so far, so that nothing is known."""
        return self.stage != "budget"


Cost: TypeAlias = Measured | Failed


def has_failed(cost: Cost | None) -> TypeGuard[Failed]:
    """True for the cost of a kernel that is known to be wrong, or not to work."""
    return isinstance(cost, Failed) and cost.was_tried


#: What code of others may raise without breaking the function: `sys.exit` too.
FAULTS = (Exception, SystemExit)


def told(error: BaseException) -> str:
    """What ``error`` is, in one line; whatever its own text does."""
    try:
        lines = str(error).strip().splitlines() or [""]
    except Exception:
        lines = ["its text cannot be had"]
    # What Python called by XLA raised comes as its whole traceback, the reason last.
    return f"{type(error).__name__}: {lines[-1] if 'Traceback' in lines[0] else lines[0]}"


@dataclass(frozen=True)
class CostKey:
    """Everything a cost depends on. ``region`` is the canonical hash of a region with its frozen entries marked."""

    region: str
    backend: str
    version: str
    jaxlib: str
    device: str
    settings: str


class CostStore(Protocol):
    """Where costs are kept. Reading and writing may happen from several threads."""

    def get_many(self, keys: Sequence[CostKey]) -> dict[CostKey, Cost]:
        """Those of ``keys`` that are known, with their costs."""
        ...

    def put(self, key: CostKey, cost: Cost) -> None: ...
