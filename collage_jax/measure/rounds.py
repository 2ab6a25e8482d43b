"""What programs took in the rounds of several races, and which are still close to the best.

Within a round the machine is equally fast for all, from one to the next it is not: programs are compared by their
ratios within rounds that they share.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

#: After so many rounds, a program that takes more than ``NEAR`` times what the best takes is out of the race; before,
#: one that takes more than ``FAR`` times as much.
ENOUGH, NEAR, FAR = 3, 1.06, 1.5


class Rounds:
    """Seconds of programs by name, round after round."""

    def __init__(self) -> None:
        self._rounds: list[dict[str, float]] = []

    def add(self, times: Mapping[str, np.ndarray]) -> None:
        """The rounds of one race. Who has fewer figures than others took part in the first rounds alone."""
        for i in range(max(map(len, times.values()), default=0)):
            self._rounds.append({name: float(samples[i]) for name, samples in times.items() if i < len(samples)})

    def shared(self, names: Sequence[str]) -> dict[str, np.ndarray]:
        """The figures of the rounds in which all of ``names`` took part."""
        rounds = [r for r in self._rounds if all(name in r for name in names)]
        return {name: np.array([r[name] for r in rounds]) for name in names}

    def median_s(self, name: str) -> float | None:
        """The median of all that a program took, in seconds; None if it never ran."""
        samples = [r[name] for r in self._rounds if name in r]
        return float(np.median(samples)) if samples else None

    def ratio(self, name: str, other: str) -> float:
        """How many times as long as ``other`` a program takes; NaN if they never met."""
        met = self.shared([name, other])
        return float(np.median(met[name] / met[other])) if len(met[name]) else float("nan")

    def close(self, names: Iterable[str]) -> list[str]:
        """Those of ``names`` that may yet be the best, the likeliest first."""
        names = list(names)
        if not names:
            return []
        pivot = max(names, key=lambda name: sum(name in r for r in self._rounds))
        ratios = {name: self.ratio(name, pivot) for name in names}
        known = sorted((name for name in names if ratios[name] == ratios[name]), key=ratios.__getitem__)
        unknown = [name for name in names if name not in known]
        if not known:
            return unknown
        least = ratios[known[0]]

        def may_win(name: str) -> bool:
            met = len(self.shared([name, pivot])[name])
            return ratios[name] <= (NEAR if met >= ENOUGH else FAR) * least

        return [*filter(may_win, known), *unknown]
