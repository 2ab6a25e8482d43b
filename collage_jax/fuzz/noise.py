"""What an operation's result may be off by, or be instead, in the fuzzer's judge."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax

from .. import _compat
from ..graph.ir import Node, Value
from ..measure.compare import reduction_length

#: Units in the last place by which an operation may be off, for each element and, in sums, of the largest.
UNITS = 8.0

#: What no kernel gets wrong by rounding: moves of data, and what picks some of its operands.
EXACT = frozenset({
    "reshape", "squeeze", "expand_dims", "broadcast_in_dim", "transpose", "slice", "pad", "concatenate", "rev",
    "copy", "neg", "abs", "sign", "max", "min", "clamp", "select_n", "floor", "ceil", "round", "reduce_max",
    "reduce_min", "iota", "sort", "top_k", "gather", "dynamic_slice", "dynamic_update_slice", "stop_gradient",
    "real", "imag", "split", "stack", "unstack", "tile", "reduce_window_max", "reduce_window_min", "cummax",
    "cummin", "copy_p", "bitcast_convert_type", "scatter", "scatter-min", "scatter-max",
    "select_and_gather_add", "conj", "optimization_barrier",
})  # fmt: skip

_EXTREMES = frozenset({"max", "min", "clamp"})
_REDUCED_EXTREMES = frozenset({"reduce_max", "reduce_min", "reduce_window_max", "reduce_window_min"})


class Noise:
    """What is added to each result, other numbers for each of them.

    Padding and gaps of a convolution are zeros that some multiply by a weight that is not finite and others do not
    (the user guide says who): what such a weight would add to is 0 in every other sample and NaN in the rest, or
    ``at_padding``. XLA makes one convolution of the groups of a batch, in which each weight meets zeros in place of the
    other groups. In the same samples the largest or smallest of several is that of those that are not NaN: XLA loses
    NaN in such reductions of larger arrays, graph runtimes do so between two arrays, too.
    """

    def __init__(
        self, seed: int, by_reader: bool = False, runtimes: bool = False, at_padding: float | None = None
    ) -> None:
        self.by_reader = by_reader
        self._at_padding = at_padding
        self._extremes = _REDUCED_EXTREMES | _EXTREMES if runtimes else _REDUCED_EXTREMES
        self._rng = np.random.default_rng(seed)
        self._signs: dict[Value, np.ndarray] = {}
        self._drops = seed % 2 == 0

    def _unit(self, dtype: Any) -> float:
        # Runs that are compared for what hangs on padding differ in nothing else, and in bfloat16 it would be much.
        return 0.0 if self._at_padding is not None else UNITS * float(jnp.finfo(dtype).eps)

    @property
    def _lost(self) -> float:
        """In place of what some multiply by a number that is not finite, and others do not."""
        return 0.0 if self._drops else float("nan")

    def on_convolution(self, node: Node, weights: Any, result: Any) -> Any:
        if not jnp.issubdtype(result.dtype, jnp.floating):
            return result
        bad = ~lax.is_finite(weights)
        hits = _met(node, jnp.ones(node.inputs[0].shape, bool), bad)
        numbers = node.params["dimension_numbers"]
        place = numbers.rhs_spec[0]
        total = jnp.sum(bad, axis=tuple(i for i in range(bad.ndim) if i != place), dtype="float32")
        meets_padding = hits < lax.broadcast_in_dim(total, result.shape, (numbers.out_spec[1],)) - 0.5
        if node.params["batch_group_count"] > 1:
            meets_padding |= jnp.any(bad)
        instead = self._lost if self._at_padding is None else self._at_padding
        return jnp.where(meets_padding, instead, result).astype(result.dtype)

    def on_products(self, node: Node, operands: Sequence[Any], result: Any) -> Any:
        """``result``, sums of products of ``operands``, off by a share of what the products add up to without signs.

        (N. Higham, Accuracy and Stability of Numerical Algorithms, 2nd ed. 2002, section 3.1.) Where that overflows, so
        may the sum in another order.
        """
        if not jnp.issubdtype(result.dtype, jnp.floating) or not result.size:
            return result
        sizes = [jnp.where(lax.is_finite(a), lax.abs(a), 0).astype(a.dtype) for a in operands]
        (total,) = _compat.bind(node.eqn, dict(node.params), sizes)
        moves = (self._unit(result.dtype) * self._drawn_signs(result)).astype(total.dtype)
        moved = result + jnp.where(lax.is_finite(total), moves * total, 0).astype(result.dtype)
        return jnp.where(lax.is_finite(total), moved, self._lost).astype(result.dtype)

    def on_extreme(self, node: Node, operands: Sequence[Any], result: Any) -> Any:
        """``result``, the largest or smallest of ``operands``, or of the elements of one, with NaN lost or kept."""
        if node.op not in self._extremes or not jnp.issubdtype(result.dtype, jnp.floating):
            return result
        last = -1 if "max" in node.op else 1

        def again(arrays: Sequence[Any]) -> Any:
            return _compat.bind(node.eqn, dict(node.params), arrays)[0]

        if self._drops:
            return again([jnp.where(jnp.isnan(a), last * np.inf, a).astype(a.dtype) for a in operands])
        if node.op not in _REDUCED_EXTREMES:
            return result
        is_lost = again([jnp.where(jnp.isnan(a), -last, 0).astype(a.dtype) for a in operands]) == -last
        return jnp.where(is_lost, np.nan, result).astype(result.dtype)

    def on_scaled(self, node: Node, factor: Any, result: Any) -> Any:
        """``result``, a convolution's times or over ``factor``, which may be put into its weights beforehand.

        There it may meet zeros that it does not meet behind.
        """
        bad = lax.eq(factor, lax.full_like(factor, 0)) if node.op == "div" else ~lax.is_finite(factor)
        return jnp.where(jnp.broadcast_to(bad, result.shape), self._lost, result)

    def on_bits(self, node: Node, operand: Any, result: Any) -> Any:
        """``result``, the bits of ``operand``: nothing says which sign NaN has."""
        if not jnp.issubdtype(operand.dtype, jnp.floating) or not self._drops:
            return result
        bits = jnp.dtype(f"uint{8 * operand.dtype.itemsize}")
        sign = np.array(1 << (8 * operand.dtype.itemsize - 1), bits)
        turned = lax.bitcast_convert_type(lax.bitcast_convert_type(operand, bits) ^ sign, operand.dtype)
        (other,) = _compat.bind(node.eqn, dict(node.params), [jnp.where(jnp.isnan(operand), turned, operand)])
        return other

    def picks(self) -> bool:
        """Whether a reader computes a value anew."""
        return bool(self._rng.integers(2))

    def on_sum(self, result: Any, operands: Sequence[Any]) -> Any:
        """``result``, the sum of ``operands``, as another reader may round it."""
        sizes = [lax.abs(a) for a in jnp.broadcast_arrays(result, *operands)]
        finite = [jnp.where(lax.is_finite(a), a, 0) for a in sizes]
        moves = (self._unit(result.dtype) * self._drawn_signs(result)).astype(finite[0].dtype)
        return result + (moves * reduce(jnp.maximum, finite)).astype(result.dtype)

    def _drawn_signs(self, array: Any) -> np.ndarray:
        return self._rng.choice(np.array([-1.0, 1.0]), array.shape).astype(array.real.dtype)

    def on(self, node: Node, value: Value, array: Any) -> Any:
        """``array``, which ``node`` made for ``value``; moved by the same if it is made again."""
        dtype = array.dtype
        if not jnp.issubdtype(dtype, jnp.inexact) or node.op in EXACT or not array.size:
            return array
        if value not in self._signs:
            self._signs[value] = self._drawn_signs(array)
        sign = self._signs[value]
        unit = self._unit(dtype)
        length = max((reduction_length(p) for p in node.primitives), default=1)
        moved = lax.mul(array, (1 + unit * sign).astype(dtype))
        if length > 1:
            size = lax.abs(array)
            finite = lax.select(lax.is_finite(size), size, lax.full_like(size, 0))
            largest = lax.reduce_max(finite, tuple(range(finite.ndim)))
            spread = lax.broadcast(lax.mul(largest, np.asarray(unit * length**0.5, largest.dtype)), array.shape)
            moved = lax.add(moved, lax.convert_element_type(lax.mul(spread, sign), dtype))
        if node.op == "erfc":  # of which kernels make 1 - erf
            moved = lax.add(moved, (unit * sign).astype(dtype))
            if self._drops:
                moved = jnp.where(lax.abs(array) < unit, 0, moved).astype(dtype)
        if self._drops:  # what is about the smallest normal number, a kernel may lose
            moved = lax.select(lax.abs(moved) < 128 * float(jnp.finfo(dtype).tiny), lax.full_like(moved, 0), moved)
        return moved


def _met(node: Node, pixels: Any, weights: Any) -> Any:
    """How many of ``weights`` meet one of ``pixels`` in the convolution ``node``, both truth values."""
    params = {**node.params, "preferred_element_type": None}
    return _compat.bind(node.eqn, params, [pixels.astype("float32"), weights.astype("float32")])[0]
