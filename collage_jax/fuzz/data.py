"""What arguments hold: numbers that are the same for the same seed, in any process."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .program import Argument

#: ``normal``; ``small``: a tenth of that; ``positive``: from 0.5 to 2; ``unit``: between 0.1 and 0.9; ``wide``: six
#: orders of magnitude with zeros; ``special``: normal with a few NaN, infinities, negative zeros and subnormals.
NUMBERS = ("normal", "small", "positive", "unit", "wide", "special")

#: Numbers that kernels get wrong, and their share of a ``special`` array. None is so large that XLA's softmax, which
#: as part of a program computes scores anew to subtract their maximum, makes NaN of it.
SPECIAL = (np.nan, np.inf, -np.inf, -0.0, 0.0, 1e-40, 3e4)
SHARE = 0.1


@np.errstate(all="ignore")  # what a narrow dtype cannot hold becomes an infinity
def drawn(argument: Argument) -> Any:
    """The array, or the Python number, that ``argument`` stands for."""
    rng = np.random.default_rng([argument.seed, 7])
    dtype = jnp.dtype(argument.dtype)
    if argument.is_scalar:
        return _scalar(rng, dtype)
    if jnp.issubdtype(dtype, jnp.bool_):
        return jax.device_put(rng.integers(0, 2, argument.shape).astype(bool))
    if jnp.issubdtype(dtype, jnp.integer):
        return jax.device_put(_integers(rng, argument, dtype).astype(dtype))
    if jnp.issubdtype(dtype, jnp.complexfloating):
        part = np.float64 if dtype == np.complex128 else np.float32
        real, imaginary = (_reals(rng, argument).astype(part) for _ in range(2))
        return jax.device_put((real + 1j * imaginary).astype(dtype))
    return jax.device_put(_reals(rng, argument).astype(dtype))


def _scalar(rng: np.random.Generator, dtype: Any) -> bool | int | float | complex:
    number = round(float(rng.uniform(0.25, 2)), 3)
    if jnp.issubdtype(dtype, jnp.bool_):
        return number > 1
    if jnp.issubdtype(dtype, jnp.integer):
        return int(rng.integers(1, 4))
    return complex(number, 0.5) if jnp.issubdtype(dtype, jnp.complexfloating) else number


def _integers(rng: np.random.Generator, argument: Argument, dtype: Any) -> np.ndarray:
    info = jnp.iinfo(dtype)
    low, high = max(argument.low, int(info.min)), min(argument.high, int(info.max) + 1)
    if argument.data == "special":
        low, high = int(info.min), int(info.max)
    wide = np.uint64 if high > np.iinfo(np.int64).max else np.int64
    return rng.integers(low, max(high, low + 1), argument.shape, dtype=wide)


def _reals(rng: np.random.Generator, argument: Argument) -> np.ndarray:
    shape, data = argument.shape, argument.data
    if data == "positive":
        return rng.uniform(0.5, 2, shape)
    if data == "unit":
        return rng.uniform(0.1, 0.9, shape)
    reals = rng.standard_normal(shape)
    if data == "small":
        return 0.1 * reals
    if data == "wide":
        reals = reals * 10.0 ** rng.uniform(-3, 3, shape)
        return np.where(rng.random(shape) < SHARE, 0, reals)
    if data == "special":
        return np.where(rng.random(shape) < SHARE, rng.choice(SPECIAL, shape), reals)
    return reals


def aval_of(argument: Argument) -> Any:
    """Shape and dtype of ``argument`` as tracing needs them; a Python number stands for itself."""
    return drawn(argument) if argument.is_scalar else jax.ShapeDtypeStruct(argument.shape, jnp.dtype(argument.dtype))
