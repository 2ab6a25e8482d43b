"""Timing of several functions against each other on a machine whose speed drifts."""

import time
from collections.abc import Callable, Sequence

import jax
import numpy as np

LEAST_ROUNDS = 5  # fewer say nothing about the spread


def interleaved(
    fns: Sequence[Callable[[], object]], rounds: int, seconds: float = float("inf"), calls: int = 1
) -> tuple[np.ndarray, ...]:
    """Times each of `fns` once a round, in turn, so that drift falls on all of them alike.

    `fns` take no arguments and are warm: compile and tune them before. Every second round runs in the opposite
    order, because what comes first in a round finds other cache contents. A timed block is `calls` calls, each
    waited for. Stops after `rounds` rounds, or earlier once `seconds` have passed and there are five.

    Returns one float64 array per function, all `(rounds run,)`: seconds a call. The entries of one round are
    neighbours in time: take ratios between them, then the median of the ratios.
    """
    samples: list[list[float]] = [[] for _ in fns]
    begin = time.perf_counter()
    for done in range(rounds):
        if done >= LEAST_ROUNDS and time.perf_counter() - begin > seconds:
            break
        order = range(len(fns)) if done % 2 == 0 else reversed(range(len(fns)))
        for i in order:
            samples[i].append(_block_seconds(fns[i], calls))
    return tuple(np.array(values) for values in samples)


def _block_seconds(fn, calls):
    start = time.perf_counter()
    for _ in range(calls):
        jax.block_until_ready(fn())
    return (time.perf_counter() - start) / calls


def quartiles(values: np.ndarray) -> tuple[float, float, float]:
    """The 25, 50 and 75 per cent points of `values`."""
    low, median, high = np.percentile(values, (25, 50, 75))
    return float(low), float(median), float(high)
