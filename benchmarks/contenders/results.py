"""What the rounds of one network and batch say: ratios taken within rounds, their medians and quartiles."""

from dataclasses import dataclass

import numpy as np

from . import CONTENDERS, LIMIT, OURS

#: Rows and columns of the matrices whose product is the limit, and its operations.
PRODUCT = 2048
PRODUCT_GFLOP = 2 * PRODUCT**3 / 1e9


@dataclass(frozen=True)
class Result:
    """`seconds[name]` has one entry a round, NaN where a contender did not take part.

    `errors` are relative to the largest output.
    """

    network: str
    title: str
    batch: int
    gflop: float
    seconds: dict[str, list[float]]
    errors: dict[str, float]
    peak_bytes: dict[str, int]
    ready_s: dict[str, float]
    failures: dict[str, str]

    def ms(self, name: str) -> float:
        """Median milliseconds of a call; NaN for a contender that failed."""
        return float(np.nanmedian(self.seconds[name])) * 1e3 if name in self.seconds else float("nan")

    def peers(self) -> list[str]:
        """All who ran but ourselves."""
        return [name for name in self.seconds if name not in (OURS, LIMIT)]

    def best_peer(self) -> str:
        """The one with the smallest median."""
        return min(self.peers(), key=self.ms)

    def ratio(self, name: str) -> tuple[float, float, float]:
        """Quartiles, over rounds, of how many times as long as ours `name` took."""
        ratios = np.array(self.seconds[name]) / np.array(self.seconds[OURS])
        low, median, high = np.nanpercentile(ratios, (25, 50, 75))
        return float(low), float(median), float(high)

    def limit_gflops(self) -> float:
        """GFLOP/s of a large product."""
        return float(np.median(PRODUCT_GFLOP / np.array(self.seconds[LIMIT])))

    def share_of_limit(self, name: str = OURS) -> float:
        """GFLOP/s by the network's own count of operations, over those of a large product in the same round."""
        achieved = self.gflop * self.batch / np.array(self.seconds[name])
        return float(np.median(achieved / (PRODUCT_GFLOP / np.array(self.seconds[LIMIT]))))


def geometric_mean(values: list[float]) -> float:
    """NaN for no values."""
    return float(np.exp(np.mean(np.log(values)))) if values else float("nan")


def best_single_peer(results: list[Result]) -> tuple[str, float]:
    """The peer that all networks together are fastest on, and our geometric mean over it."""
    common = set.intersection(*(set(result.peers()) for result in results))
    means = {
        name: geometric_mean([result.ratio(name)[1] for result in results]) for name in CONTENDERS if name in common
    }
    best = min(means, key=means.__getitem__)
    return best, means[best]


def table(results: list[Result]) -> str:
    """Markdown: a row per network, of one batch."""
    names = [name for name in CONTENDERS if any(name in result.seconds for result in results) and name != LIMIT]
    lines = [
        f"| network | {' | '.join(f'{CONTENDERS[name].title}' for name in names)} | over the best peer | over jax.jit "
        "| share of the limit | error | memory, ours / jax.jit |",
        f"| --- |{' ---: |' * (len(names) + 5)}",
    ]
    for result in results:
        low, median, high = result.ratio(result.best_peer())
        cells = [f"{result.ms(name):.1f}" if name in result.seconds else "failed" for name in names]
        memory = result.peak_bytes[OURS] / result.peak_bytes["jax"] if "jax" in result.peak_bytes else float("nan")
        jax_ratio = f"{result.ratio('jax')[1]:.2f}" if "jax" in result.seconds else ""
        share = f"{result.share_of_limit():.0%}" if LIMIT in result.seconds else ""
        lines.append(
            f"| {result.title} | {' | '.join(cells)} | {median:.2f} ({low:.2f}-{high:.2f}) | {jax_ratio} | {share} "
            f"| {max(result.errors.values(), default=0):.1e} | {memory:.2f} |"
        )
    best, mean = best_single_peer(results)
    over_best = geometric_mean([result.ratio(result.best_peer())[1] for result in results])
    over_jax = geometric_mean([result.ratio("jax")[1] for result in results if "jax" in result.seconds])
    lines += [
        "",
        f"Geometric means: {mean:.2f} over the best single peer ({CONTENDERS[best].title}), {over_best:.2f} over the "
        f"best peer of each network, {over_jax:.2f} over jax.jit. The machine's limit: "
        f"{np.median([r.limit_gflops() for r in results if LIMIT in r.seconds] or [np.nan]):.0f} GFLOP/s.",
    ]
    return "\n".join(lines)
