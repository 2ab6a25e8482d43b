"""How far a kernel may be off where XLA's own result hangs on the last digits of its operands.

A softmax of scores as large as 1e5 moves by more than the tolerance if any operand changes in its last place: there no
two orders of summation agree, and neither is wrong. What a kernel gives counts as right if it is XLA's result on
operands that differ about as little (backward stability; N. Higham, Accuracy and Stability of Numerical Algorithms,
2nd ed., 1.5).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from .bounds import largest
from .compare import largest_error, relative_error
from .inputs import PERIOD

#: Kernels round more often than once: their results may move by this many times what one change of all operands does.
ROUNDINGS = 4.0
#: But never beyond this many times the tolerance: what is worse would hide wrong elements.
MOST = 16.0
#: Tolerances above this are those of narrow numbers, wide as they are.
NARROW = 1e-3


def worst(
    tolerance: float,
    got: Sequence[Any],
    wanted: Sequence[Any],
    reference: Callable[[Sequence[Any]], Sequence[Any]],
    arrays: Sequence[Any],
    hidden: Callable[[], Sequence[float]] | None = None,
) -> tuple[float, float]:
    """The ``relative_error`` of the result that is furthest beyond what it may have, and that, ``tolerance`` or more.

    ``reference(arrays)`` gave ``wanted``; it is run again only for results that this may save. ``hidden()``: for each
    result the largest magnitude that a bound hides (``bounds``), which errors are relative to if it is larger.
    """
    error = largest_error(got, wanted)
    shares = [1.0] * len(wanted)
    if hidden is not None and tolerance < error < float("inf"):
        shares = [_share(w, scale) for w, scale in zip(wanted, hidden(), strict=True)]
        error = max(share * relative_error(g, w) for share, g, w in zip(shares, got, wanted, strict=True))
    if not tolerance < error <= MOST * tolerance or tolerance > NARROW:
        return error, tolerance
    try:
        again = reference(nudged(arrays))
    except Exception:  # there may be no memory for it: the usual tolerance holds
        return error, tolerance
    found = []
    for g, w, moved, share in zip(got, wanted, again, shares, strict=True):
        least = ROUNDINGS * share * relative_error(moved, w)
        most = max(tolerance, min(least, MOST * tolerance)) if np.isfinite(least) else tolerance
        found.append((share * relative_error(g, w), most))
    return max(found, key=lambda pair: pair[0] / pair[1])


def _share(wanted: Any, hidden: float) -> float:
    """What part of ``hidden``, if that is larger, the largest number of ``wanted`` is."""
    return min(1.0, largest(wanted) / hidden) if hidden else 1.0


def nudged(arrays: Sequence[Any], units: int = 1, direction: int = 0) -> list[Any]:
    """``arrays`` with each real or complex number ``units`` in the last place larger or smaller, at random."""
    return [_nudged(array, units, np.random.default_rng([place, direction])) for place, array in enumerate(arrays)]


def _nudged(array: Any, units: int, rng: np.random.Generator) -> Any:
    if not jnp.issubdtype(array.dtype, jnp.inexact):
        return array
    # As in the inputs themselves, a row of random numbers repeats; a prime, so that no two rows are alike.
    signs = np.resize(rng.choice(np.array([-1.0, 1.0]), PERIOD), array.shape)
    return (array * (1 + units * jnp.finfo(array.dtype).eps * jnp.asarray(signs, array.real.dtype))).astype(array.dtype)
