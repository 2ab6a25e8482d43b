"""Timing several callables against each other on a machine whose speed drifts.

They run in turn, in an order that alternates, so that drift hits all alike; what counts is the ratio within a round.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType
from typing import Any, TypeVar

import numpy as np

from .. import watch
from .clock import HOST, Clock

Name = TypeVar("Name", bound=Hashable)

#: A contender this many times slower than the best at its first run is not run again.
HOPELESS = 3.0
#: A block of calls is long enough for the clock and short enough to meet the same machine as its neighbours.
BLOCK_S = 0.0005

#: First runs shorter than this are repeated.
UNLUCKY_S = 0.02


class BrokeDown(Exception):
    """The contender called ``name`` raised while it ran; what it raised is the cause."""

    def __init__(self, name: Hashable) -> None:
        super().__init__(f"{name} raised while it was timed")
        self.name: Any = name


def race(
    contenders: Mapping[Name, Callable[[], Any]],
    *,
    rounds: int,
    seconds: float,
    deadline: float = float("inf"),
    hopeless: float = HOPELESS,
    rivals: Callable[[Name], Hashable] = lambda name: None,
    step: Callable[[Name], watch.Step | None] = lambda name: None,
    took: Mapping[Name, float] = MappingProxyType({}),
    clock: Clock = HOST,
) -> dict[Name, np.ndarray]:
    """Seconds per call of each contender, one figure a round; all have been called before.

    At least one round is run, at most ``rounds``, and none begins after ``seconds`` or past ``deadline`` (of
    ``time.perf_counter``). Contenders with equal ``rivals(name)`` do the same work: the hopeless among them have one
    figure, all others equally many. ``step(name)`` is what to announce while it runs. ``took`` has seconds of calls
    that need not be run to find out whether they are hopeless. ``clock`` takes the time of each, and what it needs has
    been compiled into them. Raises ``BrokeDown`` if one raises.
    """
    begin = time.perf_counter()
    first: dict[Name, float] = {}
    for name, call in contenders.items():
        if name in took:
            first[name] = took[name]
            continue
        with _blaming(name, step):
            first[name] = clock.seconds(call)
            if first[name] < UNLUCKY_S:
                # A short run may have been interrupted by something else; nobody is judged by a single one.
                first[name] = min(first[name], clock.seconds(call), clock.seconds(call))
    best: dict[Hashable, float] = {}
    for name, seconds_once in first.items():
        best[rivals(name)] = min(seconds_once, best.get(rivals(name), seconds_once))
    running = [name for name in contenders if first[name] <= hopeless * best[rivals(name)]]
    repeats = {name: int(np.clip(BLOCK_S / max(first[name], 1e-7), 1, 50)) for name in running}
    times: dict[Name, list[float]] = {name: [] for name in running}
    for i in range(rounds):
        for name in running if i % 2 == 0 else reversed(running):
            with _blaming(name, step):
                times[name].append(clock.seconds(contenders[name], repeats[name]))
        now = time.perf_counter()
        if now - begin > seconds or now > deadline:
            break
    return {name: np.array(times.get(name, [first[name]])) for name in contenders}


@contextmanager
def _blaming(name: Any, step: Callable[[Any], watch.Step | None]) -> Iterator[None]:
    watch.announce(step(name))
    try:
        yield
    except Exception as error:
        raise BrokeDown(name) from error
    finally:
        watch.announce(None)


def quartile_spread(samples: np.ndarray) -> float:
    """Distance between the quartiles."""
    low, high = np.percentile(samples, [25, 75])
    return float(high - low)
