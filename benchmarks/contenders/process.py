"""The parent's side of a contender's process."""

import json
import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

from . import CONTENDERS

BENCHMARKS = Path(__file__).parents[1]
PATHS = (BENCHMARKS, BENCHMARKS.parent / "examples")


class Process:
    """Starts the contender and waits until it is warm; a failure is kept in `failure` and ends it."""

    def __init__(self, name: str, network: str, batch: int, output: Path, log: Path, trains: bool = False):
        path = os.pathsep.join([*map(str, PATHS), *filter(None, [os.environ.get("PYTHONPATH")])])
        self.name = name
        self.peak_bytes = 0
        self.failure = ""
        with log.open("a") as errors:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "contenders.child", name, network, str(batch), str(output), str(int(trains))],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                env=os.environ | {"PYTHONPATH": path, "PYTHONSAFEPATH": "1"} | CONTENDERS[name].environment,
            )
        self.ready_s = self._answer().get("ready", float("nan"))

    def seconds(self, calls: int) -> list[float]:
        """Runs the function `calls` times; seconds of each, or none if the contender is out."""
        if self.failure:
            return []
        try:
            print(calls, file=self._process.stdin, flush=True)
        except BrokenPipeError:
            self.failure = f"its process ended with {self._process.wait()}"
            return []
        answer = self._answer()
        self.peak_bytes = answer.get("peak_bytes", self.peak_bytes)
        return answer.get("seconds", [])

    def close(self) -> None:
        """Ends the process."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            with suppress(BrokenPipeError):
                pipe.close()

    def _answer(self):
        line = self._process.stdout.readline()
        answer = json.loads(line) if line else {"failed": f"its process ended with {self._process.wait()}"}
        self.failure = answer.get("failed", "")
        return answer
