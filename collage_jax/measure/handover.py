"""What isolated timing does not see: an array handed from one region to the next.

Timed alone, a region finds its inputs in cache and its result in memory that was used a moment ago. Inside a program
the array between two regions is written to other memory and read back, which one fused region avoids. And where XLA
needs much memory for what lies between regions, each call of the program gets it anew from the operating system, page
by page.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np

from .. import target
from ..device import UNKEPT_BYTES
from . import clock as clocks
from .clock import HOST, Clock
from .race import race

BYTES = 1 << 23
#: On a GPU: long enough beside what it takes to start a kernel.
GPU_BYTES = 1 << 25


@cache
def handover_us_per_byte() -> float:
    """Microseconds per byte of an array larger than the inner caches that is read, changed and written elsewhere."""
    clock, size = clocks.for_programs(), GPU_BYTES if target.current().platform == "gpu" else BYTES
    array = jnp.zeros(size // 4, jnp.float32)
    call = _into_kept(lambda x: x + 1, array, clock)
    samples = race({"pass": call}, rounds=9, seconds=0.2, clock=clock)["pass"]
    return float(np.median(samples)) * 1e6 / size


@cache
def fresh_us_per_byte() -> float:
    """Microseconds per byte that an array takes longer to write where its memory is not kept, as large arrays' is.

    None on a GPU, where JAX keeps all memory that it ever had.
    """
    if target.current().platform == "gpu":
        return 0.0
    count = UNKEPT_BYTES // 4 + 1
    one = jnp.float32(1)

    def fill(x: jax.Array) -> jax.Array:
        return jnp.full(count, x)

    fresh = jax.jit(fill)
    contenders = {"fresh": lambda: fresh(one), "kept": _into_kept(fill, one, HOST)}
    jax.block_until_ready(contenders["fresh"]())
    samples = race(contenders, rounds=7, seconds=0.2, hopeless=np.inf)
    return max(0.0, float(np.median(samples["fresh"] - samples["kept"]))) * 1e6 / UNKEPT_BYTES


def _into_kept(function: Callable[[jax.Array], jax.Array], operand: jax.Array, clock: Clock) -> Callable[[], jax.Array]:
    """A call of ``function``, for ``clock`` to time, that writes its result where that of the call before was."""
    timed = clock.marked(function)
    compiled = jax.jit(lambda spare, x: timed(x), donate_argnums=0, keep_unused=True)
    result = clock.results(compiled(jnp.empty_like(jax.eval_shape(function, operand)), operand))

    def call() -> jax.Array:
        nonlocal result
        result = clock.results(compiled(result, operand))
        return result

    return call
