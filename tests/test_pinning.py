"""Placements that were made before: recalled from the database, saved, loaded, pinned, checked."""

from __future__ import annotations

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from api_fakes import is_placed, products, use
from fakes import Fake, wrong_numbers

import collage_jax
from collage_jax import Placement
from collage_jax.calls import deciding
from collage_jax.report.files import to_json


def layer(x, w):
    return jnp.tanh(jnp.tanh(x @ w) @ w)


def looped(x, w):
    return jax.lax.fori_loop(0, 3, lambda _, y: jnp.tanh(y @ w), x)


X, W = jnp.full((3, 4), 0.25), jnp.eye(4) / 2


@pytest.fixture(params=[layer, looped])
def saved(request, monkeypatch, tmp_path):
    """A function and the file of its placement, made with a backend that is gone by now."""
    use(monkeypatch, Fake("fake", products))
    path = tmp_path / "placement.json"
    placement = collage_jax.jit(request.param).placement(X, W)
    assert is_placed(placement)
    placement.save(path)
    return request.param, path


def test_a_pinned_placement_is_used_and_nothing_is_timed(saved, monkeypatch):
    fun, path = saved
    fake = Fake("fake", products)
    timing = use(monkeypatch, fake)
    for given in (path, str(path), Placement.load(path)):
        decorated = collage_jax.jit(fun, placement=given)
        np.testing.assert_allclose(decorated(X, W), fun(X, W), rtol=1e-6)
        assert is_placed(decorated.placement(X, W))
    assert timing.races == 0
    assert fake.runs


def test_another_program_than_the_placement_was_made_for_is_an_error(saved):
    fun, path = saved
    decorated = collage_jax.jit(fun, placement=path)
    with pytest.raises(ValueError, match="made for another program"):
        decorated(X[:2], W)
    with pytest.raises(ValueError, match="made for another program"):
        collage_jax.jit(lambda x, w: x * w[0], placement=path)(X, W)


def test_what_is_missing_here_stays_with_xla(saved, monkeypatch):
    fun, path = saved
    use(monkeypatch, Fake("other", products))
    decorated = collage_jax.jit(fun, placement=path)
    np.testing.assert_allclose(decorated(X, W), fun(X, W), rtol=1e-6)
    assert "the backend fake cannot be used here" in str(decorated.placement(X, W))


def test_what_is_refused_here_stays_with_xla(saved, monkeypatch):
    fun, path = saved
    use(monkeypatch, Fake("fake", products, refuses="not this time"))
    decorated = collage_jax.jit(fun, placement=path)
    np.testing.assert_allclose(decorated(X, W), fun(X, W), rtol=1e-6)
    assert "not this time" in str(decorated.placement(X, W))


def test_a_placement_from_another_machine_is_compared_with_xla_first(saved, monkeypatch):
    fun, path = saved
    placement = Placement.load(path)
    elsewhere = replace(placement, environment={**placement.environment, "device": "another"})
    for change, right in ((wrong_numbers, False), (lambda kernel: kernel, True)):
        timing = use(monkeypatch, Fake("fake", products, change))
        decorated = collage_jax.jit(fun, placement=elsewhere)
        np.testing.assert_allclose(decorated(X, W), fun(X, W), rtol=1e-6)
        assert is_placed(decorated.placement(X, W)) == right
        assert ("differs from XLA" in str(decorated.placement(X, W))) != right
        assert timing.races == 0


def test_a_placement_must_be_one():
    with pytest.raises(TypeError, match="must be a Placement or the path"):
        collage_jax.jit(layer, placement=3)
    with pytest.raises(FileNotFoundError):
        collage_jax.jit(layer, placement="no/such/file.json")


def test_a_function_with_frozen_arguments_can_be_pinned(monkeypatch, tmp_path):
    use(monkeypatch, Fake("fake", products, packs=True))
    decorated = collage_jax.jit(layer, frozen_argnums=1)
    decorated.placement(X, W).save(tmp_path / "p.json")
    fake = Fake("fake", products, packs=True)
    use(monkeypatch, fake)
    pinned = collage_jax.jit(layer, frozen_argnums=1, placement=tmp_path / "p.json")
    np.testing.assert_allclose(pinned(X, W), layer(X, W), rtol=1e-6)
    assert fake.packed_emits


# Recalled


def test_a_decision_is_recalled_by_another_function_with_the_same_program(monkeypatch):
    timing = use(monkeypatch, Fake("fake", products))
    first = collage_jax.jit(layer).placement(X, W)
    races = timing.races
    second = collage_jax.jit(lambda x, w: layer(x, w)).placement(X, W)
    assert timing.races == races
    assert second.distinct_measured == 0
    assert f"Decided before, in {first.tuning_s:.1f} s of tuning; nothing was measured now." in str(second)
    assert "Tuned in" in str(first) and "Tuned in" not in str(second)
    assert [r.places for r in second.regions] == [r.places for r in first.regions]
    assert second.speedup == first.speedup


def test_other_shapes_backends_versions_and_modes_are_decided_anew(monkeypatch):
    fake = Fake("fake", products)
    timing = use(monkeypatch, fake)
    seen = [timing.races]

    def decides(**options):
        seen.append(timing.races)
        collage_jax.jit(layer, **options).placement(X, W)
        return timing.races > seen[-1]

    assert decides()
    assert not decides()
    assert decides(tune="op-level")
    assert decides(tolerance=1e-3)
    fake.version = lambda: "2"
    assert decides()


def test_a_decision_that_the_budget_cut_short_holds_until_there_is_more_time(monkeypatch):
    timing = use(monkeypatch, Fake("fake", products))
    placement = collage_jax.jit(layer, budget_s=1e-9).placement(X, W)
    assert not placement.is_final
    races = timing.races
    assert "Decided before" in str(collage_jax.jit(layer, budget_s=1e-9).placement(X, W))
    assert timing.races == races
    assert collage_jax.jit(layer).placement(X, W).is_final
    assert collage_jax.jit(layer, budget_s=1e-9).placement(X, W).is_final


def test_a_damaged_decision_counts_as_none_and_is_replaced(monkeypatch):
    timing = use(monkeypatch, Fake("fake", products))
    collage_jax.jit(layer).placement(X, W)
    database = deciding.store()
    ((key, *_),) = [tuple(vars(d).values()) if hasattr(d, "__dict__") else d for d in database.contents()[1]]
    database.decide(key, '{"kind": "nonsense"}', replace=True)
    races = timing.races
    placement = collage_jax.jit(layer).placement(X, W)
    assert timing.races > races
    assert database.decision(key) == to_json(placement)
