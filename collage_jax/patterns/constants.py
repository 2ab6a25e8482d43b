"""Reading scalars of the program, and comparing them with what a pattern asks for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..graph.ir import Constant, Graph, Node, Value
from .dimensions import is_spreader

# A constant typed in single precision, or in decimal with seven digits, still means the same number.
_FINEST_ROUNDING = 1e-6


@dataclass(frozen=True)
class Scalar:
    """A number, the relative rounding it went through, and the nodes that spread or convert it."""

    number: float
    rounding: float
    nodes: tuple[Node, ...]

    def is_close(self, value: float, tolerance: float | None = None) -> bool:
        """True if the number is ``value`` as its dtype can hold it. ``tolerance`` is relative, absolute at 0."""
        if np.isnan(value) or np.isinf(value) or np.isinf(self.number):
            return self.number == value or (np.isnan(value) and np.isnan(self.number))
        slack = self.rounding if tolerance is None else tolerance
        if value == 0.0:
            return abs(self.number) <= (0.0 if tolerance is None else tolerance)
        return abs(self.number - value) <= slack * abs(value)


def read_scalar(graph: Graph, value: Value) -> Scalar | None:
    """The number that ``value`` holds in every element, or None."""
    nodes: list[Node] = []
    rounding = _rounding(value.dtype)
    while not isinstance(value, Constant):
        node = graph.producer.get(value)
        if node is None or not (is_spreader(node) or node.op == "convert_element_type"):
            return None
        nodes.append(node)
        value = node.inputs[0]
        rounding = max(rounding, _rounding(value.dtype))
    array = np.asarray(value.val)
    if array.ndim or array.dtype.kind == "c":
        return None
    # The shortest decimal that the dtype holds as this number: 0.01, not 0.009999999776.
    number = float(str(array)) if is_float(array.dtype) else float(array)
    return Scalar(number, rounding, tuple(nodes))


def is_float(dtype: Any) -> bool:
    """True for real floating dtypes, the narrow ones included."""
    return jnp.issubdtype(dtype, jnp.floating)


def is_widening(source: Any, target: Any) -> bool:
    """True if converting from ``source`` to ``target`` loses nothing."""
    if is_float(source) and is_float(target):
        narrow, wide = jnp.finfo(source), jnp.finfo(target)
        return narrow.nmant <= wide.nmant and narrow.maxexp <= wide.maxexp and narrow.minexp >= wide.minexp
    try:
        return jnp.promote_types(source, target) == target
    except jax.dtypes.TypePromotionError:  # integers of four bits are promoted to nothing
        return False


def _rounding(dtype: Any) -> float:
    return max(float(jnp.finfo(dtype).eps), _FINEST_ROUNDING) if is_float(dtype) else _FINEST_ROUNDING
