"""Whole programs, built, checked against XLA alone and timed beside it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .. import watch
from ..lowering.build import Lowered, compiled_prepare
from . import clock as clocks
from .clock import HOST, Clock, since
from .compare import relative_error
from .conditioning import NARROW, nudged
from .race import BrokeDown, race
from .reference import Reference
from .rounds import Rounds

XLA_ALONE = "xla alone"
#: A placed program whose first run takes longer than this is not run again only to find out that it is hopeless.
HOPELESS_S = 0.1
#: But where it takes no longer than this it is: a library may have built something in the first run.
BUILDING_S = 2.0
#: How far whole results may differ from XLA's, relative to the largest, by bytes of the widest float among them.
TOLERANCES = {1: 0.2, 2: 3e-2, 4: 5e-5, 8: 1e-10}
#: A first run may take this many times that of XLA alone, and ``watch.COMPILE_S`` more, before it counts as hanging.
SLOWEST = 20.0
#: Units in the last place by which arguments move to see what results hang on: about what a kernel may be off.
UNITS = 16
#: A program may be off by this many times what that changes: its kernels have been checked each, and what is wrong with
#: how they are put together changes results altogether.
MOVES = 16.0
#: So often is asked how far results move.
DIRECTIONS = 4
_OWN_MOVES = "jax.jit's own move when the arguments do in their last digits"


class Trials:
    """Programs that compute the same, built, checked against ``reference`` and timed on the same arrays.

    ``reference.run()`` may return any tree of arrays. ``frozen`` feed the programs' preparation, ``others`` each call.
    ``tolerance`` None means the default of the results' dtypes, and more for those that hang on the last digits of the
    arguments: as much as the reference's own move. With ``reference.xla_s`` it is not XLA alone, which would take about
    that many seconds, or more, and is not run. All are timed by one clock.
    """

    def __init__(
        self,
        frozen: Sequence[Any],
        others: Sequence[Any],
        reference: Reference,
        tolerance: float | None,
    ) -> None:
        self._frozen, self._others = frozen, others
        begin = time.perf_counter()
        self.notes: list[str] = []
        self._clock, run = self._clocked(reference)
        self._wanted = jax.tree.leaves(jax.block_until_ready(run()))
        self._limit_s = watch.COMPILE_S + SLOWEST * since(begin)
        usual = tolerance if tolerance is not None else default_tolerance(self._wanted)
        self._usual = usual
        self._allowed = [usual] * len(self._wanted)
        #: How far each result of the reference moves with the last digits of the arguments, once it has been asked.
        self._moves: list[float] = []
        #: What may say that results hang on the last digits, None once it has been asked often enough; and how often.
        self._on = reference.on if tolerance is None and usual <= NARROW else None
        self._asked = 0
        self._calls: dict[str, Callable[[], Any]] = {XLA_ALONE: run}
        self._errors: dict[str, list[float]] = {}
        self._took: dict[str, float] = {}
        #: Seconds that the last program took to build and check.
        self.build_s = 0.0
        self._unmeasured = {} if reference.xla_s is None else {XLA_ALONE: np.array([reference.xla_s])}
        if reference.xla_s is not None:
            self.notes.append(
                f"jax.jit itself was not run: its convolutions alone take it about {reference.xla_s:.0f} s. Results "
                "were compared with the same program, its convolutions as products of matrices."
            )
        #: What programs took so far.
        self.rounds = Rounds()
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
                call, errors, took_s = _ready(build(), self._frozen, self._others, self._wanted, self._clock)
        except Exception as failure:
            self.notes.append(f"{name}: {type(failure).__name__}: {failure}")
            return False
        while _excess(errors, self._allowed) > 1 and self._on is not None:
            self._allow_what_moves(self._on)
        if not _excess(errors, self._allowed) <= 1:
            error, allowed = max(
                zip(errors, self._allowed, strict=True), key=lambda pair: _excess(*([n] for n in pair))
            )
            self.notes.append(
                f"{name}: differs from jax.jit by {error:.1e} of the largest output; {allowed:.1e} allowed"
                + (f", {MOVES:.0f} times what {_OWN_MOVES}." if allowed > self._usual else ".")
            )
            return False
        self._calls[name], self._errors[name] = call, errors
        self.build_s = since(begin)
        if took_s > HOPELESS_S and self._clock is HOST:
            self._took[name] = took_s
        return True

    def error(self, name: str) -> float:
        """How far the results of a program are from those wanted."""
        return max(self._errors[name], default=0.0)

    def excuse(self, name: str) -> str:
        """Why a program takes part although some of its results are off further than usual; "" if none is."""
        off = [(e, m) for e, m in zip(self._errors[name], self._moves, strict=False) if e > self._usual]
        if not off:
            return ""
        error, moves = (max(found) for found in zip(*off, strict=True))
        return (
            f"{name} differs from jax.jit by {error:.1e} of the largest output, measured, and in {len(off)} of "
            f"{len(self._wanted)} results by more than the usual {self._usual:.0e}. For these no tighter bound can be "
            f"had: {_OWN_MOVES}, by up to {moves:.1e} (see docs/numerics.md)."
        )

    def leave(self, name: str) -> None:
        """Forget a program and what was packed for it."""
        del self._calls[name], self._errors[name]
        self._took.pop(name, None)

    def race(self, names: Sequence[str], rounds: int, seconds: float, hopeless: float) -> dict[str, np.ndarray]:
        """Seconds per call of those of ``names`` that are there and do not break down, one figure a round."""
        known = {name: samples for name, samples in self._unmeasured.items() if name in names}
        running = {name: self._calls[name] for name in names if name in self._calls and name not in known}
        before = {name: took_s for name in running if (took_s := self.rounds.median_s(name)) is not None}
        while running:
            try:
                times = race(
                    running,
                    rounds=rounds,
                    seconds=seconds,
                    hopeless=hopeless,
                    step=self._step,
                    took=self._took | before,
                    clock=self._clock,
                )
                self.rounds.add(times | known)
                return times | known
            except BrokeDown as failure:
                self._broke_down(failure)
                del running[failure.name]
        return known

    def by_host(self, name: str, rounds: int, seconds: float) -> tuple[np.ndarray, np.ndarray] | None:
        """Seconds per call of a program and of XLA alone by the host's clock, in the same rounds.

        None where all races are by that clock, where XLA alone is not run, and where the program breaks down.
        """
        if self._clock is HOST or XLA_ALONE in self._unmeasured:
            return None
        both = {each: self._calls[each] for each in (name, XLA_ALONE)}
        try:
            times = race(both, rounds=rounds, seconds=seconds, hopeless=np.inf, step=self._step)
        except BrokeDown as failure:
            self._broke_down(failure)
            return None
        return times[name], times[XLA_ALONE]

    def _broke_down(self, failure: BrokeDown) -> None:
        """Go on without the program that did; raises if it is XLA alone."""
        if failure.name == XLA_ALONE:
            raise failure
        self.notes.append(f"{failure.name}: failed while it was timed: {failure.__cause__}")
        self.leave(failure.name)

    def _clocked(self, reference: Reference) -> tuple[Clock, Callable[[], Any]]:
        """The clock for all programs, and the reference as a call that it can time."""
        clock = clocks.for_programs()
        if clock is HOST or reference.xla_s is not None:
            return clock, reference.run
        if reference.on is None:
            return HOST, reference.run
        try:
            run = _compiled(reference.on, (self._frozen, self._others), clock)
        except Exception as failure:
            self.notes.append(f"Timed by the host's clock: {type(failure).__name__}: {failure}")
            return HOST, reference.run
        return clock, lambda: run(self._frozen, self._others)

    def _allow_what_moves(self, on: Callable[[Sequence[Any], Sequence[Any]], Sequence[Any]]) -> None:
        """Let results be off as far as the reference's move where its arguments do as little as kernels may be off.

        Where a number crosses a bound by such a move, as that of a ReLU, results jump, and which ones is chance: what
        is still off further is asked about again, in other directions, ``DIRECTIONS`` times in all.
        """
        arrays = nudged([*self._frozen, *self._others], UNITS, direction=self._asked)
        self._asked += 1
        if self._asked == DIRECTIONS:
            self._on = None
        frozen, others = arrays[: len(self._frozen)], arrays[len(self._frozen) :]
        try:
            with watch.at(self._step(XLA_ALONE)):
                moved = _errors(jax.block_until_ready(on(frozen, others)), self._wanted)
        except Exception:  # there may be no memory for it: the usual tolerance holds
            self._on = None
            return
        self._moves = [m if m > before else before for m, before in zip(moved, self._moves or moved, strict=True)]
        self._allowed = [max(self._usual, MOVES * m) if np.isfinite(m) else self._usual for m in self._moves]

    def _step(self, name: str) -> watch.Step:
        return watch.Step("", "program", ops=name, limit_s=None if name == XLA_ALONE else self._limit_s)


def _ready(
    lowered: Lowered, frozen: Sequence[Any], others: Sequence[Any], wanted: Sequence[Any], clock: Clock
) -> tuple[Callable[[], Any], list[float], float]:
    """A call of the program, how far each result is from that wanted, and the seconds that it takes."""
    prepared = compiled_prepare(lowered)(*frozen)
    compiled = _compiled(lowered.run, (prepared, *others), clock)

    def call() -> Any:
        return compiled(prepared, *others)

    begin = time.perf_counter()
    got = jax.block_until_ready(call())
    took_s = since(begin)
    if HOPELESS_S < took_s < BUILDING_S:
        begin = time.perf_counter()
        jax.block_until_ready(call())
        took_s = since(begin)
    return call, _errors(got, wanted), took_s


def _compiled(function: Callable[..., Any], arguments: Sequence[Any], clock: Clock) -> Callable[..., Any]:
    """``function`` compiled for ``arguments``, to be timed by ``clock``."""
    return clock.compiling(function, lambda run: lambda: jax.jit(run, keep_unused=True).lower(*arguments).compile())()


def _errors(got: Sequence[Any], wanted: Sequence[Any]) -> list[float]:
    """The ``relative_error`` of each result."""
    if len(got) != len(wanted):
        return [float("inf")] * max(1, len(wanted))
    # Where XLA's own results are not finite, the arguments are at fault. Kernels have been checked on other inputs, and
    # a program must not be judged for good by such a call.
    pairs = [(g, w) if _is_finite(w) else _finite_alone(g, w) for g, w in zip(got, wanted, strict=True)]
    return [relative_error(g, w) for g, w in pairs]


def _excess(errors: Sequence[float], allowed: Sequence[float]) -> float:
    """How many times what is allowed the worst error is; 0 allowed means none."""
    return max(
        (e / a if a else (0.0 if e == 0 else float("inf")) for e, a in zip(errors, allowed, strict=True)), default=0.0
    )


def _is_finite(array: Any) -> bool:
    return not jnp.issubdtype(array.dtype, jnp.inexact) or bool(jnp.isfinite(array).all())


def _finite_alone(got: Any, wanted: Any) -> tuple[Any, Any]:
    """Both with 0 wherever one of them is not finite."""
    both = jnp.isfinite(got) & jnp.isfinite(wanted)
    return jnp.where(both, got, 0), jnp.where(both, wanted, 0)


def default_tolerance(outputs: Sequence[Any]) -> float:
    """The tolerance for results of these dtypes: that of the narrowest inexact one."""
    sizes = [
        max(1, jnp.finfo(a.dtype).bits // 8)
        for a in outputs
        if jnp.issubdtype(getattr(a, "dtype", None) or "int32", jnp.inexact)
    ]
    return TOLERANCES[min(sizes)] if sizes else 0.0
