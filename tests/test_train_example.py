"""The training example: both ways of running a step give the same losses, and a checkpoint goes on where it ended."""

from __future__ import annotations

import importlib

import numpy as np
import pytest

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
