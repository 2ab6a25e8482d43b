"""How large the numbers were that a bound at the end of a region hides.

Sums round relative to their terms. ReLU6 of sums around 1e4 leaves their absolute errors and no number above 6: what
a kernel may be off is relative to what went into the bound.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from ..graph.evaluate import callable_of
from ..graph.ir import Constant, Value
from ..graph.region import Region

#: Operations that change no difference between two operands but to make it smaller, by the operand that they bound.
BOUNDED = {"clamp": 1, "clip": 0, "relu6": 0}


def magnitudes(region: Region, arrays: Sequence[Any]) -> list[float]:
    """For each exit of ``region`` the largest finite magnitude in front of its bound, on ``arrays``; 0 without one."""
    made_by = {v: node for node in region.nodes for v in node.outputs}
    bounded: dict[int, Value] = {}
    for place, exit in enumerate(region.exits):
        node = made_by[exit]
        if node.op in BOUNDED and not isinstance(operand := node.inputs[BOUNDED[node.op]], Constant):
            bounded[place] = operand
    if not bounded:
        return [0.0] * len(region.exits)
    before = jax.jit(callable_of(region.nodes, region.entries, tuple(bounded.values())))(*arrays)
    found = dict(zip(bounded, map(largest, before), strict=True))
    return [found.get(place, 0.0) for place in range(len(region.exits))]


def largest(array: Any) -> float:
    """The largest finite magnitude in ``array``."""
    numbers = np.abs(np.asarray(array, np.float64))
    return float(np.max(numbers, initial=0.0, where=np.isfinite(numbers)))
