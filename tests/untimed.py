"""Whole calls of decorated functions with kernels chosen without timing, the rarer a backend the sooner."""

from __future__ import annotations

from collections import Counter

import placing
import pytest

from collage_jax.calls import dispatch
from collage_jax.candidates import XLA
from collage_jax.costs import Measured
from collage_jax.placement import Placement
from collage_jax.tuning import stages as tuning
from collage_jax.tuning.pricing import Prices

#: Options of ``collage_jax.jit`` with which nothing is timed once ``place`` was called.
OPTIONS = {"tune": "cached", "backends": [backend.name for backend in placing.BACKENDS]}


def place(monkeypatch: pytest.MonkeyPatch) -> list[Placement]:
    """From now on all that can leave XLA does; the placements, in the order in which they are decided."""
    decided: list[Placement] = []
    decide = dispatch.decide

    def price(options, *_, **__):
        candidates = [c for o in options for c in o.chosen_from]
        can_run = Counter(c.backend for c in candidates)
        costs = {name: 1e6 if name == XLA else 1.0 + count for name, count in can_run.items()}
        return Prices({(c.key, c.backend): Measured(costs[c.backend]) for c in candidates}, 0)

    def recorded(*given):
        tuned = decide(*given)
        assert tuned.lowered is not None and not tuned.fallen
        decided.append(tuned.placement)
        return tuned

    monkeypatch.setattr(tuning, "price", price)
    monkeypatch.setattr(dispatch, "decide", recorded)
    return decided


def ops(placement: Placement, backend: str | None = None) -> Counter[str]:
    """How often each kernel stands in a placement; all but XLA's, or those of one backend."""
    found: Counter[str] = Counter()
    for region in placement.regions:
        if region.backend == backend or (backend is None and region.backend != XLA):
            found["+".join(region.ops)] += region.count
    return found
