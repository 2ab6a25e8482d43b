"""Several processes, and processes that are killed: one database, whole and in agreement."""

from __future__ import annotations

import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest

from collage_jax.costs import Failed, Measured
from collage_jax.database import Database

pytestmark = pytest.mark.slow

SCRIPT = """
import json, jax, jax.numpy as jnp, collage_jax

def network(weights, x):
    for i, w in enumerate(weights):
        x = jax.nn.relu(x @ w) if i % 2 else jnp.tanh(x @ w + 1)
        x = jax.nn.softmax(x)
    return x

sizes = (96, 128, 64, 80, 48, 112)
weights = [jnp.full((m, n), 0.01) for m, n in zip(sizes, sizes[1:])]
x = jnp.full((32, 96), 0.5)
placed = collage_jax.jit(network, frozen_argnums=0, budget_s=40)
got = placed(weights, x)
assert abs(got - jax.jit(network)(weights, x)).max() < 1e-5
placement = placed.placement(weights, x)
print(json.dumps([[r.backend, r.key, [list(p.nodes) for p in r.places]] for r in placement.regions]))
"""


def start(directory: Path) -> subprocess.Popen[str]:
    environment = {**os.environ, "COLLAGE_JAX_CACHE_DIR": str(directory), "COLLAGE_JAX_WORKER": "on"}
    command = [sys.executable, "-P", "-c", SCRIPT]
    return subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )


def outcome(process: subprocess.Popen[str]) -> list:
    said, complained = process.communicate(timeout=300)
    assert process.returncode == 0, complained
    return json.loads(said.splitlines()[-1])


def records(directory: Path) -> dict:
    """All costs that are kept; the file is whole."""
    path = directory / "costs.sqlite"
    if not path.exists():
        return {}
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    with closing(Database(path, read_only=True)) as database:
        return {record.key: record.cost for record in database.contents()[0]}


def test_processes_that_are_killed_lose_nothing_that_was_written(tmp_path):
    rng = random.Random(0)
    known: dict = {}
    for _ in range(10):
        process = start(tmp_path)
        time.sleep(rng.uniform(1.5, 3.5))
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()
        before, known = known, records(tmp_path)
        assert known.keys() >= before.keys()
    assert outcome(start(tmp_path))
    after = records(tmp_path)
    assert after.keys() >= known.keys()
    for cost in after.values():
        assert isinstance(cost, Failed) or (isinstance(cost, Measured) and 0 <= cost.median_us < 1e7)
    assert not [c for c in after.values() if isinstance(c, Failed) and c.stage in ("crash", "timeout")]
    assert not list(tmp_path.glob("*.damaged*"))


def test_processes_that_tune_at_once_end_with_one_placement(tmp_path):
    processes = [start(tmp_path) for _ in range(8)]
    placements = [outcome(process) for process in processes]
    assert all(placement == placements[0] for placement in placements)
    with closing(Database(tmp_path / "costs.sqlite", read_only=True)) as database:
        costs, decisions = database.contents()
    assert len(decisions) == 1
    assert len({record.key for record in costs}) == len(costs)
