"""A contender's process: builds its function, then runs it whenever a line on standard input says how often.

    python -m contenders.child CONTENDER NETWORK BATCH OUTPUT.npy TRAINS

TRAINS is 1 for a training step, 0 for the network itself.

Answers are lines of JSON on what was standard output; what libraries print there goes to standard error.
"""

import importlib
import json
import os
import resource
import sys
import time

import numpy as np

from . import CONTENDERS
from .step import Step

THREADS = len(os.sched_getaffinity(0))


def main() -> None:
    """Serves until standard input ends."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def answer(**fields):
        print(json.dumps(fields), file=answers, flush=True)

    name, network, batch, output, trains = sys.argv[1:]
    try:
        call, seconds = build(name, network, int(batch), output, trains == "1")
    except Exception as error:
        answer(failed=f"{type(error).__name__}: {error}"[:500])
        raise
    answer(ready=seconds)
    for line in sys.stdin:
        answer(seconds=[_seconds(call) for _ in range(int(line))], peak_bytes=_peak_bytes())


def build(name: str, network: str, batch: int, output: str, trains: bool):
    """The contender's function, warm, and the seconds that took; its result is saved to `output`."""
    from networks import NETWORKS

    module, function = CONTENDERS[name].task(trains).split(":")
    start = time.perf_counter()
    call = getattr(importlib.import_module(f".{module}", __package__), function)(NETWORKS[network], batch)
    np.save(output, call.figures() if isinstance(call, Step) else call())
    return call, time.perf_counter() - start


def _seconds(call):
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def _peak_bytes():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


if __name__ == "__main__":
    main()
