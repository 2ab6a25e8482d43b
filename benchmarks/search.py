"""The search itself: how long it takes, how well it predicts, and what its levels and backends bring.

    python benchmarks/search.py [bert dcgan ...] [--json results.json] [--only times levels backends stability]

Times are of fresh processes. *Cold* has an empty database, *warm* the one that cold left. What levels and backends
bring is the ratio of programs that take turns in one process, with the quartiles of the ratios. *Stability*: the
placements of three tunings from an empty database, pinned and timed in turn.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from functools import partial
from itertools import pairwise
from pathlib import Path

import jax
from rich.console import Console
from rich.table import Table

import collage_jax

sys.path.append(str(Path(__file__).parents[1] / "examples"))
from interleave import interleaved, quartiles
from networks import NETWORKS

FIVE = ("bert", "dcgan", "nasnet_a", "resnet3d50", "resnext50")
BACKENDS = tuple(("onednn", "sgemm", "grouped", "winograd")[:count] for count in range(1, 5))
ROUNDS, SECONDS = 15, 8.0
TUNINGS = 3
PARTS = ("times", "levels", "backends", "stability")


def first_call(name: str, mode: str) -> dict:
    """Seconds of the first call in this process, tracing and compiling included, and what was decided."""
    network = NETWORKS[name]
    params, x = network.init(seed=0), network.input(1, seed=0)
    jax.block_until_ready(jax.jit(lambda x: x + 1)(x))  # the client is there
    fun = jax.jit(network.apply) if mode == "jit" else collage_jax.jit(network.apply, frozen_argnums=0)
    start = time.perf_counter()
    jax.block_until_ready(fun(params, x))
    found = {"seconds": time.perf_counter() - start}
    if mode == "jit":
        return found
    placement = fun.placement(params, x)
    fields = ("tuning_s", "distinct_measured", "uncorrected_us", "predicted_us", "measured_us", "xla_us")
    return found | {field: getattr(placement, field) for field in fields} | {"counts": placement.counts()}


def compared(name: str, variants: dict[str, dict]) -> dict[str, tuple[float, float, float]]:
    """How many times faster than `jax.jit` each variant is (25, 50 and 75 per cent), and than the one before it."""
    network = NETWORKS[name]
    params, x = network.init(seed=0), network.input(1, seed=0)
    functions = {"jax.jit": jax.jit(network.apply)}
    for label, options in variants.items():
        functions[label] = collage_jax.jit(network.apply, frozen_argnums=0, **options)
    calls = [partial(fun, params, x) for fun in functions.values()]
    for call in calls:
        jax.block_until_ready(call())
    samples = dict(zip(functions, interleaved(calls, ROUNDS, SECONDS), strict=True))
    ratios = {f"{label} over jax.jit": quartiles(samples["jax.jit"] / samples[label]) for label in variants}
    labels = list(variants)
    pairs = pairwise(labels)
    return ratios | {f"{after} over {before}": quartiles(samples[before] / samples[after]) for before, after in pairs}


def tuned_to(name: str, path: Path) -> dict:
    """Saves the placement found by this process."""
    network = NETWORKS[name]
    params, x = network.init(seed=0), network.input(1, seed=0)
    collage_jax.jit(network.apply, frozen_argnums=0).placement(params, x).save(path)
    return {}


def stability(name: str, directory: Path) -> dict[str, tuple[float, float, float]]:
    """How many times slower each of the placements in `directory` is than the fastest of them by the median."""
    network = NETWORKS[name]
    params, x = network.init(seed=0), network.input(1, seed=0)
    pinned = [collage_jax.jit(network.apply, frozen_argnums=0, placement=p) for p in sorted(directory.glob("*.json"))]
    calls = [partial(fun, params, x) for fun in pinned]
    for call in calls:
        jax.block_until_ready(call())
    samples = interleaved(calls, 2 * ROUNDS, 2 * SECONDS)
    best = min(samples, key=lambda s: quartiles(s)[1])
    return {f"tuning {i + 1} over the fastest": quartiles(s / best) for i, s in enumerate(samples)}


def child(*arguments: str, cache: str) -> dict:
    """What this script prints in a fresh process with its costs in `cache`."""
    command = [sys.executable, __file__, "--child", *arguments, "--cache", cache]
    said = subprocess.run(command, check=True, capture_output=True, text=True)
    return json.loads(said.stdout.splitlines()[-1])


def run_child(name: str, mode: str) -> dict:
    """One measurement, in this process."""
    if mode == "levels":
        return compared(name, {"op level": {"tune": "op-level"}, "two levels": {}})
    if mode.startswith("tune "):
        return tuned_to(name, Path(mode.removeprefix("tune ")))
    if mode.startswith("stability "):
        return stability(name, Path(mode.removeprefix("stability ")))
    if mode == "backends":
        return compared(name, {" ".join(names): {"backends": names} for names in BACKENDS})
    return first_call(name, mode)


def measure(name: str, options: argparse.Namespace) -> dict:
    """Everything about one network."""
    found: dict = {}
    parts = options.only
    if "stability" in parts:
        with tempfile.TemporaryDirectory() as temporary:
            saved = options.keep or temporary
            Path(saved).mkdir(parents=True, exist_ok=True)
            for i in range(options.tunings):
                with tempfile.TemporaryDirectory() as cache:
                    child(name, f"tune {saved}/{i}.json", cache=cache)
            found["stability"] = child(name, f"stability {saved}", cache="off")
    with tempfile.TemporaryDirectory() as cache:
        if "times" in parts:
            found |= {mode: child(name, mode, cache=cache) for mode in ("cold", "warm", "jit")}
        found |= {part: child(name, part, cache=cache) for part in ("levels", "backends") if part in parts}
    return found


def rows(name: str, found: dict) -> list[tuple[str, str, str]]:
    """`(network, what, figure)` for people."""
    lines = []
    if "cold" in found:
        cold, warm, jit = found["cold"], found["warm"], found["jit"]
        lines += [
            ("first call, cold", f"{cold['seconds']:.1f} s ({cold['distinct_measured']} distinct regions measured)"),
            ("first call, warm", f"{warm['seconds']:.1f} s ({warm['distinct_measured']} measured)"),
            ("first call, jax.jit", f"{jit['seconds']:.1f} s; warm adds {warm['seconds'] - jit['seconds']:+.1f} s"),
        ]
        if cold["measured_us"] and cold["predicted_us"]:
            before, after = (cold[k] / cold["measured_us"] for k in ("uncorrected_us", "predicted_us"))
            lines.append(("predicted / measured", f"{before:.2f} as added up, {after:.2f} corrected"))
    for part in ("levels", "backends", "stability"):
        for what, (low, ratio, high) in found.get(part, {}).items():
            lines.append((what, f"{ratio:.3f} ({low:.3f}-{high:.3f})"))
    return [(name, *line) for line in lines]


def main() -> None:
    """Prints a table, and writes every figure as JSON if asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="network", help=f"any of: {', '.join(NETWORKS)}")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--keep", type=Path, help="where to keep the placements of the tunings")
    parser.add_argument("--tunings", type=int, default=TUNINGS, help="of which stability compares the placements")
    parser.add_argument("--json", type=Path, help="where to write all figures")
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--cache", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        collage_jax.config.cache_dir = options.cache
        print(json.dumps(run_child(*options.child)))
        return
    table = Table("network", "what", "figure", title="batch 1, float32, weights frozen")
    results = {}
    for name in options.names or FIVE:
        results[name] = measure(name, options)
        for row in rows(name, results[name]):
            print(*row, sep=": ", flush=True)
            table.add_row(*row)
    Console().print(table)
    if options.json:
        options.json.write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
