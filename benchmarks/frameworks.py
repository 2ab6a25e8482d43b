"""ResNet-50 and ViT-S/16 from five frameworks, by the framework's own compiled call and by ours.

    pip install '.[examples]'
    python benchmarks/frameworks.py                             # all, batch 1
    python benchmarks/frameworks.py equinox keras --networks resnet --json results.json --markdown table.md

Both are made of the same weights, are warm, and take turns, every second round in the opposite order; a ratio is the
time of the framework's over ours in the same round. The networks are those in `examples/frameworks`. `nnx.jit` walks
through all objects of a model in each call; beside it stands `jax.jit`, which takes NNX's modules as pytrees.
"""

import argparse
import json
import sys
import time
from collections import Counter
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import jax
import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "examples"))  # its package `frameworks`, not this file
from frameworks import FRAMEWORKS, load
from frameworks.sizes import RESNET50, VIT_S16
from interleave import interleaved, quartiles

NETWORKS = {"resnet": ("ResNet-50", RESNET50), "vit": ("ViT-S/16", VIT_S16)}
FROZEN = {"flax-nnx": 0, "flax-linen": 0, "equinox": (0, 1), "haiku": (0, 1)}  # Keras' models know by themselves
TITLES = {"flax-nnx": "Flax NNX", "flax-linen": "Flax Linen", "equinox": "Equinox", "haiku": "Haiku", "keras": "Keras"}
OURS = "ours"


@dataclass(frozen=True)
class Result:
    """`seconds[contender]` has an entry a round; `error` is the largest difference over the largest output."""

    framework: str
    network: str
    batch: int
    seconds: dict[str, list[float]]
    error: float
    tuning_s: float

    def ms(self, contender: str) -> float:
        return float(np.median(self.seconds[contender])) * 1e3

    def ratio(self, contender: str) -> tuple[float, float, float]:
        """Quartiles of how many times as long as ours `contender` took."""
        return quartiles(np.array(self.seconds[contender]) / np.array(self.seconds[OURS]))


def measure(name: str, network: str, options: argparse.Namespace) -> Result:
    """Tunes and times one network of one framework."""
    module, (_, size) = load(name), NETWORKS[network]
    build = getattr(module, network)
    images = np.random.default_rng(0).random((options.batch, size.image, size.image, 3), np.float32)
    images = images if name == "keras" else jax.device_put(images)
    frozen = {"frozen_argnums": FROZEN[name]} if name in FROZEN else {}
    predictors = {"own": module.predictor(build(size), module.OWN)}
    if hasattr(module, "PLAIN"):
        predictors["jax.jit"] = module.predictor(build(size), module.PLAIN)
    predictors[OURS] = module.predictor(build(size), budget_s=options.budget_s, **frozen)

    wanted = np.asarray(predictors["own"](images))
    start = time.perf_counter()
    got = np.asarray(predictors[OURS](images))
    tuning_s = time.perf_counter() - start
    calls = {contender: partial(predict, images) for contender, predict in predictors.items()}
    jax.block_until_ready([call() for call in calls.values()])
    seconds = interleaved(list(calls.values()), options.rounds)
    return Result(
        framework=name,
        network=network,
        batch=options.batch,
        seconds={contender: taken.tolist() for contender, taken in zip(calls, seconds, strict=True)},
        error=float(np.abs(got - wanted).max() / np.abs(wanted).max()),
        tuning_s=tuning_s,
    )


def table(results: list[Result]) -> str:
    """Markdown: a row for each network of each framework, one more for a contender that is not the framework's own."""
    lines = [
        "| framework | network | by | its ms | ours ms | ratio (middle half) | error | tuning s |",
        "| --- | --- | --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for result in results:
        for contender in [name for name in result.seconds if name != OURS]:
            low, ratio, high = result.ratio(contender)
            cells = (
                TITLES[result.framework],
                NETWORKS[result.network][0],
                contender,
                f"{result.ms(contender):.1f}",
                f"{result.ms(OURS):.1f}",
                f"{ratio:.2f} ({low:.2f}-{high:.2f})",
                f"{result.error:.1e}",
                f"{result.tuning_s:.0f}",
            )
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def summary(results: list[Result]) -> str:
    """For each network how many frameworks are at least twice as fast, and the least ratio."""
    own = {network: [r.ratio("own")[1] for r in results if r.network == network] for network in NETWORKS}
    twice = Counter({network: sum(ratio >= 2 for ratio in ratios) for network, ratios in own.items()})
    return "".join(
        f"{NETWORKS[network][0]}: 2x in {twice[network]} of {len(ratios)} frameworks, least {min(ratios):.2f}x\n"
        for network, ratios in own.items()
        if ratios
    )


def main() -> None:
    """Measures, prints and writes what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="framework", help=f"any of: {', '.join(FRAMEWORKS)} (default: all)")
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=21)
    parser.add_argument("--budget-s", type=float, default=60.0, help="bound on the tuning of one network, seconds")
    parser.add_argument("--json", type=Path, help="write results here")
    parser.add_argument("--from", dest="source", type=Path, help="measure nothing: take the results of this file")
    parser.add_argument("--markdown", type=Path, help="write the table here")
    options = parser.parse_args()
    if unknown := [name for name in options.names if name not in FRAMEWORKS]:
        parser.error(f"unknown framework {', '.join(unknown)}; choose from {', '.join(FRAMEWORKS)}")

    results = [Result(**fields) for fields in json.loads(options.source.read_text())] if options.source else []
    if not options.source:
        for network in options.networks:
            for name in options.names or FRAMEWORKS:
                results.append(measure(name, network, options))
                print(table(results[-1:]).splitlines()[-1], flush=True)
                jax.clear_caches()
                if options.json:
                    options.json.write_text(json.dumps([asdict(result) for result in results]))
    report = f"{table(results)}\n{summary(results)}"
    print(report)
    if options.markdown:
        options.markdown.write_text(report)


if __name__ == "__main__":
    main()
