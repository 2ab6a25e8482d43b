"""Whole programs against XLA alone: the check that makes the promise of never being slower hold."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .. import watch
from ..lowering import Lowered
from .compare import largest_error
from .race import BrokeDown, race

XLA_ALONE = "xla alone"
ROUNDS = 11
SECONDS = 4.0
#: Programs that are close are told apart by more rounds, as many as there is time for.
MOST_ROUNDS, MOST_SECONDS = 40, 12.0
#: What is charged for a change between XLA and others, in seconds; and for all of a program, relative to its time.
CHANGE_S, CHANGES = 20e-6, 0.03
#: Where XLA alone takes longer than this, in seconds, it is timed once.
SLOW_S = 5.0
#: A placed program whose first run takes longer than this is not run again only to find out that it is hopeless.
HOPELESS_S = 1.0
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
#: A first run may take this many times that of XLA alone, and ``watch.COMPILE_S`` more, before it counts as hanging.
SLOWEST = 20.0


@dataclass(frozen=True, eq=False)
class Outcome:
    """``winner`` is None where XLA alone is used. Times are medians of the same rounds."""

    winner: str | None
    measured_us: float | None
    xla_us: float | None
    error: float | None
    notes: tuple[str, ...]


class Trials:
    """Programs that compute the same, built, checked against ``reference()`` and timed on the same arrays.

    ``reference()`` may return any tree of arrays. ``frozen`` feed the programs' preparation, ``others`` each call.
    ``tolerance`` None means the default of the results' dtypes. With ``xla_s`` the reference is not XLA alone, which
    would take about that many seconds, or more, and is not run.
    """

    def __init__(
        self,
        frozen: Sequence[Any],
        others: Sequence[Any],
        reference: Callable[[], Any],
        tolerance: float | None,
        xla_s: float | None = None,
    ) -> None:
        self._frozen, self._others = frozen, others
        begin = time.perf_counter()
        self._wanted = jax.tree.leaves(jax.block_until_ready(reference()))
        self._limit_s = watch.COMPILE_S + SLOWEST * (time.perf_counter() - begin)
        self._allowed = tolerance if tolerance is not None else default_tolerance(self._wanted)
        self._calls: dict[str, Callable[[], Any]] = {XLA_ALONE: reference}
        self._errors: dict[str, float] = {}
        self._took: dict[str, float] = {}
        #: Seconds that the last program took to build and check.
        self.build_s = 0.0
        self._unmeasured = {} if xla_s is None else {XLA_ALONE: np.array([xla_s])}
        self.notes: list[str] = []
        if xla_s is not None:
            self.notes.append(
                f"jax.jit itself was not run: its convolutions alone take it about {xla_s:.0f} s. Results were "
                "compared with the same program, its convolutions as products of matrices."
            )
        #: What programs took in the race that decided.
        self.medians_us: dict[str, float] = {}
        if not all(map(_is_finite, self._wanted)):
            self.notes.append("jax.jit's results hold NaN or infinities here: only what is finite was compared.")

    @property
    def names(self) -> list[str]:
        """The programs that are right."""
        return [name for name in self._calls if name != XLA_ALONE]

    def enter(self, name: str, build: Callable[[], Lowered]) -> bool:
        """Build and check a program; False, and a note why, if it cannot take part."""
        begin = time.perf_counter()
        try:
            with watch.at(self._step(name)):
                call, error, took_s = _ready(build(), self._frozen, self._others, self._wanted)
        except Exception as failure:
            self.notes.append(f"{name}: {type(failure).__name__}: {failure}")
            return False
        if not error <= self._allowed:
            self.notes.append(
                f"{name}: differs from jax.jit by {error:.1e} of the largest output; {self._allowed:.1e} allowed."
            )
            return False
        self._calls[name], self._errors[name] = call, error
        self.build_s = time.perf_counter() - begin
        if took_s > HOPELESS_S:
            self._took[name] = took_s
        return True

    def leave(self, name: str) -> None:
        """Forget a program and what was packed for it."""
        del self._calls[name], self._errors[name]
        self._took.pop(name, None)

    def race(self, names: Sequence[str], rounds: int, seconds: float, hopeless: float) -> dict[str, np.ndarray]:
        """Seconds per call of those of ``names`` that are there and do not break down, one figure a round."""
        known = {name: samples for name, samples in self._unmeasured.items() if name in names}
        running = {name: self._calls[name] for name in names if name in self._calls and name not in known}
        while running:
            try:
                times = race(
                    running, rounds=rounds, seconds=seconds, hopeless=hopeless, step=self._step, took=self._took
                )
                if XLA_ALONE in times and (took_s := float(np.median(times[XLA_ALONE]))) > SLOW_S:
                    self._took[XLA_ALONE] = took_s
                return times | known
            except BrokeDown as failure:
                if failure.name == XLA_ALONE:
                    raise
                self.notes.append(f"{failure.name}: failed while it was timed: {failure.__cause__}")
                self.leave(failure.name)
                del running[failure.name]
        return known

    def decide(self, deadline: float, changes: Callable[[str], int] = lambda name: 0) -> Outcome:
        """Time all programs beside XLA alone: the fastest wins, if it is clearly faster than XLA.

        ``changes(name)`` are those between XLA and others in a program; see ``fastest``.
        """
        if not self.names:
            return Outcome(None, None, None, None, tuple(self.notes))
        remaining = max(0.5, deadline - time.perf_counter())
        times = self.race([XLA_ALONE, *self.names], MOST_ROUNDS, min(MOST_SECONDS, remaining), hopeless=6.0)
        if not self.names:
            return Outcome(None, None, None, None, tuple(self.notes))
        medians = {name: float(np.median(samples)) for name, samples in times.items()}
        self.medians_us = {name: us * 1e6 for name, us in medians.items()}
        self.notes.append("Whole programs: " + ", ".join(f"{n} {m * 1e6:.1f} us" for n, m in medians.items()) + ".")
        winner = fastest({name: times[name] for name in self.names}, changes)
        ours, theirs = self._clearer(winner, times[winner], times[XLA_ALONE], deadline)
        if _is_faster(ours, theirs) and float(np.median(theirs)) < SHORT_S:
            again = self.race([winner, XLA_ALONE], 4 * ROUNDS, 1.0, hopeless=np.inf)
            ours, theirs = again.get(winner, ours), again[XLA_ALONE]
        if winner not in self._calls:  # it broke down meanwhile
            return Outcome(None, None, None, None, tuple(self.notes))
        ours_us, xla_us = float(np.median(ours)) * 1e6, float(np.median(theirs)) * 1e6
        if not _is_faster(ours, theirs):
            self.notes.append(f"{winner} took {ours_us:.1f} us, no clear gain over XLA alone, which is used.")
            return Outcome(None, xla_us, xla_us, None, tuple(self.notes))
        return Outcome(winner, ours_us, xla_us, self._errors[winner], tuple(self.notes))

    def _clearer(
        self, winner: str, ours: np.ndarray, theirs: np.ndarray, deadline: float
    ) -> tuple[np.ndarray, np.ndarray]:
        """Samples of two programs, ours first, with more rounds while ours is faster by the median but not clearly."""
        for _ in range(SECOND_CHANCES):
            promising = float(np.median(ours)) < (1 - MARGIN) * float(np.median(theirs))
            if not promising or _is_faster(ours, theirs) or time.perf_counter() > deadline:
                break
            count = min(len(ours), len(theirs))
            more = self.race([winner, XLA_ALONE], ROUNDS, SECONDS, hopeless=np.inf)
            if winner not in more:
                break
            ours = np.append(ours[:count], more[winner])
            theirs = np.append(theirs[:count], more[XLA_ALONE])
        return ours, theirs

    def _step(self, name: str) -> watch.Step:
        return watch.Step("", "program", ops=name, limit_s=None if name == XLA_ALONE else self._limit_s)


def fastest(times: Mapping[str, np.ndarray], changes: Callable[[str], int] = lambda name: 0) -> str:
    """The program that takes the least, by what it takes of the rounds that it shares with the others.

    A round is as long as the machine is slow in it, so that each counts alike. Programs with fewer rounds than others
    were hopeless at once. What a change between XLA and others costs differs from one minute to the next, and here it
    tends to be cheap: each is charged ``CHANGE_S`` more, all of them ``CHANGES`` of a program's time at most.
    """
    rounds = max(map(len, times.values()))
    shares = {name: np.log(samples) for name, samples in times.items() if len(samples) == rounds}
    usual = np.mean(list(shares.values()), axis=0)
    took = {name: float(np.exp(np.median(samples - usual) + np.mean(usual))) for name, samples in shares.items()}
    return min(took, key=lambda name: took[name] + min(CHANGE_S * changes(name), CHANGES * took[name]))


def stay(note: str) -> Outcome:
    """XLA alone, without a comparison."""
    return Outcome(None, None, None, None, (note,))


def _ready(
    lowered: Lowered, frozen: Sequence[Any], others: Sequence[Any], wanted: Sequence[Any]
) -> tuple[Callable[[], Any], float, float]:
    """A call of the program, how far its results are from those wanted, and the seconds of its first run."""
    prepared = jax.block_until_ready(jax.jit(lowered.prepare)(*frozen))
    compiled = jax.jit(lowered.run, keep_unused=True).lower(prepared, *others).compile()
    begin = time.perf_counter()
    got = jax.block_until_ready(compiled(prepared, *others))
    took_s = time.perf_counter() - begin
    # Where XLA's own results are not finite, the arguments are at fault. Kernels have been checked on other inputs, and
    # a program must not be judged for good by such a call.
    pairs = [(g, w) if _is_finite(w) else _finite_alone(g, w) for g, w in zip(got, wanted, strict=True)]
    return lambda: compiled(prepared, *others), largest_error(*zip(*pairs, strict=True)) if pairs else 0.0, took_s


def _is_finite(array: Any) -> bool:
    return not jnp.issubdtype(array.dtype, jnp.inexact) or bool(jnp.isfinite(array).all())


def _finite_alone(got: Any, wanted: Any) -> tuple[Any, Any]:
    """Both with 0 wherever one of them is not finite."""
    both = jnp.isfinite(got) & jnp.isfinite(wanted)
    return jnp.where(both, got, 0), jnp.where(both, wanted, 0)


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
