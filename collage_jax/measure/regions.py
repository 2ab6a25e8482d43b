"""Costs of candidates: check against XLA first, then time against each other.

Each distinct region (by its canonical key) is compiled, checked and timed once, and every equal one shares the result.
Those of a family (``schedule``) are timed in the same rounds: whether to fuse is decided by differences that the
machine's drift would otherwise hide.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

import jax
import numpy as np

from .. import watch
from ..backends.base import Backend
from ..candidates import XLA, Candidate, is_view
from ..costs import FAULTS, Cost, CostStore, Failed, Measured, told
from . import clock as clocks
from . import schedule
from .checking import UNCHECKED, KeyOf, checked, step_of
from .clock import Clock
from .race import BrokeDown, quartile_spread, race
from .schedule import Group

ROUNDS = 15
SECONDS_PER_REGION = 0.2


def measure(
    candidates: Iterable[Candidate],
    backends: Mapping[str, Backend],
    store: CostStore,
    key_of: KeyOf,
    deadline: float,
    one_by_one: bool = False,
) -> Iterator[tuple[Group, Mapping[str, Cost]]]:
    """The candidates of each distinct region with their costs by backend, as they become known.

    What ``store`` knows is not measured again; past ``deadline`` (of ``time.perf_counter``) nothing is. ``one_by_one``
    compiles one candidate at a time, so that it is clear which one crashes.
    """
    groups: dict[str, dict[str, Candidate]] = {}
    uses: Counter[str] = Counter()
    for candidate in candidates:
        uses[candidate.key] += candidate.backend == XLA
        groups.setdefault(candidate.key, {}).setdefault(candidate.backend, candidate)
    pending: list[Group] = []
    recalled = store.get_many([key_of(c) for group in groups.values() for c in group.values()])
    for group in groups.values():
        known = {name: cost for name, c in group.items() if (cost := recalled.get(key_of(c))) is not None}
        if len(known) == len(group):
            yield group, {n: replace(c, recalled=True) if isinstance(c, Measured) else c for n, c in known.items()}
        elif isinstance(known.get(XLA), Failed):
            yield group, {n: known.get(n) or Failed("verify", UNCHECKED) for n in group}
        elif is_view(next(iter(group.values())).region):
            yield group, {XLA: Measured(0.0, runs=0, note="free: shapes only")}
        else:
            # What failed before would fail again. Times are comparable within one race only: they are taken anew.
            failed = {name: c for name, c in known.items() if isinstance(c, Failed) and name != XLA}
            if failed:
                yield group, failed
            pending.append({name: c for name, c in group.items() if name not in failed})
    for again in (False, True):
        waiting, pending = pending, []
        if again:
            deadline = schedule.second_deadline(deadline)
        for family, until in schedule.shares(waiting, uses, deadline, unlimited=again):
            costs = measure_family(family, backends, key_of, deadline, until, one_by_one)
            for group, found in zip(family, costs, strict=True):
                for name, cost in found.items():
                    if not isinstance(cost, Failed) or cost.was_tried:
                        store.put(key_of(group[name]), cost)
                if found:
                    yield group, found
                else:
                    pending.append(group)


def wrong(
    groups: Iterable[Group], backends: Mapping[str, Backend], key_of: KeyOf
) -> Iterator[tuple[Candidate, Failed]]:
    """The candidates of ``groups``, XLA's among each, that fail or differ from XLA, with reasons. Nothing is timed."""
    for group in groups:
        failed = checked(group, backends, key_of, one_by_one=True).costs
        yield from ((group[name], cost) for name, cost in failed.items() if isinstance(cost, Failed))


