"""How far two results are apart, and how far they may be."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from ..graph.ir import Node
from ..graph.region import Region
from ..graph.work import summands

#: Elements compared at a time: few enough for what is computed of them to stay in cache.
CHUNK = 1 << 16


def relative_error(got: Any, wanted: Any) -> float:
    """Largest absolute difference relative to the largest absolute wanted value; inf if NaN or Inf stand elsewhere.

    Exact dtypes count as equal or infinitely far.
    """
    got, wanted = np.asarray(got), np.asarray(wanted)
    if got.shape != wanted.shape or got.dtype != wanted.dtype:
        return float("inf")
    if not jnp.issubdtype(wanted.dtype, jnp.inexact):
        return 0.0 if np.array_equal(got, wanted) else float("inf")
    got, wanted = got.reshape(-1), wanted.reshape(-1)
    apart = largest = 0.0
    for begin in range(0, wanted.size, CHUNK):
        here = slice(begin, begin + CHUNK)
        chunk_apart, chunk_largest = _extremes(got[here], wanted[here])
        apart, largest = max(apart, chunk_apart), max(largest, chunk_largest)
    return apart / largest if largest else (0.0 if apart == 0 else float("inf"))


def _extremes(got: np.ndarray, wanted: np.ndarray) -> tuple[float, float]:
    """The largest absolute difference, inf if NaN or Inf stand elsewhere, and the largest absolute wanted value."""
    if wanted.dtype.itemsize < 4:
        got, wanted = got.astype(np.float32), wanted.astype(np.float32)
    finite = np.isfinite(wanted)
    if not finite.all():
        if not np.array_equal(got[~finite], wanted[~finite], equal_nan=True):
            return float("inf"), 0.0
        got, wanted = got[finite], wanted[finite]
    with np.errstate(over="ignore", invalid="ignore"):  # opposite huge numbers are infinitely far apart
        apart = float(np.max(np.abs(got - wanted), initial=0.0))
    return (float("inf") if np.isnan(apart) else apart), float(np.max(np.abs(wanted), initial=0.0))


def largest_error(got: Sequence[Any], wanted: Sequence[Any]) -> float:
    """The worst ``relative_error`` over pairs of results; inf if there are more of one than of the other."""
    if len(got) != len(wanted):
        return float("inf")
    return max((relative_error(g, w) for g, w in zip(got, wanted, strict=True)), default=0.0)


def other_form(got: Sequence[Any], wanted: Sequence[Any]) -> str | None:
    """How the shapes and dtypes of two results differ, or None if they do not; ``got`` may be anything."""
    forms = [", ".join(map(_form, arrays)) for arrays in (got, wanted)]
    return None if forms[0] == forms[1] else f"returns {forms[0] or 'nothing'}, XLA {forms[1]}"


def _form(array: Any) -> str:
    is_array = hasattr(array, "dtype") and hasattr(array, "shape")
    return f"{array.dtype}{list(array.shape)}" if is_array else f"a {type(array).__name__}"


def tolerance(region: Region) -> float:
    """Largest ``relative_error`` a kernel for ``region`` may have: rounding grows with the root of the sum's length.

    The factors leave room for another order of summation and are far below what a wrong element gives.
    """
    dtypes = [v.dtype for v in (*region.entries, *region.exits) if jnp.issubdtype(v.dtype, jnp.inexact)]
    epsilon = max((float(jnp.finfo(d).eps) for d in dtypes), default=0.0)
    length = max((reduction_length(p) for node in region.nodes for p in node.primitives), default=1)
    # Narrow types are accumulated in float32 by both sides: their error is that of rounding the result.
    growth = length**0.5 if epsilon < 1e-5 else 1.0
    # Formats of eight bits have an epsilon of up to a quarter; a result that is zero throughout is wrong for them too.
    return min(4.0 * epsilon * max(4.0 if epsilon < 1e-5 else 1.0, growth), 0.5)


def reduction_length(node: Node) -> int:
    """How many products or summands make one element of ``node``'s result."""
    params, inputs = node.params, node.inputs
    if node.op in ("dot_general", "conv_general_dilated"):
        return summands(node)
    if node.op.startswith("reduce_window"):
        return _product(params.get("window_dimensions", ()))
    if node.op.startswith("cum"):
        return inputs[0].shape[params["axis"]]
    if node.op.startswith("reduce_"):
        return max(1, inputs[0].size // max(1, node.outputs[0].size))
    return 1


def _product(sizes: Any) -> int:
    return int(np.prod(list(sizes), dtype=np.int64))
