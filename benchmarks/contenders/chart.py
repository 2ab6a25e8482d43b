"""A bar chart of results: how many times as fast as `jax.jit` each contender is."""

from pathlib import Path

import matplotlib as mpl

mpl.use("svg")
import matplotlib.pyplot as plt
import numpy as np

from . import CONTENDERS, LIMIT, OURS
from .results import Result

GREYS = ("#b8bec7", "#98a0ac", "#7a8494", "#5e6979", "#454f5e", "#2f3743")
OUR_COLOUR = "#d9480f"
#: On a dark page light and dark change places, and hues stay.
DARK = "@media (prefers-color-scheme: dark) { svg { filter: invert(1) hue-rotate(180deg) } }"


def draw(results: list[Result], path: Path) -> None:
    """One row of bars per batch, networks side by side; written to `path`."""
    batches = sorted({result.batch for result in results})
    names = [name for name in CONTENDERS if name != LIMIT and any(name in result.seconds for result in results)]
    peers = [name for name in names if name != OURS]
    colours = dict(zip(peers, GREYS, strict=False)) | {OURS: OUR_COLOUR}
    figure, axes = plt.subplots(len(batches), 1, figsize=(10, 3.2 * len(batches)), squeeze=False)
    for axis, batch in zip(axes[:, 0], batches, strict=True):
        rows = [result for result in results if result.batch == batch and "jax" in result.seconds]
        for i, name in enumerate(names):
            heights = [result.ms("jax") / result.ms(name) for result in rows]
            places = np.arange(len(rows)) + (i - (len(names) - 1) / 2) * 0.8 / len(names)
            axis.bar(places, heights, 0.8 / len(names), label=CONTENDERS[name].title, color=colours[name])
        axis.set_xticks(range(len(rows)), [result.title for result in rows])
        axis.set_yscale("log")
        axis.set_yticks((1, 2, 5, 10), ("1", "2", "5", "10"))
        axis.set_ylabel(f"speed over jax.jit, batch {batch}")
        axis.axhline(1, color="black", linewidth=0.5)
        axis.spines[["top", "right"]].set_visible(False)
    axes[0, 0].legend(ncols=4, loc="lower center", bbox_to_anchor=(0.5, 1), frameon=False)
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None}, transparent=True)
    text = path.read_text(encoding="utf8")
    path.write_text(text.replace("</style>", f"\n{DARK}</style>", 1), encoding="utf8")
