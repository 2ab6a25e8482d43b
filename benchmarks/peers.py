"""The library against everything else that runs these networks on this CPU.

    pip install '.[bench]'
    python benchmarks/peers.py                             # six networks, batch 1, 8 and 16: more than an hour
    python benchmarks/peers.py bert dcgan --batch 1 --json results.json
    python benchmarks/peers.py --from results.json --markdown table.md --chart chart.svg

Each contender has a process of its own, with the same weights and the same cores. All are warm before the first round;
then they take turns, every second round in the opposite order, so that drift of the machine falls on all alike. Ratios
are taken within rounds. A share of the limit counts the operations of the network as it is defined, whatever was really
computed, over a large matrix product in the same round.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from contenders import CONTENDERS, LIMIT, OURS
from contenders.process import PATHS, Process
from contenders.results import Result, table

sys.path.extend(map(str, PATHS[1:]))
from networks import NETWORKS

TURN_S, MOST_CALLS = 0.3, 20  # a turn lasts about this long
PAUSE_S = 0.25  # before each: threads of libraries keep looking for work that long, on the cores of whoever is next
SLOW_S = 1.0  # a call this long needs no untimed call before it
RARE_S = 10.0  # a contender whose call is this long takes part in the first round alone
BACKWARD = 3  # a training step has three times the operations of the network: two gradients for each product
TOLERANCE = 1e-4  # of the largest output; wider than rounding, narrower than any other function


def measure(name: str, batch: int, names: list[str], rounds: int, trains: bool = False) -> Result:
    """Runs the contenders on one network; those that fail or compute something else are out, with the reason."""
    network = NETWORKS[name]
    with tempfile.TemporaryDirectory() as directory:
        processes, outputs, failures = {}, {}, {}
        for contender in names:
            output, log = Path(directory) / f"{contender}.npy", Path(directory) / "log"
            process = Process(contender, name, batch, output, log, trains)
            if process.failure:
                failures[contender] = process.failure
                process.close()
            else:
                processes[contender], outputs[contender] = process, output
            print(f"  {contender}: {process.failure or f'warm after {process.ready_s:.1f} s'}", flush=True)
        try:
            errors = _errors(outputs)
            for contender in [c for c, error in errors.items() if not error <= TOLERANCE]:
                failures[contender] = f"its output differs by {errors[contender]:.1e} of the largest"
                processes.pop(contender).close()
            seconds = _rounds(processes, rounds, failures)
        finally:
            for process in processes.values():
                process.close()
    return Result(
        network=name,
        title=network.title,
        batch=batch,
        gflop=network.gflops * (BACKWARD if trains else 1),
        seconds=seconds,
        errors={c: error for c, error in errors.items() if c in seconds},
        peak_bytes={c: processes[c].peak_bytes for c in seconds},
        ready_s={c: processes[c].ready_s for c in seconds},
        failures=failures,
    )


def _errors(outputs):
    """Against `jax.jit`, or the first there is."""
    compared = {name: np.load(path) for name, path in outputs.items() if name != LIMIT}
    expected = compared.get("jax", next(iter(compared.values()), None))
    return {name: float(np.abs(got - expected).max() / np.abs(expected).max()) for name, got in compared.items()}


def _rounds(processes, rounds, failures):
    calls, last, seconds = {}, {}, {name: [] for name in processes}
    for name, process in processes.items():
        last[name] = (process.seconds(1) or [RARE_S])[-1]
        if last[name] < SLOW_S:  # the first call may be a slow one
            last[name] = (process.seconds(1) or [SLOW_S])[-1]
        calls[name] = max(1, min(MOST_CALLS, round(TURN_S / last[name])))
    for done in range(rounds):
        order = list(processes) if done % 2 == 0 else list(reversed(processes))
        for name in order:
            if done > 0 and name != OURS and last[name] > RARE_S:
                seconds[name].append(float("nan"))
                continue
            time.sleep(PAUSE_S)
            untimed = int(calls[name] > 1 or (seconds[name] or [last[name]])[-1] < SLOW_S)
            took = processes[name].seconds(calls[name] + untimed)
            seconds[name].append(float(np.mean(took[untimed:])) if took else float("nan"))
    for name, process in processes.items():
        if process.failure:
            failures[name] = process.failure
            del seconds[name]
    return seconds


def _stored(path: Path | None) -> dict[tuple[str, int], Result]:
    if path is None or not path.exists():
        return {}
    results = (Result(**fields) for fields in json.loads(path.read_text()))
    return {(result.network, result.batch): result for result in results}


def _report(results: list[Result]) -> str:
    parts = []
    complete = [result for result in results if OURS in result.seconds and result.peers()]
    for batch in sorted({result.batch for result in complete}):
        of_batch = [result for result in complete if result.batch == batch]
        parts.append(
            f"Batch {batch}, float32, {len(of_batch[0].seconds[OURS])} rounds, milliseconds:\n\n{table(of_batch)}"
        )
    failures = [f"{r.title}, batch {r.batch}: {n}: {why}" for r in results for n, why in r.failures.items()]
    return "\n\n".join([*parts, *failures]) + "\n"


def main(about: str | None = __doc__, batches: tuple[int, ...] = (1, 8, 16), trains: bool = False) -> None:
    """Measures, prints and writes what was asked for."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="network", help=f"any of: {', '.join(NETWORKS)} (default: all)")
    parser.add_argument("--batch", type=int, nargs="+", default=batches)
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--threads", type=int, default=2, help="cores that every contender may use")
    parser.add_argument("--only", nargs="+", choices=CONTENDERS, help="these contenders beside collage_jax")
    parser.add_argument("--json", type=Path, help="write results here; those of other networks and batches stay")
    parser.add_argument("--from", dest="source", type=Path, help="measure nothing: take the results of this file")
    parser.add_argument("--markdown", type=Path, help="write the tables here")
    parser.add_argument("--chart", type=Path, help="write a bar chart here (SVG)")
    options = parser.parse_args()
    if unknown := [name for name in options.names if name not in NETWORKS]:
        parser.error(f"unknown network {', '.join(unknown)}; choose from {', '.join(NETWORKS)}")

    results = _stored(options.source or options.json)
    if not options.source:
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: options.threads])
        os.environ["OMP_NUM_THREADS"] = str(options.threads)
        able = [name for name, contender in CONTENDERS.items() if contender.task(trains)]
        wanted = [name for name in able if not options.only or name in (*options.only, OURS)]
        names = [name for name in wanted if all(map(find_spec, CONTENDERS[name].requires))]
        if missing := [name for name in wanted if name not in names]:
            print(f"not installed, left out: {', '.join(missing)}; pip install '.[bench]'")
        for batch in options.batch:
            for name in options.names or NETWORKS:
                print(f"{NETWORKS[name].title}, batch {batch}", flush=True)
                results[name, batch] = measure(name, batch, names, options.rounds, trains)
                if options.json:
                    options.json.write_text(json.dumps([asdict(result) for result in results.values()]))
                print(_report([results[name, batch]]), flush=True)
    ordered = sorted(results.values(), key=lambda result: (result.batch, list(NETWORKS).index(result.network)))
    report = _report(ordered)
    print(report)
    if options.markdown:
        options.markdown.write_text(report)
    if options.chart:
        from contenders.chart import draw

        draw(ordered, options.chart)


if __name__ == "__main__":
    main()
