"""Seeded inputs to check and time kernels on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..graph.ir import Value

#: What kernels are checked on. ``normal`` is also what they are timed on. ``wide`` spans six orders of magnitude and
#: holds exact zeros, where activations and rounding differ. ``positive`` is for whole programs, so that a variance
#: among their arguments has a root.
DISTRIBUTIONS = ("normal", "wide", "positive")


def draw(values: Sequence[Value], distribution: str = "normal", seed: int = 0) -> list[Any]:
    """One array for each of ``values``: equal for equal shapes, dtypes, distribution and seed, in any process."""
    rng = np.random.default_rng([seed, DISTRIBUTIONS.index(distribution)])
    return [_array(value, distribution, rng) for value in values]


def _array(value: Value, distribution: str, rng: np.random.Generator) -> Any:
    shape, dtype = value.shape, value.dtype
    if jnp.issubdtype(dtype, jax.dtypes.prng_key):
        return jax.random.split(jax.random.key(int(rng.integers(2**31))), shape)
    if jnp.issubdtype(dtype, jnp.bool_):
        return jnp.asarray(rng.integers(0, 2, shape, dtype=np.int8).astype(bool))
    if jnp.issubdtype(dtype, jnp.integer):
        # Small and not negative, so that indices stay inside and sums do not wrap.
        return jnp.asarray(rng.integers(0, 4, shape), dtype)
    if jnp.issubdtype(dtype, jnp.complexfloating):
        real, imaginary = (_reals(shape, distribution, rng, jnp.finfo(dtype).dtype) for _ in range(2))
        return jnp.asarray(real + 1j * imaginary, dtype)
    return jnp.asarray(_reals(shape, distribution, rng, dtype), dtype)


def _reals(shape: tuple[int, ...], distribution: str, rng: np.random.Generator, dtype: Any) -> np.ndarray:
    # Double precision must have digits that single precision has not, or a kernel that drops them goes unnoticed.
    reals = rng.standard_normal(shape, dtype=np.float64 if dtype == np.float64 else np.float32)
    if distribution == "wide":
        reals = reals * np.float32(10.0) ** rng.uniform(-3, 3, shape).astype(np.float32)
        reals = reals * (rng.random(shape, dtype=np.float32) > 0.1)
    return np.abs(reals) if distribution == "positive" else np.asarray(reals)
