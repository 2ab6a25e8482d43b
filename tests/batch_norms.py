"""Batch norm with the statistics of the batch, as it is written where it is trained."""

from __future__ import annotations

import jax.numpy as jnp
from jax import lax


def flax_batch_norm(x, scale, shift, epsilon=1e-2):
    """As Flax writes it: x converted for the statistics, and once more where the mean is subtracted."""
    pixels = tuple(range(x.ndim - 1))
    wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    mean, square = wide.mean(pixels), lax.square(wide).mean(pixels)
    variance = jnp.maximum(0.0, square - lax.square(mean))
    return ((x - mean) * (lax.rsqrt(variance + epsilon) * scale) + shift).astype(x.dtype), mean, variance
