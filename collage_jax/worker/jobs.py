"""What is asked of a worker, and what it answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..costs import Cost, CostKey
from ..placement import Placement
from ..tuning.stages import Barred, Settings


@dataclass(frozen=True, eq=False)
class Job:
    """Place the closed jaxpr ``program`` whose inputs numbered ``frozen`` are frozen.

    ``backends`` is what ``registry.portable`` gave; ``configuration`` are JAX's settings. With ``pinned``, check that
    placement instead.
    """

    program: Any
    frozen: tuple[int, ...]
    arguments: Sequence[Any]
    settings: Settings
    configuration: Mapping[str, Any]
    backends: tuple[Mapping[str, Any], Mapping[str, Any]]
    pinned: Placement | None = None


@dataclass(frozen=True)
class Go:
    """Begin with the job that was sent, with what was learnt from earlier tries; end by ``deadline``.

    The clock is ``time.monotonic``'s, which the processes of a machine share.
    """

    barred: Barred
    deadline: float


@dataclass(frozen=True)
class Ask:
    """Which of these costs are known? Answered with a mapping."""

    keys: tuple[CostKey, ...]


@dataclass(frozen=True)
class Tell:
    """A cost was found."""

    key: CostKey
    cost: Cost


@dataclass(frozen=True)
class Progress:
    """Tuning has come to ``done`` of ``total`` of ``what``."""

    what: str
    done: int
    total: int


@dataclass(frozen=True)
class Done:
    """The placement, or what went wrong in a way that is our own fault."""

    placement: Placement | None
    failure: str = ""
