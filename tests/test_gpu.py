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
from collage_jax import Failed, Measured
from collage_jax.config import config
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


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32"])
def test_transformations_around_a_decorated_function(dtype, worker, registered):
    registered(Rows())
    x, w = X.astype(dtype), W.astype(dtype)
    decorated = collage_jax.jit(layer)
    decorated(x, w)
    wanted = partial(np.testing.assert_allclose, rtol=2e-2, atol=1e-3)
    wanted(np.float32(jax.vmap(decorated, (0, None))(x[None], w)[0]), np.float32(layer(x, w)))
    wanted(np.float32(jax.jit(lambda x: decorated(x, w) * 2)(x)), np.float32(layer(x, w) * 2))
