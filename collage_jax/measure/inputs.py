"""Seeded inputs to check and time kernels on."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..graph.ir import Value

#: What kernels are checked on. ``normal`` is also what they are timed on. ``wide`` spans six orders of magnitude and
#: holds exact zeros, where activations and rounding differ. ``positive`` is for whole programs, so that a variance
#: among their arguments has a root.
DISTRIBUTIONS = ("normal", "wide", "positive")


#: Numbers drawn afresh; a larger array repeats them, for drawing would take longer than what is timed. A prime, so that
#: no two rows, channels or tiles of an array are alike.
PERIOD = 131_071


def draw(values: Sequence[Value], distribution: str = "normal", seed: int = 0) -> list[Any]:
    """One array for each of ``values``: equal for equal shapes, dtypes, distribution and seed, in any process."""
    return [_array(value, distribution, (seed, place)) for place, value in enumerate(values)]


def _array(value: Value, distribution: str, stream: tuple[int, ...]) -> Any:
    shape, dtype = value.shape, value.dtype
    if jnp.issubdtype(dtype, jax.dtypes.prng_key):
        return jax.random.split(jax.random.key(int(np.random.default_rng(stream).integers(2**31))), shape)
    if jnp.issubdtype(dtype, jnp.bool_):
        return jnp.asarray(np.random.default_rng(stream).integers(0, 2, shape, dtype=np.int8).astype(bool))
    if jnp.issubdtype(dtype, jnp.integer):
        # Small and not negative, so that indices stay inside and sums do not wrap.
        return jnp.asarray(np.random.default_rng(stream).integers(0, 4, shape), dtype)
    if jnp.issubdtype(dtype, jnp.complexfloating):
        real, imaginary = (_reals(shape, distribution, (*stream, part), jnp.finfo(dtype).dtype) for part in range(2))
        return jnp.asarray(real + 1j * imaginary, dtype)
    return jnp.asarray(_reals(shape, distribution, stream, dtype), dtype)


def _reals(shape: tuple[int, ...], distribution: str, stream: tuple[int, ...], dtype: Any) -> np.ndarray:
    # Double precision must have digits that single precision has not, or a kernel that drops them goes unnoticed.
    return np.resize(_period(distribution, stream, dtype == np.float64), shape)


@lru_cache(maxsize=32)
def _period(distribution: str, stream: tuple[int, ...], double: bool) -> np.ndarray:
    rng = np.random.default_rng([*stream, DISTRIBUTIONS.index(distribution)])
    reals = rng.standard_normal(PERIOD, dtype=np.float64 if double else np.float32)
    if distribution == "wide":
        reals *= 10.0 ** rng.uniform(-3, 3, PERIOD)
        reals[rng.random(PERIOD) < 0.1] = 0
    return np.abs(reals) if distribution == "positive" else reals