def measure_family(
    family: Sequence[Group],
    backends: Mapping[str, Backend],
    key_of: KeyOf,
    deadline: float,
    until: float,
    one_by_one: bool = False,
) -> list[dict[str, Cost]]:
    """Costs by backend for each group of ``family``; XLA must be among the candidates of each.

    Those not begun ``until`` then have none yet, nor have those that may wait (``schedule.may_wait``), unless ``until``
    is infinite. The first is always begun before ``deadline``.
    """
    costs: list[dict[str, Cost]] = []
    calls: dict[tuple[int, str], Callable[[], Any]] = {}
    errors: dict[tuple[int, str], float] = {}
    known: dict[tuple[int, str], Measured] = {}
    took: dict[tuple[int, str], float] = {}
    references: dict[int, float] = {}
    for i, group in enumerate(family):
        if time.perf_counter() > deadline:
            costs.append({name: Failed("budget", "not measured: the tuning budget was spent") for name in group})
            continue
        done = ((family[j], costs[j], seconds) for j, seconds in references.items())
        if i and until < math.inf and (time.perf_counter() > until or schedule.may_wait(group, done)):
            costs.append({})
            continue
        found = checked(group, backends, key_of, one_by_one)
        failed, runners = found.costs, found.runners
        costs.append(failed)
        references[i] = found.reference_s
        errors.update(((i, name), error) for name, error in found.errors.items())
        took.update(((i, name), seconds) for name, seconds in found.took.items())
        known.update(((i, name), own) for name in runners if (own := _own_cost(group[name], backends[name], failed)))
        timed = {n: r for n, r in runners.items() if n not in failed and (i, n) not in known}
        calls.update(((i, name), runner.ready(found.arrays)) for name, runner in timed.items())
    for (i, name), own in known.items():
        costs[i][name] = replace(own, error=errors.get((i, name)))

    def step(contender: tuple[int, str]) -> watch.Step | None:
        i, name = contender
        return None if name == XLA else step_of(family[i][name], "run", key_of, watch.RACE_S)

    for (i, name), samples in _times(calls, costs, SECONDS_PER_REGION * len(references), deadline, step, took).items():
        entries = len(family[i][name].region.entries)
        overhead = min(call_overhead_s(entries), 0.9 * float(np.median(samples)))
        median_us = (float(np.median(samples)) - overhead) * 1e6
        costs[i][name] = Measured(median_us, quartile_spread(samples) * 1e6, len(samples), errors.get((i, name)))
    return costs


def _times(
    calls: dict[tuple[int, str], Callable[[], Any]],
    costs: Sequence[dict[str, Cost]],
    seconds: float,
    deadline: float,
    step: Callable[[tuple[int, str]], watch.Step | None],
    took: Mapping[tuple[int, str], float],
) -> dict[tuple[int, str], np.ndarray]:
    """Race ``calls``; those that break down meanwhile go to ``costs`` and the others start again."""
    while calls:
        try:
            return race(
                calls,
                rounds=ROUNDS,
                seconds=seconds,
                deadline=deadline,
                rivals=lambda call: call[0],
                step=step,
                took=took,
                clock=clocks.for_regions(),
            )
        except BrokeDown as error:
            i, name = error.name
            costs[i][name] = Failed("run", told(error.__cause__ or error))
            del calls[i, name]
    return {}


def _own_cost(candidate: Candidate, backend: Backend, failed: dict[str, Cost]) -> Measured | None:
    """What the backend itself says of its kernel, if it does."""
    try:
        own = backend.cost(candidate.region)
        if own is not None and not (isinstance(own, Measured) and 0 <= own.median_us < float("inf")):
            raise TypeError(f"`cost` must return None or Measured with a time that is not negative, got {own!r}")
    except FAULTS as error:
        failed[candidate.backend] = Failed("run", f"`cost` failed: {told(error)}")
        return None
    return own


def call_overhead_s(arguments: int) -> float:
    """Seconds that a call of a compiled function with ``arguments`` small arrays takes, whatever it computes."""
    return _overhead_s(clocks.for_regions(), arguments)


@lru_cache
def _overhead_s(clock: Clock, arguments: int) -> float:
    nothing = clock.idle(arguments)
    jax.block_until_ready(nothing())
    samples = race({"nothing": nothing}, rounds=20, seconds=0.05, clock=clock)
    return float(np.min(samples["nothing"]))
