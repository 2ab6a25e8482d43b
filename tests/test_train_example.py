"""The training example: both ways of running a step give the same losses, and a checkpoint goes on where it ended."""

from __future__ import annotations

import importlib
import os
from itertools import islice

import jax
import numpy as np
import pytest

import collage_jax
from collage_jax.calls import dispatch

for needed in ("flax", "optax", "equinox", "orbax.checkpoint"):
    pytest.importorskip(needed, reason="the extra `examples` is not installed")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["resnet", "transformer"])
def test_losses_agree_and_a_checkpoint_goes_on(name, tmp_path, monkeypatch):
    train = importlib.import_module("train")
    monkeypatch.setattr("collage_jax.config.budget_s", 5.0)
    losses, _, step = train.run(name, 20, tmp_path)
    np.testing.assert_allclose(losses["collage_jax.jit"], losses["jax.jit"], rtol=1e-3, atol=1e-3)
    assert np.mean(losses["jax.jit"][-5:]) < np.mean(losses["jax.jit"][:5])
    assert step._programs
    later, _, _ = train.run(name, 30, tmp_path)
    assert len(later["jax.jit"]) == 10
    whole, _, _ = train.run(name, 30)
    np.testing.assert_allclose(later["collage_jax.jit"], whole["collage_jax.jit"][20:], rtol=1e-2, atol=1e-2)


def resident_bytes():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.slow
@pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="memory is read from /proc")
@pytest.mark.parametrize("name", ["resnet", "transformer"])
def test_three_hundred_steps_follow_the_same_curve_and_nothing_grows(name, monkeypatch):
    """No tracing, no tuning and no memory after the first steps; losses as by ``jax.jit``."""
    task = importlib.import_module("training").TASKS[name]
    traced, decided = [], []

    def step(state, *batch):
        traced.append(1)
        return task.step(state, *batch)

    decide = dispatch.decide
    monkeypatch.setattr(dispatch, "decide", lambda *given: (decided.append(1), decide(*given))[1])
    placed, plain = collage_jax.jit(step, budget_s=30.0), jax.jit(task.step)
    ours = theirs = task.init(0)
    losses, resident, seen = [], [], None
    for number, batch in enumerate(islice(task.batches(seed=1), 300)):
        ours, loss = placed(ours, *batch)
        theirs, wanted = plain(theirs, *batch)
        losses.append((float(loss), float(wanted)))
        if number == 50:
            seen = len(traced), len(decided)
        resident.append(resident_bytes())
    assert (len(traced), len(decided)) == seen
    # From step to step it goes up and down by tens of megabytes, as XLA's buffers come and go.
    assert min(resident[-50:]) < max(resident[50:150]) + 20e6
    got, wanted = np.array(losses).T
    np.testing.assert_allclose(got[:20], wanted[:20], rtol=1e-3, atol=1e-3)
    # Rounding grows from step to step; the curves stay together.
    smooth = np.ones(25) / 25
    np.testing.assert_allclose(
        np.convolve(got, smooth, "valid"), np.convolve(wanted, smooth, "valid"), rtol=0.05, atol=0.02
    )
    assert wanted[-25:].mean() < wanted[:25].mean()
