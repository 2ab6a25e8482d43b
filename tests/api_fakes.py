"""For tests of the decorator: a made-up backend that takes every product, and timings that are decided beforehand."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping
from typing import Any

import jax
import numpy as np
import pytest
from fakes import Fake, assert_same

from collage_jax.backends import discovery, registry
from collage_jax.backends.base import Backend
from collage_jax.calls import deciding
from collage_jax.database import Database
from collage_jax.graph.ir import Graph
from collage_jax.measure import regions, whole
from collage_jax.tuning.graph_level import GraphLevel


def products(graph: Graph) -> list[tuple[int, ...]]:
    """Each matrix product and convolution by itself."""
    return [(i,) for i, node in enumerate(graph.nodes) if node.op in ("dot_general", "conv_general_dilated")]


class Timing:
    """Stands in for ``race``: XLA takes ``xla_s`` seconds and everything else ``ours_s``. ``races`` counts."""

    def __init__(self, ours_s: float, xla_s: float) -> None:
        self.ours_s = ours_s
        self.xla_s = xla_s
        self.races = 0

    def __call__(self, contenders: Mapping[Hashable, Callable[[], Any]], **_: Any) -> dict[Hashable, np.ndarray]:
        self.races += 1
        return {name: np.full(5, self.xla_s if "xla" in repr(name) else self.ours_s) for name in contenders}


def use(
    monkeypatch: pytest.MonkeyPatch,
    *backends: Backend,
    ours_s: float = 1e-3,
    xla_s: float = 1e-2,
    whole_s: float | None = None,
) -> Timing:
    """Only ``backends`` exist beside XLA, nothing is known of them yet, every one takes ``ours_s``, nothing evolves.

    ``whole_s`` is the time of whole placed programs, if it differs. The result counts races of whole programs.
    """
    known = {registry.REFERENCE: registry.reference(), **{b.name: b for b in backends}}
    database = Database(None)
    monkeypatch.setattr(discovery, "builtin", lambda: known)
    monkeypatch.setattr(deciding, "store", lambda: database)
    monkeypatch.setattr(regions, "race", Timing(ours_s, xla_s))
    monkeypatch.setattr(regions, "call_overhead_s", lambda arguments: 0.0)
    timing = Timing(ours_s if whole_s is None else whole_s, xla_s)
    monkeypatch.setattr(whole, "race", timing)
    monkeypatch.setattr(GraphLevel, "improve", lambda level, names, deadline: None)
    return timing


def use_fake(monkeypatch: pytest.MonkeyPatch, **options: Any) -> Fake:
    """A backend that takes every product and is always the faster one."""
    fake = Fake("fake", options.pop("wants", products), **options)
    use(monkeypatch, fake)
    return fake


def assert_like_jit(got: Any, wanted: Any) -> None:
    """Equal structure, shapes, dtypes, weak types and, but for rounding, numbers."""
    assert jax.tree.structure(got) == jax.tree.structure(wanted)
    assert_same(jax.tree.leaves(got), jax.tree.leaves(wanted))


def is_placed(placement: Any, backends: Iterable[str] = ("fake",)) -> bool:
    """True if each of ``backends`` runs something."""
    return set(backends) <= set(placement.counts())
