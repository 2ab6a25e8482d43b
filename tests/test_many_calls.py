"""Thousands of calls from many threads: functions of several signatures, with frozen, changing and donated arguments.

Every result is compared, first calls race with tuning, and memory does not grow.
"""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from api_fakes import use
from jax import lax

import collage_jax
from collage_jax.backends import registry
from collage_jax.calls import dispatch

THREADS = 8


def normal(*shape, seed=0):
    return np.random.default_rng([seed, *shape]).standard_normal(shape).astype(np.float32)


def layer(x, w, b):
    return jax.nn.softmax(jax.nn.relu(x @ w + b), -1)


def convolve(weights, x):
    for w in weights:
        x = jax.nn.relu(lax.conv_general_dilated(x, w, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")))
    return x


def update(state, x, w):
    return 0.5 * state + x @ w


BATCHES = (1, 3, 8)
MODELS = 3  # one more than are kept packed
W, B = normal(12, 9) / 4, normal(9)


class Calls:
    """The decorated functions, their inputs and what they must give."""

    def __init__(self):
        self.layer = collage_jax.jit(layer)
        self.convolve = collage_jax.jit(convolve, frozen_argnums=0)
        self.update = collage_jax.jit(update, donate_argnums=0)
        self.inputs = {n: normal(n, 12) for n in BATCHES}
        self.images = {n: normal(n, 6, 5, 16) for n in BATCHES[:2]}
        self.models = [[jnp.asarray(normal(3, 3, 16, 16, seed=(m + 1) * k) / 8) for k in (1, 2)] for m in range(MODELS)]
        self.rows = {n: np.asarray(jax.jit(layer)(x, W, B)) for n, x in self.inputs.items()}
        self.maps = {
            (m, n): np.asarray(jax.jit(convolve)(self.models[m], x))
            for m in range(MODELS)
            for n, x in self.images.items()
        }
        self.products = {n: x @ W for n, x in self.inputs.items()}

    def make(self, count, seed, after_each):
        """``count`` calls in an order of their own; the number of wrong results."""
        random = np.random.default_rng(seed)
        states = {n: np.zeros((n, 9), np.float32) for n in BATCHES}
        arrays = {n: jnp.asarray(state) for n, state in states.items()}
        wrong = 0
        for _ in range(count):
            n, kind, model = random.choice(BATCHES), random.integers(4), random.integers(MODELS)
            if kind < 2:
                got, wanted = self.layer(self.inputs[n], W, B), self.rows[n]
            elif kind == 2:
                n = BATCHES[n % 2]
                got, wanted = self.convolve(self.models[model], self.images[n]), self.maps[model, n]
            else:
                arrays[n] = got = self.update(arrays[n], self.inputs[n], W)
                states[n] = wanted = np.float32(0.5) * states[n] + self.products[n]
            wrong += not np.allclose(got, wanted, rtol=1e-4, atol=1e-4)
            after_each()
        return wrong


def resident_bytes():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def call_from_threads(monkeypatch, count):
    """Make ``count`` calls; whether what was placed runs kernels, and resident bytes over time."""
    kernels = [b for b in registry.usable(None)[0] if b.kind == "kernel-library" and b.name != "callback"]
    if not kernels:
        pytest.skip("no kernel library can be used here")
    use(monkeypatch, *kernels)
    decide, decided = dispatch.decide, []
    monkeypatch.setattr(dispatch, "decide", lambda *given: (decided.append(1), decide(*given))[1])
    calls, barrier, resident = Calls(), threading.Barrier(THREADS), []

    def run(number):
        barrier.wait()
        return calls.make(count // THREADS, number, lambda: number == 0 and resident.append(resident_bytes()))

    with ThreadPoolExecutor(THREADS) as pool:
        assert sum(pool.map(run, range(THREADS))) == 0
    # Each signature was tuned once, whoever came first.
    assert len(decided) == 2 * len(BATCHES) + 2
    for placement in (
        calls.layer.placement(calls.inputs[1], W, B),
        calls.convolve.placement(calls.models[0], calls.images[1]),
        calls.update.placement(np.zeros((1, 9), np.float32), calls.inputs[1], W),
    ):
        assert not placement.is_xla
    return resident


def test_calls_from_eight_threads_are_right_from_the_first_on(monkeypatch):
    call_from_threads(monkeypatch, 400)


@pytest.mark.slow
@pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="memory is read from /proc")
def test_ten_thousand_calls_are_right_and_nothing_grows(monkeypatch):
    resident = call_from_threads(monkeypatch, 10_000)
    quarter = len(resident) // 4
    assert min(resident[-quarter:]) < max(resident[quarter : 2 * quarter]) + 20e6
