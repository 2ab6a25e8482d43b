"""Batch norm with given statistics as a factor and an offset for each channel."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp

from ..graph.ir import Node, Value


@dataclass(frozen=True, eq=False)
class Vector:
    """``make(*arrays of values)``: one number for each channel, in single precision."""

    values: tuple[Value, ...]
    make: Callable[..., Any]


def factor_and_offset(node: Node) -> tuple[Vector, Vector]:
    """What ``node``, a ``batch_norm``, multiplies its first input by, and what it then adds."""
    mean, variance, *affine = node.inputs[1:]
    epsilon = float(node.params["epsilon"])
    scale = affine[:1] if node.params.get("scale", True) else []
    shift = affine[len(scale) :]

    def factor(variance: Any, *scale: Any) -> Any:
        root = jnp.sqrt(_flat(variance) + epsilon)
        return _flat(scale[0]) / root if scale else 1 / root

    def offset(mean: Any, variance: Any, *affine: Any) -> Any:
        moved = -_flat(mean) * factor(variance, *affine[: len(scale)])
        return moved + _flat(affine[-1]) if shift else moved

    return Vector((variance, *scale), factor), Vector((mean, variance, *scale, *shift), offset)


def _flat(array: Any) -> Any:
    return array.reshape(-1).astype(jnp.float32)
