"""What convolutions and their gradients have in common: which arrays they take, and how a window is written."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from jax import lax

from ...graph.ir import Constant, Node
from ..base import Unsupported
from .memory import dtype_name, times


def keys(
    strides: Sequence[Any], dilation: Sequence[Any], low: Sequence[Any], high: Sequence[Any]
) -> tuple[tuple[str, str], ...]:
    """The tokens of a window."""
    # The library counts the gaps between the kernel's taps, JAX their distance.
    gaps = [int(d) - 1 for d in dilation]
    return ("strides", times(strides)), ("dilates", times(gaps)), ("pads_l", times(low)), ("pads_r", times(high))


def padding(node: Node) -> tuple[tuple[int, int], ...]:
    """Before and after, for each spatial dimension."""
    return tuple((int(low), int(high)) for low, high in node.params["padding"])


def refused_arrays(node: Node) -> Unsupported | None:
    """Why no convolution of the library takes the arrays of ``node``."""
    lhs, rhs = node.inputs
    src, wei, dst = (dtype_name(v.dtype) for v in (lhs, rhs, node.out))
    if isinstance(lhs, Constant) or isinstance(rhs, Constant):
        return Unsupported("an operand is a scalar of the program")
    if src is None or src != wei or dst not in (src, "f32"):
        return Unsupported(
            f"oneDNN convolutions take float32 or bfloat16, got {lhs.dtype} and {rhs.dtype} giving {node.out.dtype}"
        )
    if not 3 <= lhs.ndim <= 5:
        return Unsupported(f"oneDNN convolutions have 1 to 3 spatial dimensions, got {lhs.ndim - 2}")
    if min(*lhs.shape, *rhs.shape, *node.out.shape) == 0:
        return Unsupported(f"an array is empty: {lhs.shape}, {rhs.shape} giving {node.out.shape}")
    return unsupported_precision(node)


def unsupported_precision(node: Node) -> Unsupported | None:
    """A reason if the program asks for a particular algorithm; any precision is met, float32 being computed in full."""
    asked = node.params.get("precision")
    for precision in asked if isinstance(asked, tuple) else (asked,):
        if precision is not None and not isinstance(precision, lax.Precision):
            return Unsupported(f"a particular algorithm is asked for, {precision}, which oneDNN does not offer")
    if node.params.get("out_sharding") is not None:
        return Unsupported("the result's sharding is prescribed")
    return None
