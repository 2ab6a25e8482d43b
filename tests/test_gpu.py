"""On a GPU: what does not depend on the backends that are for CPUs. Skipped where JAX has none.

    JAX_PLATFORMS=cuda pytest -q tests/test_gpu.py

These run kernels on the GPU; nothing else in the tests does.
"""

from __future__ import annotations

import ctypes
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import collage_jax
from collage_jax import Failed, Measured, device, target
from collage_jax.config import config
from collage_jax.lowering.build import Lowered
from collage_jax.measure import clock as clocks
from collage_jax.measure.clock import HOST, DeviceClock
from collage_jax.measure.reference import Reference
from collage_jax.measure.whole import XLA_ALONE, Trials
from collage_jax.patterns import Pattern, any_, op, softmax

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.filterwarnings("ignore:The Pallas Triton backend is deprecated:DeprecationWarning"),
    pytest.mark.skipif(jax.default_backend() != "gpu", reason="JAX has no GPU here"),
]

X = jnp.linspace(-1.0, 1.0, 256 * 512, dtype=jnp.float32).reshape(256, 512)
W = jnp.linspace(-0.1, 0.1, 512 * 512, dtype=jnp.float32).reshape(512, 512)


def layer(x, w):
    return jax.nn.softmax(jnp.tanh(x @ w) @ w)


class Rows(collage_jax.Backend):
    """Softmax over rows by a Pallas kernel that Triton compiles."""

    name, platforms = "rows", ("gpu",)
    patterns = (Pattern("softmax", softmax(any_("x")), where=lambda m: m["x"].ndim == 2 and m["x"].dtype == "float32"),)

    def emit(self, region):
        from jax.experimental import pallas as pl

        def kernel(x, out):
            shifted = jnp.exp(x[...] - jnp.max(x[...], axis=1, keepdims=True))
            out[...] = shifted / jnp.sum(shifted, axis=1, keepdims=True)

        def run(x):
            rows, columns = x.shape
            block = pl.BlockSpec((1, columns), lambda i: (i, 0))
            shape = jax.ShapeDtypeStruct(x.shape, x.dtype)
            return pl.pallas_call(kernel, shape, grid=(rows,), in_specs=[block], out_specs=block)(x)

        return run


class Dots(collage_jax.Backend):
    """Products, made wrong by ``spoil``."""

    platforms = ("gpu",)
    patterns = (Pattern("dot", op("dot_general")(any_("x"), any_("w"))),)

    def __init__(self, name, spoil):
        self.name, self.spoil = name, spoil

    def emit(self, region):
        return lambda x, w: self.spoil(x @ w)


def costs_of(placement, *ops):
    (region,) = (r for r in placement.regions if r.ops == ops)
    return {region.backend: region.cost, **region.alternatives}


def test_without_a_backend_for_it_the_function_is_xlas():
    np.testing.assert_array_equal(collage_jax.jit(layer)(X, W), jax.jit(layer)(X, W))
    assert all(not info.available for info in collage_jax.backends() if info.platforms == ("cpu",))


@pytest.mark.parametrize("frozen", [(), 1], ids=["open", "frozen"])
def test_a_pallas_kernel_is_checked_measured_and_can_be_pinned(frozen, worker, registered, tmp_path):
    registered(Rows())
    decorated = collage_jax.jit(layer, frozen_argnums=frozen)
    np.testing.assert_allclose(decorated(X, W), jax.jit(layer)(X, W), rtol=1e-4, atol=1e-6)
    placement = decorated.placement(X, W)
    costs = costs_of(placement, "softmax")
    assert isinstance(costs["rows"], Measured), str(placement)
    assert costs["rows"].error < 1e-5
    assert isinstance(costs["xla"], Measured)


def test_a_placement_with_the_kernel_runs(worker, registered, monkeypatch):
    registered(Rows())
    monkeypatch.setattr(config, "worker", False)
    monkeypatch.setattr("collage_jax.measure.verdict._is_faster", lambda ours, theirs: True)
    monkeypatch.setattr(Rows, "cost", lambda self, region: Measured(1e-3))
    decorated = collage_jax.jit(layer)
    np.testing.assert_allclose(decorated(X, W), jax.jit(layer)(X, W), rtol=1e-4, atol=1e-6)
    assert decorated.placement(X, W).counts().get("rows") == 1, str(decorated.placement(X, W))
    gradient = jax.grad(lambda x: decorated(x, W).sum())
    np.testing.assert_allclose(gradient(X), jax.grad(lambda x: layer(x, W).sum())(X), rtol=1e-3, atol=1e-5)


