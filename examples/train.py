"""Training with Optax, by `jax.jit` and by `collage_jax.jit` side by side: loss curves and steps per second.

    pip install '.[examples]'
    python examples/train.py resnet                  # Flax NNX; or: transformer (Equinox)
    python examples/train.py resnet --steps 300 --checkpoint DIRECTORY
    python examples/train.py resnet --steps 600 --checkpoint DIRECTORY   # goes on from there

Both train the same network from the same weights on the same batches and take turns, ten steps each, so that the
machine's drift falls on both alike. Checkpoints are Orbax's.
"""

import argparse
import time
from itertools import islice
from pathlib import Path

import jax
import numpy as np
import orbax.checkpoint as ocp
from training import TASKS

import collage_jax

TURN = 10  # steps of one before it is the other's turn


def train(step, state, batches):
    """The state after a step on each of `batches`, the losses, and the seconds of each step."""
    losses, seconds = [], []
    for batch in batches:
        start = time.perf_counter()
        state, loss = jax.block_until_ready(step(state, *batch))
        seconds.append(time.perf_counter() - start)
        losses.append(float(loss))
    return state, losses, seconds


def restored(directory: Path, state):
    """The last checkpoint in `directory` with its number of steps; `state` and 0 without one."""
    kept = sorted((int(path.name), path) for path in directory.glob("[0-9]*")) if directory.exists() else []
    if not kept:
        return state, 0
    steps, path = kept[-1]
    with ocp.StandardCheckpointer() as checkpointer:
        leaves = checkpointer.restore(path, dict(enumerated(state)))
    return jax.tree.unflatten(jax.tree.structure(state), list(leaves.values())), steps


def save(directory: Path, state, steps: int) -> None:
    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(directory.absolute() / str(steps), dict(enumerated(state)))


def enumerated(state):
    """The arrays of `state` under numbers that keep their order as text."""
    return ((f"{i:04}", leaf) for i, leaf in enumerate(jax.tree.leaves(state)))


def run(name: str, steps: int, checkpoint: Path | None = None):
    """Trains up to step number `steps` by both; their losses, and the ratios of seconds of a turn."""
    task = TASKS[name]
    first, done = restored(checkpoint, task.init(0)) if checkpoint else (task.init(0), 0)
    contenders = {"jax.jit": jax.jit(task.step), "collage_jax.jit": collage_jax.jit(task.step)}
    state = dict.fromkeys(contenders, first)
    losses = {label: [] for label in contenders}
    medians = {label: [] for label in contenders}
    batches = islice(task.batches(seed=1), done, steps)
    while turn := list(islice(batches, TURN)):
        for label, step in contenders.items():
            state[label], found, seconds = train(step, state[label], turn)
            losses[label] += found
            medians[label].append(float(np.median(seconds)))
        ours, theirs = losses["collage_jax.jit"], losses["jax.jit"]
        print(
            f"step {done + len(ours):4}: loss {theirs[-1]:.4f} by jax.jit, {ours[-1]:.4f} by collage_jax.jit",
            flush=True,
        )
    if checkpoint and losses["jax.jit"]:
        save(checkpoint, state["collage_jax.jit"], steps)
    return losses, medians, contenders["collage_jax.jit"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task", choices=TASKS)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--checkpoint", type=Path, help="go on from the last one here, and leave one at the end")
    given = parser.parse_args()
    losses, medians, _ = run(given.task, given.steps, given.checkpoint)
    if not losses["jax.jit"]:
        print("nothing left to do")
        return
    apart = np.abs(np.subtract(losses["jax.jit"], losses["collage_jax.jit"]))
    ratios = np.divide(medians["jax.jit"], medians["collage_jax.jit"])
    low, middle, high = np.percentile(ratios[1:] if len(ratios) > 1 else ratios, [25, 50, 75])
    for label, times in medians.items():
        print(f"{label}: {1 / np.median(times):.1f} steps/s")
    print(f"{middle:.2f} times as fast ({low:.2f}-{high:.2f}); losses at most {apart.max():.1e} apart")


if __name__ == "__main__":
    main()
