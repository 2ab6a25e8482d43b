"""The candidates of one region compiled and compared with XLA."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeAlias

import jax

from .. import watch
from ..backends.base import Backend
from ..candidates import XLA, Candidate
from ..costs import FAULTS, Cost, CostKey, Failed, Measured, told
from . import clock as clocks
from . import reference
from .bounds import magnitudes
from .clock import since
from .compare import tolerance
from .conditioning import worst
from .inputs import draw
from .running import OtherForm, Runner, lowered
from .schedule import Group

#: How many times XLA's own first run a candidate's may take (and ``watch.RUN_S`` more) before it counts as hanging.
SLOWEST = 20.0

#: Where XLA takes longer than this, in seconds, it is not run again only to find out that it is the slower one.
SLOW_S = 0.02

UNCHECKED = "XLA itself cannot run this region alone"

#: In place of a backend's name: what stands for XLA.
STAND_IN = "stand-in"

KeyOf: TypeAlias = Callable[[Candidate], CostKey]


def step_of(candidate: Candidate, stage: str, key_of: KeyOf, limit_s: float | None) -> watch.Step:
    """What to announce while ``candidate`` compiles or runs."""
    return watch.Step(candidate.backend, stage, "+".join(candidate.region.ops), key_of(candidate), limit_s)


@dataclass(frozen=True, eq=False)
class Checked:
    """The candidates of one region by backend: costs of those that failed, runners and errors of those that are right.

    ``arrays`` are what to time them on. ``took`` has the seconds that XLA took, if that is slow and the host's clock
    counts; ``reference_s`` are those of what was compared with, XLA or what stands for it. Where XLA would take too
    long to be run, its cost is among ``costs`` too, an estimate.
    """

    costs: dict[str, Cost]
    runners: dict[str, Runner]
    errors: dict[str, float]
    arrays: list[Any]
    took: dict[str, float]
    reference_s: float = 0.0


def checked(group: Group, backends: Mapping[str, Backend], key_of: KeyOf, one_by_one: bool) -> Checked:
    """Compile the candidates of one region and check them against XLA, or what stands for it (``reference``)."""
    costs: dict[str, Cost] = {}
    region = group[XLA].region
    arrays = draw(region.entries)
    xla_s = reference.work_s(region.nodes)
    if xla_s >= reference.TOO_LABORIOUS_S:
        costs[XLA] = Measured(xla_s * 1e6, runs=0, note=reference.ESTIMATED)
        if len(group) == 1:
            return Checked(costs, {}, {}, arrays, {})
    compiled = {name: candidate for name, candidate in group.items() if name not in costs}
    if xla_s >= reference.LABORIOUS_S:
        compiled[STAND_IN] = group[XLA]
    runners = _compiled(compiled, {**backends, STAND_IN: reference.BY_PRODUCTS}, key_of, arrays, costs, one_by_one)
    costs.pop(STAND_IN, None)
    stand_in = runners.pop(STAND_IN, None)
    wanted = stand_in or runners.get(XLA)
    if wanted is None:
        costs |= {name: Failed("verify", UNCHECKED) for name in runners}
        return Checked(costs, {}, {}, arrays, {})
    errors: dict[str, float] = {}
    try:
        if any(name != XLA for name in runners):
            _verify(group, wanted, runners, costs, errors, draw(region.entries, "wide"), key_of)
        took_s = _verify(group, wanted, runners, costs, errors, arrays, key_of)
    except _ReferenceFailed as error:
        costs[XLA] = Failed("run", told(error.__cause__ or error))
        costs |= {name: Failed("verify", UNCHECKED) for name in runners if name != XLA}
        return Checked(costs, {}, {}, arrays, {})
    is_known = stand_in is None and took_s >= SLOW_S and clocks.for_regions() is clocks.HOST
    took = {XLA: took_s} if is_known else {}
    return Checked(costs, runners, errors, arrays, took, took_s)


def _compiled(
    group: Group,
    backends: Mapping[str, Backend],
    key_of: KeyOf,
    arrays: Sequence[Any],
    costs: dict[str, Cost],
    one_by_one: bool,
) -> dict[str, Runner]:
    """The candidates that can be compiled; why the others cannot goes to ``costs``."""
    runners: dict[str, Runner] = {}
    with ThreadPoolExecutor(2) as pool:
        # Tracing stays on this thread, which alone holds the caller's JAX settings; compiling does not need them.
        building: dict[str, Future[Runner]] = {}
        for name, candidate in group.items():
            step = step_of(candidate, "compile", key_of, None if candidate.backend == XLA else watch.COMPILE_S)
            try:
                with watch.at(step):
                    traced = lowered(candidate, backends[name], arrays)
                building[name] = pool.submit(_announced, step, traced)
                if one_by_one:
                    wait([building[name]])
            except OtherForm as error:
                costs[name] = Failed("verify", str(error))
            except FAULTS as error:
                costs[name] = Failed("compile", told(error))
        for name, future in building.items():
            try:
                runners[name] = future.result()
            except FAULTS as error:
                costs[name] = Failed("compile", told(error))
    return runners


def _announced(step: watch.Step, compiling: Callable[[], Runner]) -> Runner:
    with watch.at(step):
        return compiling()


class _ReferenceFailed(Exception):
    """XLA could not run the region; why is the cause."""


def _verify(
    group: Group,
    reference: Runner,
    runners: dict[str, Runner],
    costs: dict[str, Cost],
    errors: dict[str, float],
    arrays: Sequence[Any],
    key_of: KeyOf,
) -> float:
    """Move runners whose results differ from ``reference``'s on ``arrays`` to ``costs``; the seconds that it took."""
    begin = time.perf_counter()
    try:
        with watch.at(step_of(group[XLA], "run", key_of, None)):
            wanted = jax.block_until_ready(reference.ready(arrays)())
    except Exception as error:
        raise _ReferenceFailed from error
    took_s = since(begin)
    limit_s = watch.RUN_S + SLOWEST * took_s

    def again(others: Sequence[Any]) -> Sequence[Any]:
        with watch.at(step_of(group[XLA], "run", key_of, None)):
            return jax.block_until_ready(reference.ready(others)())

    @cache  # once for all that differ
    def hidden() -> Sequence[float]:
        with watch.at(step_of(group[XLA], "run", key_of, None)):
            return magnitudes(group[XLA].region, arrays)

    for name in [n for n in runners if n != XLA]:
        try:
            with watch.at(step_of(group[name], "run", key_of, limit_s)):
                got = jax.block_until_ready(runners[name].ready(arrays)())
            error, most = worst(tolerance(group[XLA].region), got, wanted, again, arrays, hidden)
        except FAULTS as failure:
            costs[name] = Failed("run", told(failure))
            del runners[name]
            continue
        errors[name] = max(error, errors.get(name, 0.0))
        if not error <= most:
            differs = f"differs from XLA by {error:.2e} of the largest output; {most:.2e} allowed"
            costs[name] = Failed("verify", differs)
            del runners[name]
    return took_s
