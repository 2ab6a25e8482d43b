"""Whether two results of one program are the same function's.

Most are equal within the library's tolerance. Where they are not, the program itself is asked how far its results may
be apart: it runs through XLA several times, with all that floating-point operations make off at random by what a kernel
may be off (stochastic arithmetic: J. Vignes, Math. Comput. Simulation 35, 1993). What an element moves by, it may
differ by; where it moves at all, integers and truth values may differ, and where it is at times not finite, anything.
So neither ties nor poles nor cancellation give false alarms, and what does not hang on rounding is held to it.

XLA computes a cheap value anew for each of its readers, and where a product is added to something it may round that
product for one reader and not for another: ``x == max(x)`` then holds nowhere, with ``jax.jit`` alone too. Samples with
``by_reader`` do as much, so that a difference which hangs on it can be told from others.

What hangs on weights that are not finite where they meet padding, is told by runs that differ in that alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..graph.trace import trace_jaxpr
from ..measure.compare import other_form, relative_error
from ..measure.whole import TOLERANCES
from .noise import Noise
from .noisy import evaluated

#: Samples at first, and before anything is called wrong.
FEW, MANY = 2, 12
#: What an element may differ by, in what it moves by.
MOVES = 8.0


@dataclass(frozen=True)
class Difference:
    """Result number ``output`` differs: by how much, beside what is allowed, and where it is worst."""

    output: int
    error: float
    allowed: float
    what: str


def difference(
    got: Sequence[Any],
    wanted: Sequence[Any],
    jaxpr: Callable[[], Any],
    arguments: Sequence[Any],
    by_reader: bool = False,
    runtimes: bool = False,
) -> Difference | None:
    """How ``got`` differs from ``wanted``, XLA's results of the closed ``jaxpr()`` on ``arguments``, or None.

    ``by_reader`` allows what comes of sums that are rounded otherwise for each of their readers, ``runtimes`` what
    graph runtimes make of NaN.
    """
    form = other_form(got, wanted)
    if form is not None:
        return Difference(0, np.inf, 0, f"the placed function {form}")
    if not (doubtful := _doubtful(got, wanted)):
        return None
    closed = jaxpr()
    samples: list[Sequence[np.ndarray]] = []
    for count in (FEW, MANY):
        samples += [_sample(closed, arguments, Noise(seed, by_reader, runtimes)) for seed in range(len(samples), count)]
        found = [d for i in doubtful if (d := _beyond(i, got[i], wanted[i], [s[i] for s in samples])) is not None]
        if not found:
            return None
    loose = _hanging_on_padding(closed, arguments)
    left = (_beyond(i, got[i], wanted[i], [s[i] for s in samples], loose[i]) for i in doubtful)
    return next((each for each in left if each is not None), None)


def _hanging_on_padding(closed: Any, arguments: Sequence[Any]) -> list[np.ndarray]:
    """Which elements of each result hang on what a weight that is not finite makes of padding: may be anything.

    They differ between runs that differ in that alone.
    """
    runs = [_sample(closed, arguments, Noise(1, at_padding=put)) for put in (1e3, 0.5, -1e3, np.nan)]
    return [
        ~np.logical_and.reduce([(of_one == first) | ((of_one != of_one) & (first != first)) for of_one in others])
        for first, *others in zip(*runs, strict=True)
    ]


def _doubtful(got: Sequence[Any], wanted: Sequence[Any]) -> list[int]:
    return [
        i for i, (g, w) in enumerate(zip(got, wanted, strict=True)) if not relative_error(*_plain(g, w)) <= _usual(w)
    ]


def _usual(array: Any) -> float:
    dtype = array.dtype
    return TOLERANCES[max(1, jnp.finfo(dtype).bits // 8)] if jnp.issubdtype(dtype, jnp.inexact) else 0.0


def _plain(*arrays: Any) -> list[Any]:
    """Keys of random numbers as the integers they are."""
    return [jax.random.key_data(a) if jnp.issubdtype(a.dtype, jax.dtypes.prng_key) else a for a in arrays]


def _beyond(
    place: int, got: Any, wanted: Any, samples: Sequence[np.ndarray], loose: np.ndarray | bool = False
) -> Difference | None:
    """How one result differs by more than its samples let it, where it is not ``loose``."""
    g, w = (_wide(each) for each in _plain(got, wanted))
    moved = np.stack([_wide(each) for each in samples]) if samples else w[None]
    if not np.issubdtype(w.dtype, np.inexact):
        wrong = (g != w) & (moved == w).all(0) & ~np.asarray(loose)
        if not wrong.any():
            return None
        first = tuple(int(i) for i in np.argwhere(wrong)[0])
        return Difference(
            place, float(wrong.sum()), 0, f"{wrong.sum()} of {w.size} elements, at {first} {g[first]} for {w[first]}"
        )
    with np.errstate(all="ignore"):
        settled = (_kinds(moved) == _kinds(w)).all(0)
        same = (g == w) | (np.isnan(g) & np.isnan(w))
        finite = np.isfinite(w) & np.isfinite(g)
        largest = float(np.max(np.abs(w), initial=0.0, where=np.isfinite(w)))
        reach = np.max(np.abs(moved - w), axis=0)
        allowed = _usual(wanted) * largest + MOVES * np.where(np.isfinite(reach), reach, np.inf)
        excess = np.where(finite, np.abs(g - w) / np.maximum(allowed, np.finfo(np.float64).tiny), np.inf)
        excess = np.where(same | ~settled | loose, 0.0, excess)
        apart = np.abs(g - w)
    if not excess.size or float(excess.max()) <= 1:
        return None
    worst = tuple(int(i) for i in np.unravel_index(int(excess.argmax()), excess.shape))
    count = int((excess > 1).sum())
    return Difference(
        place,
        float(apart[worst]),
        float(allowed[worst]),
        f"{count} of {w.size} elements, at {worst} {g[worst]:.7g} for {w[worst]:.7g}",
    )


def _wide(array: Any) -> np.ndarray:
    held = np.asarray(array)
    if jnp.issubdtype(held.dtype, jnp.floating):
        return held.astype(np.float64)
    return held.astype(np.complex128) if jnp.issubdtype(held.dtype, jnp.complexfloating) else held


def _kinds(array: np.ndarray) -> np.ndarray:
    """Which of its numbers are finite, NaN, and an infinity of which sign."""
    return np.where(np.isfinite(array), 0, np.where(np.isnan(array), 2, np.where(np.real(array) > 0, 1, -1)))


def _sample(closed: Any, arguments: Sequence[Any], noise: Noise) -> list[np.ndarray]:
    graph = trace_jaxpr(closed)
    run = jax.jit(lambda *arrays: evaluated(graph, arrays, noise))
    return [np.asarray(a) for a in _plain(*run(*arguments))]
