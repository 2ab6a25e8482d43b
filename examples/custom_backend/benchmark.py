"""Running sums: `jax.jit` against `collage_jax.jit` with this package, call by call in turn.

python benchmark.py
"""

import time
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

import collage_jax

CASES = {"16384": 0, "100000": 0, "4096 x 64": 0, "128 x 128 x 64": 1, "8 x 512 x 512": 1, "32 x 1024 x 256": 1}
ROUNDS = 15


def seconds(call) -> float:
    """One call, waited for."""
    begin = time.perf_counter()
    jax.block_until_ready(call())
    return time.perf_counter() - begin


def main() -> None:
    """Prints a row of a table for each shape."""
    print("| shape | axis | jax.jit ms | collage_jax.jit ms | ratio, 25-75% | backend |")
    print("| --- " * 6 + "|")
    for text, axis in CASES.items():
        shape = tuple(map(int, text.split(" x ")))
        x = jnp.asarray(np.random.default_rng(0).standard_normal(shape), jnp.float32)
        fun = partial(jnp.cumsum, axis=axis)
        plain, placed = jax.jit(fun), collage_jax.jit(fun)
        for each in (plain, placed):
            jax.block_until_ready(each(x))
        pairs = np.array([[seconds(partial(each, x)) for each in (plain, placed)] for _ in range(ROUNDS)])
        plain_ms, placed_ms = np.median(pairs, 0) * 1e3
        low, ratio, high = np.percentile(pairs[:, 0] / pairs[:, 1], (25, 50, 75))
        used = ", ".join(placed.placement(x).counts())
        print(f"| {text} | {axis} | {plain_ms:.2f} | {placed_ms:.2f} | {ratio:.1f}, {low:.1f}-{high:.1f} | {used} |")


if __name__ == "__main__":
    main()
