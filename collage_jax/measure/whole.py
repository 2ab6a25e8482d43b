"""Whole programs against XLA alone: the check that makes the promise of never being slower hold."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..lowering import Lowered
from .compare import largest_error
from .race import BrokeDown, race

XLA_ALONE = "xla alone"
ROUNDS = 11
SECONDS = 4.0
#: A placement must be faster than XLA by this much (and by more than the measurement's own spread) to be used.
MARGIN = 0.02
#: And by this many seconds: calls of the same program differ by as much from one minute to the next.
CALL_S = 3e-6
#: A program shorter than this must win a second time: what disturbs it may last for a whole race.
SHORT_S = 0.005
#: How often a placement that is faster by the median, but not beyond the spread, is timed once more beside XLA.
SECOND_CHANCES = 2
#: How far whole results may differ from XLA's, relative to the largest, by bytes of the widest float among them.
TOLERANCES = {1: 0.2, 2: 3e-2, 4: 5e-5, 8: 1e-10}


@dataclass(frozen=True, eq=False)
class Outcome:
    """``winner`` and ``lowered`` are None where XLA alone is used. Times are medians of the same rounds."""

    winner: str | None
    lowered: Lowered | None
    measured_us: float | None
    xla_us: float | None
    error: float | None
    notes: tuple[str, ...]


def decide(
    programs: Mapping[str, Callable[[], Lowered]],
    frozen: Sequence[Any],
    others: Sequence[Any],
    reference: Callable[[], Any],
    tolerance: float | None,
    deadline: float,
) -> Outcome:
    """Build, check and time ``programs`` beside ``reference()`` on the same arrays; the fastest that is right wins.

    A tie goes to XLA alone. ``reference()`` may return any tree of arrays. ``frozen`` feed the programs' preparation,
    ``others`` each call.
    """
    wanted = jax.tree.leaves(jax.block_until_ready(reference()))
    allowed = tolerance if tolerance is not None else default_tolerance(wanted)
    notes: list[str] = []
    if not all(map(_is_finite, wanted)):
        notes.append("jax.jit's results hold NaN or infinities here: only what is finite was compared.")
    lowered: dict[str, Lowered] = {}
    calls: dict[str, Callable[[], Any]] = {XLA_ALONE: reference}
    errors: dict[str, float] = {}
    for name, build in programs.items():
        try:
            lowered[name] = build()
            calls[name], errors[name] = _ready(lowered[name], frozen, others, wanted)
        except Exception as failure:
            notes.append(f"{name}: {type(failure).__name__}: {failure}")
            continue
        if not errors[name] <= allowed:
            notes.append(
                f"{name}: differs from jax.jit by {errors[name]:.1e} of the largest output; {allowed:.1e} allowed."
            )
            del calls[name]
    if len(calls) == 1:
        return Outcome(None, None, None, None, None, tuple(notes))
    remaining = max(0.5, deadline - time.perf_counter())
    times: dict[str, np.ndarray] = {}
    while len(calls) > 1 and not times:
        try:
            times = race(calls, rounds=ROUNDS, seconds=min(SECONDS, remaining), hopeless=6.0)
        except BrokeDown as failure:
            if failure.name == XLA_ALONE:
                raise
            notes.append(f"{failure.name}: failed while it was timed: {failure.__cause__}")
            del calls[failure.name]
    if not times:
        return Outcome(None, None, None, None, None, tuple(notes))
    medians = {name: float(np.median(samples)) for name, samples in times.items()}
    winner = min((n for n in calls if n != XLA_ALONE), key=medians.__getitem__)
    notes.append("Whole programs: " + ", ".join(f"{n} {m * 1e6:.1f} us" for n, m in medians.items()) + ".")
    ours, theirs = times[winner], times[XLA_ALONE]
    try:
        pair = {name: calls[name] for name in (winner, XLA_ALONE)}
        ours, theirs = _clearer(pair, ours, theirs, deadline)
        if _is_faster(ours, theirs) and float(np.median(theirs)) < SHORT_S:
            ours, theirs = race(pair, rounds=4 * ROUNDS, seconds=1.0, hopeless=np.inf).values()
    except BrokeDown as failure:
        if failure.name == XLA_ALONE:
            raise
        notes.append(f"{failure.name}: failed while it was timed: {failure.__cause__}")
        return Outcome(None, None, None, None, None, tuple(notes))
    ours_us, xla_us = float(np.median(ours)) * 1e6, float(np.median(theirs)) * 1e6
    if not _is_faster(ours, theirs):
        notes.append(f"{winner} took {ours_us:.1f} us, no clear gain over XLA alone, which is used.")
        return Outcome(None, None, xla_us, xla_us, None, tuple(notes))
    return Outcome(winner, lowered[winner], ours_us, xla_us, errors[winner], tuple(notes))


def stay(note: str) -> Outcome:
    """XLA alone, without a comparison."""
    return Outcome(None, None, None, None, None, (note,))


def trust(name: str, build: Callable[[], Lowered]) -> Outcome:
    """Use a program without running it: its costs were measured before, and nothing may be timed now."""
    try:
        lowered = build()
    except Exception as failure:
        return stay(f"{name}: {type(failure).__name__}: {failure}")
    return Outcome(name, lowered, None, None, None, ("Placed from known costs; nothing was timed.",))


def _ready(
    lowered: Lowered, frozen: Sequence[Any], others: Sequence[Any], wanted: Sequence[Any]
) -> tuple[Callable[[], Any], float]:
    prepared = jax.block_until_ready(jax.jit(lowered.prepare)(*frozen))
    compiled = jax.jit(lowered.run, keep_unused=True)
    got = jax.block_until_ready(compiled(prepared, *others))
    # Where XLA's own results are not finite, the arguments are at fault. Kernels have been checked on other inputs, and
    # a program must not be judged for good by such a call.
    pairs = [(g, w) if _is_finite(w) else _finite_alone(g, w) for g, w in zip(got, wanted, strict=True)]
    return (lambda: compiled(prepared, *others)), largest_error(*zip(*pairs, strict=True)) if pairs else 0.0


def _is_finite(array: Any) -> bool:
    return not jnp.issubdtype(array.dtype, jnp.inexact) or bool(jnp.isfinite(array).all())


def _finite_alone(got: Any, wanted: Any) -> tuple[Any, Any]:
    """Both with 0 wherever one of them is not finite."""
    both = jnp.isfinite(got) & jnp.isfinite(wanted)
    return jnp.where(both, got, 0), jnp.where(both, wanted, 0)


def _clearer(
    calls: Mapping[str, Callable[[], Any]], ours: np.ndarray, theirs: np.ndarray, deadline: float
) -> tuple[np.ndarray, np.ndarray]:
    """Samples of two programs, ours first, with more rounds while ours is faster by the median but not clearly."""
    for _ in range(SECOND_CHANCES):
        promising = float(np.median(ours)) < (1 - MARGIN) * float(np.median(theirs))
        if not promising or _is_faster(ours, theirs) or time.perf_counter() > deadline:
            break
        count = min(len(ours), len(theirs))
        more = race(calls, rounds=ROUNDS, seconds=SECONDS, deadline=deadline, hopeless=np.inf)
        ours, theirs = (np.append(old[:count], new) for old, new in zip((ours, theirs), more.values(), strict=True))
    return ours, theirs


def _is_faster(ours: np.ndarray, theirs: np.ndarray) -> bool:
    """True if ``ours`` beats ``theirs`` by more than the margins in the middle half of the rounds."""
    count = min(len(ours), len(theirs))
    if float(np.median(ours)) > float(np.median(theirs)) - CALL_S:
        return False
    if count < 3:
        return float(np.median(ours)) < (1 - MARGIN) * float(np.median(theirs))
    ratios = ours[:count] / theirs[:count]
    return float(np.percentile(ratios, 75)) < 1.0 and float(np.median(ratios)) < 1 - MARGIN


def default_tolerance(outputs: Sequence[Any]) -> float:
    """The tolerance for results of these dtypes: that of the narrowest inexact one."""
    sizes = [
        max(1, jnp.finfo(a.dtype).bits // 8)
        for a in outputs
        if jnp.issubdtype(getattr(a, "dtype", None) or "int32", jnp.inexact)
    ]
    return TOLERANCES[min(sizes)] if sizes else 0.0
