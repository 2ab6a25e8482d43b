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
) -> tuple[float, float]:
    """The ``relative_error`` of the result that is furthest beyond what it may have, and that, ``tolerance`` or more.

    ``reference(arrays)`` gave ``wanted``; it is run again only for results that this may save.
    """
    error = largest_error(got, wanted)
    if not tolerance < error <= MOST * tolerance or tolerance > NARROW:
        return error, tolerance
    try:
        again = reference(nudged(arrays))
    except Exception:  # there may be no memory for it: the usual tolerance holds
        return error, tolerance
    found = []
    for g, w, moved in zip(got, wanted, again, strict=True):
        least = ROUNDINGS * relative_error(moved, w)
        most = max(tolerance, min(least, MOST * tolerance)) if np.isfinite(least) else tolerance
        found.append((relative_error(g, w), most))
    return max(found, key=lambda pair: pair[0] / pair[1])


def nudged(arrays: Sequence[Any], units: int = 1) -> list[Any]:
    """``arrays`` with each real or complex number ``units`` in the last place larger or smaller, at random."""
    return [_nudged(array, units, np.random.default_rng(place)) for place, array in enumerate(arrays)]


def _nudged(array: Any, units: int, rng: np.random.Generator) -> Any:
    if not jnp.issubdtype(array.dtype, jnp.inexact):
        return array
    # As in the inputs themselves, a row of random numbers repeats; a prime, so that no two rows are alike.
    signs = np.resize(rng.choice(np.array([-1.0, 1.0]), PERIOD), array.shape)
    return (array * (1 + units * jnp.finfo(array.dtype).eps * jnp.asarray(signs, array.real.dtype))).astype(array.dtype)
