"""Calls from several threads at once."""

from __future__ import annotations

import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from api_fakes import products, use
from fakes import Fake

import collage_jax

THREADS = 6
W = np.linspace(1, 2, 8, dtype=np.float32).reshape(4, 2)


@pytest.fixture
def timing(monkeypatch):
    return use(monkeypatch, Fake("fake", products, packs=True))


def together(calls):
    """The results of ``calls``, all begun at the same moment in threads of their own."""
    barrier = threading.Barrier(len(calls))

    def run(call):
        barrier.wait()
        return call()

    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(run, calls))


@pytest.mark.parametrize("frozen", [(), 1], ids=["open", "frozen"])
def test_one_signature_is_traced_and_tuned_once_for_all_threads(frozen, timing):
    traces = []

    def layer(x, w):
        traces.append(1)
        return jnp.tanh(x @ w)

    decorated, w = collage_jax.jit(layer, frozen_argnums=frozen), jnp.asarray(W)
    inputs = [np.full((3, 4), i, np.float32) for i in range(THREADS)]
    for _ in range(2):
        results = together([lambda x=x: decorated(x, w) for x in inputs])
        for x, got in zip(inputs, results, strict=True):
            np.testing.assert_allclose(got, np.tanh(x @ W), rtol=1e-5, atol=1e-6)
    assert len(traces) == 1
    assert timing.races == 1


@pytest.mark.parametrize("frozen", [(), 1], ids=["open", "frozen"])
def test_each_signature_is_tuned_once_for_all_threads(frozen, timing):
    traces = Counter()

    def layer(x, w):
        traces[x.shape] += 1
        return jnp.tanh(x @ w)

    decorated, w = collage_jax.jit(layer, frozen_argnums=frozen), jnp.asarray(W)
    inputs = [np.full((1 + i % 3, 4), i, np.float32) for i in range(THREADS)]
    for _ in range(2):
        results = together([lambda x=x: decorated(x, w) for x in inputs])
        for x, got in zip(inputs, results, strict=True):
            np.testing.assert_allclose(got, np.tanh(x @ W), rtol=1e-5, atol=1e-6)
    assert traces == {(1, 4): 1, (2, 4): 1, (3, 4): 1}
    assert timing.races == 3


def test_threads_with_models_of_their_own_get_their_own_results(timing):
    decorated = collage_jax.jit(lambda x, w: jnp.tanh(x @ w), frozen_argnums=1)
    x = np.ones((3, 4), np.float32)
    models = [jnp.asarray(W) / (i + 1) for i in range(THREADS)]

    def serve(w):
        return [np.asarray(decorated(x, w)) for _ in range(4)]

    results = together([lambda w=w: serve(w) for w in models])
    for w, got in zip(models, results, strict=True):
        np.testing.assert_allclose(got, [np.tanh(x @ np.asarray(w))] * 4, rtol=1e-5)
    assert timing.races == 1


@pytest.mark.parametrize("frozen", [(), 1], ids=["open", "frozen"])
def test_clearing_the_cache_while_others_call_disturbs_nobody(frozen, timing):
    decorated, w = collage_jax.jit(lambda x, w: jnp.tanh(x @ w), frozen_argnums=frozen), jnp.asarray(W)
    x = np.ones((3, 4), np.float32)

    def call():
        return [np.asarray(decorated(x, w)) for _ in range(3)]

    def clear():
        for _ in range(3):
            decorated.clear_cache()

    results = together([call, clear, call])
    np.testing.assert_allclose([*results[0], *results[2]], [np.tanh(x @ W)] * 6, rtol=1e-5)


def test_settings_of_one_thread_do_not_reach_another(timing):
    decorated = collage_jax.jit(lambda x, w: x @ w)

    def wide():
        with jax.enable_x64(True):
            return decorated(np.ones((3, 4)), np.ones((4, 2))).dtype

    def narrow():
        return decorated(np.ones((3, 4)), np.ones((4, 2))).dtype

    assert together([wide, narrow, wide]) == [np.float64, np.float32, np.float64]