def test_backends_that_go_wrong_are_contained(worker, registered):
    def crash(y):
        return jax.pure_callback(lambda a: ctypes.string_at(0), jax.ShapeDtypeStruct(y.shape, y.dtype), y)

    registered(Dots("right", lambda y: y), Dots("wrong", lambda y: y + 1), Dots("crashes", crash))
    decorated = collage_jax.jit(layer)
    np.testing.assert_allclose(decorated(X, W), jax.jit(layer)(X, W), rtol=1e-4, atol=1e-6)
    costs = costs_of(decorated.placement(X, W), "dot_general")
    assert isinstance(costs["right"], Measured)
    assert isinstance(costs["wrong"], Failed) and costs["wrong"].stage == "verify"
    assert isinstance(costs["crashes"], Failed) and costs["crashes"].stage == "crash"


def test_costs_of_a_gpu_are_kept_under_its_name(worker, registered):
    registered(Rows())
    placement = collage_jax.jit(layer).placement(X, W)
    assert placement.environment["device"].startswith("gpu ")


def nvidia():
    """JAX's GPU, if it is one that has a clock for us."""
    gpu = target.current().gpu
    if gpu is None:
        pytest.skip("JAX's GPU is none of NVIDIA's")
    pytest.importorskip("collage_jax._cuda", exc_type=ImportError)
    return gpu


def timed(clock, function, *arguments):
    """Seconds of ``function`` by ``clock``, the best of several."""
    run = clock.compiling(function, lambda marked: lambda: jax.jit(marked).lower(*arguments).compile())()
    return min(clock.seconds(lambda: run(*arguments)) for _ in range(20))


def test_the_gpu_takes_the_time_of_its_kernels():
    nvidia()
    clock = clocks.for_regions()
    assert isinstance(clock, DeviceClock)
    assert 0 <= min(clock.seconds(clock.idle(1)) for _ in range(20)) < 2e-5
    small, large = jnp.ones((2048, 2048)), jnp.ones((4096, 4096))
    few, many = timed(clock, jnp.matmul, small, small), timed(clock, jnp.matmul, large, large)
    assert 4 < many / few < 16
    # The host counts what it takes to start the kernel; of a long one that is little.
    assert timed(clock, jnp.sin, X) < timed(HOST, jnp.sin, X)
    assert many == pytest.approx(timed(HOST, jnp.matmul, large, large), rel=0.3)


def test_a_kernel_alone_finds_nothing_in_the_cache():
    gpu = nvidia()
    array = jnp.ones(gpu.l2_cache // 4 // 4)  # a quarter of it
    assert timed(clocks.for_regions(), jnp.sum, array) > timed(clocks.for_programs(), jnp.sum, array)


def test_whole_programs_are_timed_by_the_gpu():
    nvidia()
    reference = Reference(lambda: layer(X, W), lambda frozen, others: [layer(*others)])
    trials = Trials([], [X, W], reference, None)
    assert isinstance(trials._clock, DeviceClock), trials.notes
    assert trials.enter("same", lambda: Lowered(lambda: ((), ()), lambda prepared, x, w: [layer(x, w)])), trials.notes
    trials.race([XLA_ALONE, "same"], 15, 1.0, np.inf)
    assert trials.rounds.ratio(XLA_ALONE, "same") == pytest.approx(1, rel=0.2)


def test_costs_are_kept_under_the_driver():
    assert f"{nvidia().target}, driver for CUDA " in device.description()


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32"])
def test_transformations_around_a_decorated_function(dtype, worker, registered):
    registered(Rows())
    x, w = X.astype(dtype), W.astype(dtype)
    decorated = collage_jax.jit(layer)
    decorated(x, w)
    wanted = partial(np.testing.assert_allclose, rtol=2e-2, atol=1e-3)
    wanted(np.float32(jax.vmap(decorated, (0, None))(x[None], w)[0]), np.float32(layer(x, w)))
    wanted(np.float32(jax.jit(lambda x: decorated(x, w) * 2)(x)), np.float32(layer(x, w) * 2))
