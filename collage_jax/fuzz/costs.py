"""Costs that are drawn: nothing is timed, and kernels run wherever a backend takes a region.

What a region costs on a backend follows from a seed, the region and the backend's name alone, so that equal regions are
placed alike in any process, and in a program that was cut down.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from ..backends import registry
from ..candidates import XLA
from ..costs import Cost, CostKey, Measured
from ..database import Database

XLA_US = 1e6
#: What is not to be chosen.
NEVER_US = 1e9
#: Share of the seeds that leave a backend out; runtimes, which would take everything, are left out of most.
LEFT_OUT, RUNTIMES_LEFT_OUT = 0.2, 0.9
#: Share of a backend's regions that it loses to others.
LOST = 0.08


class DrawnCosts(Database):
    """Drawn costs in memory, each kernel's below XLA's. Decisions are not kept."""

    def __init__(self, seed: int, runtimes: bool = True) -> None:
        super().__init__(None)
        self._seed = seed
        self._runtimes_left_out = RUNTIMES_LEFT_OUT if runtimes else 1.0
        self._runtimes = {b.name for b in registry.backends() if b.kind == "graph-runtime"}

    def get_many(self, keys: Iterable[CostKey]) -> dict[CostKey, Cost]:
        return {key: self._drawn(key) for key in keys}

    def put(self, key: CostKey, cost: Cost) -> None:
        """Nothing is measured."""

    def decision(self, key: str) -> str | None:
        return None

    def _drawn(self, key: CostKey) -> Cost:
        share = self._share(key.region, key.backend)
        if key.backend == XLA:
            return Measured(XLA_US * (1 + share))
        left_out = self._runtimes_left_out if key.backend in self._runtimes else LEFT_OUT
        if share < LOST or self._share("", key.backend) < left_out:
            return Measured(NEVER_US)
        return Measured(1 + 10 * share)

    def _share(self, region: str, backend: str) -> float:
        """A number from 0 to 1, the same in any process."""
        digest = hashlib.sha256(f"{self._seed} {region} {backend}".encode()).digest()
        return int.from_bytes(digest[:6], "big") / 2**48
