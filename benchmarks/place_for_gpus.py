"""What each backend gets of the six networks on GPUs that are not here, and why not more: nothing runs on a GPU.

    python benchmarks/place_for_gpus.py                                # a T4, an A100 and an H100
    python benchmarks/place_for_gpus.py bert --devices sm_90 --markdown gpus.md

For inference at batch 1 with weights frozen, and for a step of gradient descent at batch 4. Programs are compiled where
XLA's compiler for CUDA is installed. Each architecture has a process of its own, since cuDNN keeps the kernels that it
compiled for the first one it meets. Times on the GPU are estimates; "s" is how long placing and compiling took here.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from rich.console import Console
from rich.table import Table

import collage_jax

sys.path.append(str(Path(__file__).parents[1] / "examples"))
from networks import NETWORKS

DEVICES = ("sm_75", "sm_80", "sm_90")
TASKS = ("inference", "training")
RATE = 0.01

#: Reasons of one backend beyond so many are counted only.
REASONS = 6
PROGRAMS = ("network", "task", "device", "regions", "estimate, us", "jax.jit's, us", "calls in the program", "s")
REFUSALS = ("backend", "device", "n", "what", "why not")


def arguments(name: str, task: str) -> tuple[Any, tuple[Any, ...], tuple[int, ...]]:
    """The function, what stands for its arguments, and which of them are frozen."""
    network = NETWORKS[name]
    weights = [jax.ShapeDtypeStruct(weight.shape, jnp.float32) for weight in network.weights]
    if task == "inference":
        return network.apply, (weights, jax.ShapeDtypeStruct(network.input_shape(1), jnp.float32)), (0,)

    def step(weights: Sequence[Any], x: Any) -> Any:
        loss, gradients = jax.value_and_grad(lambda w: 0.5 * jnp.sum(jnp.square(network.apply(w, x))))(weights)
        return loss, [w - RATE * g for w, g in zip(weights, gradients, strict=True)]

    return step, (weights, jax.ShapeDtypeStruct(network.input_shape(4), jnp.float32)), ()


def place(name: str, task: str, device: str) -> dict[str, Any]:
    """One program placed, as a row of results."""
    function, args, frozen = arguments(name, task)
    start = time.perf_counter()
    found: dict[str, Any] = {"network": NETWORKS[name].title, "task": task, "device": device}
    try:
        lowered = collage_jax.lower_for(function, *args, device=device, frozen_argnums=frozen)
        calls = lowered.custom_calls()
    except Exception as failure:
        return found | {"failure": f"{type(failure).__name__}: {failure}", "s": time.perf_counter() - start}
    placement = lowered.placement
    refused = Counter((r.backend, "+".join(r.ops) or "everything", r.reason) for r in placement.refusals)
    return found | {
        "regions": placement.counts(),
        "stage": lowered.stage,
        "us": placement.predicted_us,
        "xla_us": lowered.xla_estimate_us,
        "calls": calls,
        "refused": [[*key, count] for key, count in refused.items()],
        "unavailable": dict(placement.unavailable or {}),
        "s": time.perf_counter() - start,
    }


def placed_on(device: str, names: Sequence[str], tasks: Sequence[str]) -> Iterator[dict[str, Any]]:
    """The results of all programs on one device, from a process of its own, as they come."""
    command = [sys.executable, __file__, *names, "--devices", device, "--tasks", *tasks, "--child"]
    environment = os.environ | {"JAX_PLATFORMS": "cpu"}
    awaited = [(name, task) for name in names for task in tasks]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment
    ) as child:
        for line in child.stdout or ():
            if line.startswith("{"):
                awaited.pop(0)
                yield json.loads(line)
    for name, task in awaited:
        failure = f"the process ended with {child.returncode}"
        yield {"network": NETWORKS[name].title, "task": task, "device": device, "failure": failure, "s": 0.0}


def program_rows(results: Sequence[dict[str, Any]]) -> Iterator[tuple[str, ...]]:
    """Cells under ``PROGRAMS``."""
    for result in results:
        head = result["network"], result["task"], result["device"]
        if "failure" in result:
            yield (*head, result["failure"][:200], "", "", "", f"{result['s']:.1f}")
            continue
        times = (f"{result[key]:.0f}" for key in ("us", "xla_us"))
        yield (*head, _counted(result["regions"]), *times, _counted(result["calls"]) or "none", f"{result['s']:.1f}")


def refusal_rows(results: Sequence[dict[str, Any]]) -> Iterator[tuple[str, ...]]:
    """Cells under ``REFUSALS``: what backends refused in all programs together, the most frequent reasons first."""
    unavailable = {
        (n, why): None for r in results for n, why in r.get("unavailable", {}).items() if "runs on" not in why
    }
    yield from ((name, "all", "", "everything", why) for name, why in unavailable)
    counted: Counter[tuple[str, str, str, str]] = Counter()
    for result in results:
        for backend, ops, reason, count in result.get("refused", ()):
            counted[backend, result["device"], ops, reason] += count
    shown: Counter[tuple[str, str]] = Counter()
    for (backend, device, ops, reason), count in counted.most_common():
        shown[backend, device] += 1
        if shown[backend, device] <= REASONS:
            yield backend, device, str(count), ops if len(ops) < 60 else f"{ops[:57]}...", reason[:300]
    for (backend, device), count in shown.items():
        if count > REASONS:
            yield backend, device, "", "", f"and {count - REASONS} more"


def _counted(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.items())


def markdown(headings: Sequence[str], rows: Iterator[tuple[str, ...]]) -> str:
    """A table."""
    cells = (headings, ["---"] * len(headings), *rows)
    return "".join(f"| {' | '.join(cell.replace('|', ' ') for cell in row)} |\n" for row in cells)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="network", help=f"of {', '.join(NETWORKS)} (default: all)")
    parser.add_argument("--devices", nargs="+", default=DEVICES, metavar="device", help="architectures, such as sm_80")
    parser.add_argument("--tasks", nargs="+", default=TASKS, choices=TASKS)
    parser.add_argument("--markdown", type=Path, help="write the tables to this file")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    names = options.names or list(NETWORKS)
    if unknown := set(names) - set(NETWORKS):
        parser.error(f"networks are {', '.join(NETWORKS)}; got {', '.join(sorted(unknown))}")
    if options.child:
        for name in names:
            for task in options.tasks:
                print(json.dumps(place(name, task, options.devices[0])), flush=True)
        return
    results: list[dict[str, Any]] = []
    for device in options.devices:
        for result in placed_on(device, names, options.tasks):
            results.append(result)
            print(*next(program_rows([result])), sep="  ", flush=True)
    for headings, rows in ((PROGRAMS, program_rows), (REFUSALS, refusal_rows)):
        table = Table(*headings)
        for row in rows(results):
            table.add_row(*row)
        Console().print(table)
    if options.markdown is not None:
        text = f"{markdown(PROGRAMS, program_rows(results))}\n{markdown(REFUSALS, refusal_rows(results))}"
        options.markdown.write_text(text, encoding="utf8")


if __name__ == "__main__":
    main()
