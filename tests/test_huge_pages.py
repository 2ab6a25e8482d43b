"""Fresh memory of large results is asked to be of huge pages, whichever native module writes them."""

from __future__ import annotations

import re
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest
from placing import on_kernels

from collage_jax.backends import registry
from collage_jax.device import UNKEPT_BYTES
from collage_jax.lowering.build import lower
from collage_jax.problem import problem_of
from collage_jax.tuning.replay import plan_of

SETTING = Path("/sys/kernel/mm/transparent_hugepage/enabled")
pytestmark = pytest.mark.skipif(not SETTING.exists(), reason="this kernel has no transparent huge pages")
#: Larger than anything that the C library keeps when it is given back.
ROWS = 2 * UNKEPT_BYTES // 4 // 512


def multiplied(x, w):
    return jax.nn.relu(x @ w)


def twice(x, w):
    return jax.nn.relu((x @ w) @ w)


def flags_at(address: int) -> set[str]:
    """What the system notes of the mapping that ``address`` is in."""
    is_in = False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        if found := re.match(r"([0-9a-f]+)-([0-9a-f]+) ", line):
            is_in = int(found[1], 16) <= address < int(found[2], 16)
        elif is_in and line.startswith("VmFlags:"):
            return set(line.split()[1:])
    raise AssertionError("no mapping has this address")


@pytest.mark.parametrize(
    ("names", "function", "target"),
    [
        (("onednn",), multiplied, "onednn"),
        (("sgemm",), multiplied, "sgemm"),
        (("openvino",), multiplied, "openvino"),
        (("onednn", "sgemm"), twice, "program"),
    ],
)
def test_large_results_are_in_huge_pages(names, function, target):
    allowed, unavailable = registry.usable(None)
    if missing := [f"{name}: {unavailable[name]}" for name in names if name in unavailable]:
        pytest.skip("; ".join(missing))
    x, w = jnp.ones((ROWS, 512), jnp.float32), jnp.eye(512, dtype=jnp.float32)
    problem = problem_of(jax.make_jaxpr(function)(x, w), ())
    kernels = [backend for backend in allowed if backend.name in names]
    assert len(kernels) == len(names)
    backends = registry.with_reference(kernels)
    plan, _ = plan_of(on_kernels(problem, kernels), problem, backends)
    lowered = lower(plan, problem.split, backends)
    run = jax.jit(lowered.run)
    prepared = lowered.prepare()
    assert f"collage_{target}" in run.lower(prepared, x, w).as_text()
    (result,) = run(prepared, x, w)
    assert (result == x).all()
    assert "hg" in flags_at(result.unsafe_buffer_pointer() + result.nbytes // 2)
