"""ResNet and ViT as users of each framework write them: the framework's own numbers, from kernels that were placed."""

from __future__ import annotations

import jax
import numpy as np
import pytest
import untimed
from frameworks import FRAMEWORKS, load, sizes

#: Positions of what stays the same at inference; Keras' models have none.
FROZEN = {"flax-nnx": 0, "flax-linen": 0, "haiku": (0, 1), "equinox": (0, 1)}
NETWORKS = {
    "resnet": (sizes.ResNetSize((1,), 16, 32, 10), sizes.RESNET50),
    "vit": (sizes.ViTSize(1, 32, 2, 8, 32, 10), sizes.VIT_TI16),
}

#: One of each kind of framework: objects that change, modules with channels first, layers that run themselves.
BRIEF = {("flax-nnx", "vit"), ("equinox", "resnet"), ("keras", "resnet")}

each = pytest.mark.parametrize(("name", "kind"), [(name, kind) for name in FRAMEWORKS for kind in NETWORKS])


def module_of(name):
    for needed in (FRAMEWORKS[name][1], "optax"):
        pytest.importorskip(needed, reason=f"{needed} is not installed")
    if name == "keras" and __import__("keras").backend.backend() != "jax":
        pytest.skip("Keras runs on another backend than JAX")
    return load(name)


def batch(size, count=2):
    random = np.random.default_rng(0)
    return random.random((count, size.image, size.image, 3), np.float32), np.arange(count, dtype=np.int32)


def close(got, wanted, tolerance=1e-5):
    got, wanted = np.asarray(got), np.asarray(wanted)
    assert got.shape == wanted.shape and np.isfinite(wanted).all()
    assert np.abs(got - wanted).max() <= tolerance * np.abs(wanted).max()


def predicts_alike(module, kind, size, monkeypatch, frozen, tolerance=1e-5):
    build, (images, _) = getattr(module, kind), batch(size)
    wanted = module.predictor(build(size), module.OWN)(images)
    decided = untimed.place(monkeypatch)
    predict = module.predictor(build(size), **frozen, **untimed.OPTIONS)
    for _ in range(3):
        close(predict(images), wanted, tolerance)
    (placement,) = decided
    return placement


def frozen_of(name):
    return {"frozen_argnums": FROZEN[name]} if name in FROZEN else {}


def convolutions(placement):
    """Kernels with a convolution, by what else they do."""
    return {ops: n for ops, n in untimed.ops(placement).items() if "conv_general_dilated" in ops}


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        pytest.param(name, kind, marks=() if (name, kind) in BRIEF else pytest.mark.slow)
        for name in FRAMEWORKS
        for kind in NETWORKS
    ],
)
def test_predictions_are_the_frameworks_own_by_placed_kernels(name, kind, monkeypatch):
    placement = predicts_alike(module_of(name), kind, NETWORKS[kind][0], monkeypatch, frozen_of(name))
    left = untimed.ops(placement, "xla")
    assert not {op for op in left if "dot_general" in op or "conv" in op}
    if kind == "resnet":  # batch norm is a bias by now
        assert convolutions(placement) == {
            "conv_general_dilated+add+relu": 3,
            "conv_general_dilated+add": 1,
            "conv_general_dilated+add+add+relu": 1,
        }
        assert {"max_pool", "mean"} <= set(untimed.ops(placement))
    else:
        found = untimed.ops(placement)
        assert found["layer_norm"] == 3 and any("softmax" in op for op in found)


@pytest.mark.slow
@each
def test_a_step_of_training_is_the_frameworks_own_by_placed_kernels(name, kind, monkeypatch):
    module, size = module_of(name), NETWORKS[kind][0]
    build, (images, labels) = getattr(module, kind), batch(size)
    own = module.trainer(build(size), module.OWN)
    wanted = [float(own(images, labels)) for _ in range(3)]
    decided = untimed.place(monkeypatch)
    step = module.trainer(build(size), **untimed.OPTIONS)
    np.testing.assert_allclose([float(step(images, labels)) for _ in range(3)], wanted, rtol=2e-4)
    assert wanted[2] < wanted[0]
    (placement,) = decided
    assert sum("dot_general" in op or "conv" in op for op in untimed.ops(placement).elements()) >= 6


@pytest.mark.slow
@pytest.mark.parametrize(("name", "kind"), [*((name, "resnet") for name in FRAMEWORKS), ("keras", "vit")])
def test_full_networks_predict_the_frameworks_own(name, kind, monkeypatch):
    tolerance = 5e-5  # the library's own
    placement = predicts_alike(module_of(name), kind, NETWORKS[kind][1], monkeypatch, frozen_of(name), tolerance)
    assert not [op for op in untimed.ops(placement, "xla") if "dot_general" in op or "conv" in op]
    if kind == "resnet":
        assert convolutions(placement) == {
            "conv_general_dilated+add+relu": 33,
            "conv_general_dilated+add": 4,
            "conv_general_dilated+add+add+relu": 16,
        }
    jax.clear_caches()
