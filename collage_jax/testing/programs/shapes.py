"""Shapes and names for the standard programs, in few characters."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax

from ..case import Case


def f32(*shape: int) -> jax.ShapeDtypeStruct:
    """An array of float32."""
    return jax.ShapeDtypeStruct(shape, jax.numpy.float32)


def of(dtype: str, *shape: int) -> jax.ShapeDtypeStruct:
    """An array of ``dtype``."""
    return jax.ShapeDtypeStruct(shape, jax.numpy.dtype(dtype))


def program(name: str, fun: Callable[..., Any], *args: Any) -> Case:
    """A standard program called ``name``."""
    return Case(name, fun, args)
