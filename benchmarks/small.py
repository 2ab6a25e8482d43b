"""Small functions that gain nothing: is `collage_jax.jit` ever slower than `jax.jit`?

    python benchmarks/small.py [--rounds 200] [--budget-s 10] [name ...]

Short blocks of calls alternate between the two; every ratio is between two neighbouring blocks, so a machine that
changes speed moves both. A ratio below 1 means that `collage_jax.jit` is faster.
"""

import argparse
import sys
import time
from functools import partial
from pathlib import Path

import jax
import numpy as np
from rich.console import Console
from rich.table import Table
from small_functions import cases

import collage_jax

sys.path.append(str(Path(__file__).parents[1] / "examples"))
from interleave import interleaved, quartiles

BLOCK_S = 2e-3  # long against the clock's resolution, short against the machine's drift


def compare(fun, args, options: argparse.Namespace) -> tuple[tuple[str, ...], float]:
    """One row of the table, and the median ratio of `collage_jax.jit` to `jax.jit`."""
    plain = partial(jax.jit(fun), *args)
    decorated = collage_jax.jit(fun, budget_s=options.budget_s)
    placed = partial(decorated, *args)
    jax.block_until_ready((plain(), placed()))  # compile and tune

    (probe,) = interleaved([plain], rounds=30)
    calls = max(1, round(BLOCK_S / np.median(probe)))
    plain_s, placed_s = interleaved((plain, placed), options.rounds, calls=calls)
    low, ratio, high = quartiles(placed_s / plain_s)
    backends = sorted({region.backend for region in decorated.placement(*args).regions})
    times = (f"{np.median(seconds) * 1e6:.1f}" for seconds in (plain_s, placed_s))
    return (fun.__name__, *times, f"{ratio:.3f}", f"{low:.3f}-{high:.3f}", " ".join(backends)), ratio


def main() -> None:
    """Prints the table and the geometric mean of the median ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="name", help="only these functions (default: all)")
    parser.add_argument("--rounds", type=int, default=200, help="alternations of blocks per function")
    parser.add_argument("--budget-s", type=float, help="bound on the tuning of one function, seconds")
    options = parser.parse_args()

    table = Table("function", "jax.jit us", "ours us", "ratio", "25-75%", "backends")
    ratios, start = [], time.perf_counter()
    with jax.enable_x64(True):
        arguments = cases()
    for fun, args in arguments:
        if options.names and fun.__name__ not in options.names:
            continue
        with jax.enable_x64(fun.__name__ == "float64"):
            row, ratio = compare(fun, args, options)
        table.add_row(*row)
        ratios.append(ratio)
    Console().print(table)
    if ratios:
        print(f"geometric mean of {len(ratios)} ratios: {np.exp(np.mean(np.log(ratios))):.3f}")
    print(f"took {time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    main()
