"""Whole programs, built, checked against XLA alone and timed beside it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .. import watch
from ..lowering import Lowered
from .compare import largest_error
from .race import BrokeDown, race
from .rounds import Rounds

XLA_ALONE = "xla alone"
#: A placed program whose first run takes longer than this is not run again only to find out that it is hopeless.
HOPELESS_S = 0.1
#: How far whole results may differ from XLA's, relative to the largest, by bytes of the widest float among them.
TOLERANCES = {1: 0.2, 2: 3e-2, 4: 5e-5, 8: 1e-10}
#: A first run may take this many times that of XLA alone, and ``watch.COMPILE_S`` more, before it counts as hanging.
SLOWEST = 20.0


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

    def error(self, name: str) -> float:
        """How far the results of a program are from those wanted."""
        return self._errors[name]

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
                )
                self.rounds.add(times | known)
                return times | known
            except BrokeDown as failure:
                if failure.name == XLA_ALONE:
                    raise
                self.notes.append(f"{failure.name}: failed while it was timed: {failure.__cause__}")
                self.leave(failure.name)
                del running[failure.name]
        return known

    def _step(self, name: str) -> watch.Step:
        return watch.Step("", "program", ops=name, limit_s=None if name == XLA_ALONE else self._limit_s)


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


def default_tolerance(outputs: Sequence[Any]) -> float:
    """The tolerance for results of these dtypes: that of the narrowest inexact one."""
    sizes = [
        max(1, jnp.finfo(a.dtype).bits // 8)
        for a in outputs
        if jnp.issubdtype(getattr(a, "dtype", None) or "int32", jnp.inexact)
    ]
    return TOLERANCES[min(sizes)] if sizes else 0.0
