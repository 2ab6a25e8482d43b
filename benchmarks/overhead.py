"""The cost of a call itself: 200 small arrays through `jax.jit` and through `collage_jax.jit`.

    python benchmarks/overhead.py [--rounds 200]

The variants take turns in short blocks; a difference is between two blocks of the same turn.
"""

import argparse
import sys
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Console
from rich.table import Table

import collage_jax

sys.path.append(str(Path(__file__).parents[1] / "examples"))
from interleave import interleaved, quartiles

LAYERS, CALLS = 100, 20


def chain(params, x):
    """`x`: `(8,)` through 100 affine layers; `params`: a list of `{"scale": (8,), "shift": (8,)}`, 200 leaves."""
    for layer in params:
        x = x * layer["scale"] + layer["shift"]
    return x


def main() -> None:
    """Prints microseconds a call, and the difference from `jax.jit` with its spread."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=200, help="blocks of each variant")
    options = parser.parse_args()

    rng = np.random.default_rng(0)
    draw = partial(rng.uniform, -1.0, 1.0, 8)
    params = [{name: jnp.asarray(draw(), jnp.float32) for name in ("scale", "shift")} for _ in range(LAYERS)]
    x = jnp.asarray(draw(), jnp.float32)
    variants = {
        "jax.jit": jax.jit(chain),
        "jax.jit again": jax.jit(lambda params, x: chain(params, x)),  # what this comparison finds between equals
        "collage_jax.jit": collage_jax.jit(chain),
        "collage_jax.jit, frozen": collage_jax.jit(chain, frozen_argnums=0),
    }
    calls = [partial(fun, params, x) for fun in variants.values()]
    for call in calls:
        jax.block_until_ready(call())
    samples = [seconds * 1e6 for seconds in interleaved(calls, options.rounds, calls=CALLS)]

    table = Table("variant", "us a call", "difference us", "25-75%", title=f"{2 * LAYERS} leaves")
    for name, us in zip(variants, samples, strict=True):
        low, median, high = quartiles(us - samples[0])
        table.add_row(name, f"{np.median(us):.1f}", f"{median:+.2f}", f"{low:+.2f} to {high:+.2f}")
    Console().print(table)


if __name__ == "__main__":
    main()
