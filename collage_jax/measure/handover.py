"""What isolated timing does not see: an array handed from one region to the next.

Timed alone, a region finds its inputs in cache and its result in memory that was used a moment ago. Inside a program
the array between two regions is written to other memory and read back, which one fused region avoids.
"""

from __future__ import annotations

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np

from .race import race

BYTES = 1 << 23


@cache
def handover_us_per_byte() -> float:
    """Microseconds per byte of an array larger than the inner caches that is read, changed and written elsewhere."""
    array = jnp.zeros(BYTES // 4, jnp.float32)
    pass_over = jax.jit(lambda x: x + 1)
    jax.block_until_ready(pass_over(array))
    samples = race({"pass": lambda: pass_over(array)}, rounds=9, seconds=0.2)["pass"]
    return float(np.median(samples)) * 1e6 / BYTES
