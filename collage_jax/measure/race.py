"""Timing several callables against each other on a machine whose speed drifts.

They run in turn, in an order that alternates, so that drift hits all alike; what counts is the ratio within a round.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Mapping
from typing import Any, TypeVar

import jax
import numpy as np

Name = TypeVar("Name", bound=Hashable)

#: A contender this many times slower than the best at its first run is not run again.
HOPELESS = 3.0
#: A block of calls is long enough for the clock and short enough to meet the same machine as its neighbours.
BLOCK_S = 0.0005


def time_once(call: Callable[[], Any]) -> float:
    """Seconds of one call, its results waited for."""
    start = time.perf_counter()
    jax.block_until_ready(call())
    return time.perf_counter() - start


def race(
    contenders: Mapping[Name, Callable[[], Any]],
    *,
    rounds: int,
    seconds: float,
    deadline: float = float("inf"),
    hopeless: float = HOPELESS,
) -> dict[Name, np.ndarray]:
    """Seconds per call of each contender, one figure a round; all have been called before.

    At least one round is run, at most ``rounds``, and none begins after ``seconds`` or past ``deadline`` (of
    ``time.perf_counter``). The hopeless have one figure, the others equally many.
    """
    begin = time.perf_counter()
    first = {name: time_once(call) for name, call in contenders.items()}
    best = min(first.values())
    running = {name: call for name, call in contenders.items() if first[name] <= hopeless * best}
    repeats = int(np.clip(BLOCK_S / max(best, 1e-7), 1, 50))
    times: dict[Name, list[float]] = {name: [] for name in running}
    for i in range(rounds):
        order = list(running) if i % 2 == 0 else list(reversed(running))
        for name in order:
            call = running[name]
            start = time.perf_counter()
            for _ in range(repeats):
                result = call()
            jax.block_until_ready(result)
            times[name].append((time.perf_counter() - start) / repeats)
        now = time.perf_counter()
        if now - begin > seconds or now > deadline:
            break
    return {name: np.array(times.get(name, [first[name]])) for name in contenders}


def quartile_spread(samples: np.ndarray) -> float:
    """Distance between the quartiles."""
    low, high = np.percentile(samples, [25, 75])
    return float(high - low)
