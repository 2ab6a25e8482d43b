"""Inference on six networks: `collage_jax.jit` against `jax.jit`, interleaved in one process.

    python examples/inference.py                       # all six, batch 1
    python examples/inference.py bert dcgan --explain  # two of them, with every candidate considered

A ratio is the time of `jax.jit` over that of `collage_jax.jit`, taken between neighbouring calls; an error is the
largest difference over the largest output.
"""

import argparse
import time
from collections import Counter
from functools import partial

import jax
import numpy as np
from interleave import interleaved, quartiles
from networks import NETWORKS, Network
from rich.console import Console
from rich.table import Table

import collage_jax

SECONDS = 3.0  # of timing per network, beyond the least number of rounds
BUDGET_S = 22.0  # of tuning per network: all six finish within three minutes
COLUMNS = ("network", "jax.jit ms", "ours ms", "ratio", "25-75%", "error", "tuning s")


def measure(network: Network, options: argparse.Namespace) -> tuple[tuple[str, ...], str]:
    """Tunes and times one network. Gives its row of the table, and its placement in words."""
    params, x = network.init(seed=0), network.input(options.batch, seed=0)
    plain = jax.jit(network.apply)
    frozen = () if options.no_frozen else 0
    placed = collage_jax.jit(network.apply, frozen_argnums=frozen, budget_s=options.budget_s)

    expected = np.asarray(plain(params, x))
    start = time.perf_counter()
    got = np.asarray(placed(params, x))
    tuning_s = time.perf_counter() - start
    error = np.abs(got - expected).max() / np.abs(expected).max()

    pair = (partial(plain, params, x), partial(placed, params, x))
    plain_s, placed_s = interleaved(pair, options.rounds, SECONDS)
    low, ratio, high = quartiles(plain_s / placed_s)
    times = (f"{np.median(seconds) * 1e3:.2f}" for seconds in (plain_s, placed_s))
    row = (network.title, *times, f"{ratio:.2f}", f"{low:.2f}-{high:.2f}", f"{error:.1e}", f"{tuning_s:.1f}")
    text = placed.explain(params, x) if options.explain else summary(placed.placement(params, x))
    return row, text


def summary(placement) -> str:
    """The regions of each backend, and what tuning predicted and measured for the whole."""
    regions = Counter(region.backend for region in placement.regions)
    counts = ", ".join(f"{count} {backend}" for backend, count in regions.most_common())
    figures = ", ".join(
        f"{label} {'not timed' if us is None else f'{us:,.0f} us'}"
        for label, us in (
            ("predicted", placement.predicted_us),
            ("measured", placement.measured_us),
            ("XLA alone", placement.xla_us),
        )
    )
    return f"regions: {counts or 'none'}; {figures}"


def main() -> None:
    """Prints a line as each network finishes, then all of them with their placements."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="network", help=f"any of: {', '.join(NETWORKS)} (default: all)")
    parser.add_argument("--networks", nargs="+", default=[], metavar="network", help="the same, as an option")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=25, help="most pairs of calls to time")
    parser.add_argument("--budget-s", type=float, default=BUDGET_S, help="bound on the tuning of one network, seconds")
    parser.add_argument("--no-frozen", action="store_true", help="do not promise that the weights stay the same")
    parser.add_argument("--explain", action="store_true", help="print the whole table of candidates")
    options = parser.parse_args()
    names = options.names + options.networks or list(NETWORKS)
    if unknown := [name for name in names if name not in NETWORKS]:
        parser.error(f"unknown network {', '.join(unknown)}; choose from {', '.join(NETWORKS)}")

    table, texts = Table(*COLUMNS, title=f"batch {options.batch}, float32", pad_edge=False), []
    for name in names:
        row, text = measure(NETWORKS[name], options)
        print(", ".join(f"{column} {value}" for column, value in zip(COLUMNS, row, strict=True)), flush=True)
        table.add_row(*row)
        texts.append(f"{row[0]}\n{text}" if options.explain else f"{row[0]}: {text}")
    console = Console()
    console.print(table)
    for text in texts:
        print(text)


if __name__ == "__main__":
    main()
