"""Fewer threads than were expected cost time, not results: whatever OpenMP is told, the products are right."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from collage_jax.backends.registry import get

PROGRAM = """
import jax, jax.numpy as jnp, numpy as np
from collage_jax.backends.registry import get
from collage_jax.graph.region import Region
from collage_jax.graph.trace import trace_function

x, w = (jnp.asarray(np.random.default_rng(i).standard_normal((256, 256)), jnp.float32) for i in range(2))
graph = trace_function(lambda x, w: jax.nn.relu(x @ w), x, w)
region = Region.of(graph, graph.nodes)
got = jax.jit(get({name!r}).emit(region))(x, w)[0]
assert np.abs(got - jax.nn.relu(x @ w)).max() < 1e-3
"""


@pytest.mark.parametrize(
    "setting",
    [{"OMP_THREAD_LIMIT": "1"}, {"OMP_NUM_THREADS": "7", "OMP_THREAD_LIMIT": "2"}, {"OMP_DYNAMIC": "true"}],
    ids=lambda setting: " ".join(f"{k}={v}" for k, v in setting.items()),
)
@pytest.mark.parametrize("name", ["onednn", "sgemm"])
def test_products_are_right_whatever_threads_there_are(name: str, setting: dict[str, str]) -> None:
    if (missing := get(name).available()) is not None:
        pytest.skip(missing.reason)
    # -P: what is installed, not the source tree that the tests may stand in.
    command = [sys.executable, "-P", "-c", PROGRAM.format(name=name)]
    done = subprocess.run(command, env=os.environ | setting, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
