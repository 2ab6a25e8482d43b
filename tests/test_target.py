"""What is placed for: this process's device, or one that is described; and which backends that gives."""

from __future__ import annotations

import threading

import jax
import pytest

import collage_jax
from collage_jax import device, target
from collage_jax.backends import registry
from collage_jax.gpu.device import MODELS, known, of_jax


class Gpu(collage_jax.Backend):
    """For GPUs, with a second choice inside."""

    platforms = ("gpu",)

    def __init__(self, name="for_gpus"):
        self.name = name

    def missing(self):
        return collage_jax.Unsupported("pip install for-gpus")

    def forms(self):
        return [Gpu("for_gpus@1")]

    def emit(self, region):
        raise NotImplementedError


@pytest.fixture
def registered():
    backend = Gpu()
    collage_jax.register_backend(backend)
    yield backend
    collage_jax.unregister_backend(backend.name)


def test_the_default_is_jaxs_own_device():
    here = target.current()
    assert here.is_here and here.platform == jax.default_backend()


def test_aiming_lasts_as_long_as_its_block_and_for_its_thread():
    seen = []
    with target.aiming_at(known("sm_90")) as aim:
        assert target.current() is aim and not aim.is_here and aim.gpu.sm == 90
        thread = threading.Thread(target=lambda: seen.append(target.current().platform))
        thread.start()
        thread.join()
    assert target.current().is_here
    assert seen == [jax.default_backend()]


def test_costs_for_another_device_have_its_name():
    here = device.description()
    with target.aiming_at(known("sm_80")):
        assert "A100" in device.description() and device.description() != here
    assert device.description() == here


def test_backends_are_those_of_what_is_placed_for(registered):
    if jax.default_backend() == "cpu":
        reason = registry.why_unavailable(registered)
        assert "runs on gpu, and JAX's default backend is cpu" in reason and "pip install for-gpus" in reason
    with target.aiming_at(known("sm_80")):
        assert registry.why_unavailable(registered) is None
        usable, reasons = registry.usable(None)
        assert registered in usable and "this is for a gpu" in reasons["onednn"]


def test_other_forms_of_a_backend_come_with_it_where_they_can_be_timed(registered, monkeypatch):
    with target.aiming_at(known("sm_80")):
        assert [b.name for b in registry.usable(["for_gpus"])[0]] == ["for_gpus"]
    monkeypatch.setattr(target, "current", lambda: target.Target("gpu", known("sm_80")))
    assert [b.name for b in registry.usable(["for_gpus"])[0]] == ["for_gpus", "for_gpus@1"]


def test_an_unknown_device_is_refused_with_those_there_are():
    with pytest.raises(ValueError, match=r"`device` must be one of 'sm_75' .Tesla T4.*got 'sm_12'"):
        known("sm_12")


def test_larger_gpus_are_faster_on_paper():
    models = [MODELS[name] for name in ("sm_75", "sm_80", "sm_90")]
    for rate in (lambda m: m.bandwidth, lambda m: m.flops("float16"), lambda m: m.flops("float32")):
        assert [rate(m) for m in models] == sorted(rate(m) for m in models)
    assert known("sm_80").flops("float32", tf32=False) == pytest.approx(19.5e12, rel=0.01)  # NVIDIA's data sheet


class Device:
    """As JAX describes a GPU."""

    def __init__(self, kind="NVIDIA RTX A2000", capability="8.6", cores=26):
        self.device_kind, self.compute_capability, self.core_count = kind, capability, cores


def test_a_gpu_of_jaxs_is_described_by_what_jax_says_of_it():
    found = of_jax(Device())
    assert (found.sm, found.name, found.multiprocessors) == (86, "NVIDIA RTX A2000", 26)
    with pytest.raises(ValueError, match="no NVIDIA GPU"):
        of_jax(object())


@pytest.mark.parametrize(
    ("capability", "nearest", "threads", "blocks", "shared", "optin"),
    [
        ("7.0", "sm_75", 2048, 32, 96, 96),
        ("8.6", "sm_86", 1536, 16, 100, 99),
        ("8.7", "sm_86", 1536, 16, 164, 163),
        ("10.0", "sm_90", 2048, 32, 228, 227),
        ("12.0", "sm_90", 1536, 24, 100, 99),
        ("12.1", "sm_90", 1536, 24, 100, 99),
        ("15.0", "sm_90", 1024, 16, 64, 48),  # nobody knows it
    ],
)
def test_limits_are_those_of_the_architecture(capability, nearest, threads, blocks, shared, optin):
    found = of_jax(Device(capability=capability))
    assert (found.threads, found.blocks, found.shared_memory, found.shared_memory_optin) == (
        threads, blocks, shared << 10, optin << 10,
    )  # fmt: skip
    assert found.bandwidth == known(nearest).bandwidth
    assert found.target == f"sm_{capability.replace('.', '')}"


def test_models_have_the_limits_of_nvidias_headers():
    for model in MODELS.values():
        assert model.shared_memory_optin == model.shared_memory - model.shared_memory_reserved
        assert model.shared_memory_reserved == (1024 if model.sm >= 80 else 0)


def test_gpus_of_several_kinds_are_refused_by_name(registered, monkeypatch):
    there = [Device("NVIDIA A100", "8.0"), Device("Tesla T4", "7.5"), Device("NVIDIA A100", "8.0")]
    monkeypatch.setattr(target.jax, "devices", lambda: there)
    here = target._here.__wrapped__("gpu")
    assert here.gpu.name == "NVIDIA A100" and here.unlike == ("NVIDIA A100 (8.0)", "Tesla T4 (7.5)")
    monkeypatch.setattr(target, "current", lambda: here)
    good, reasons = registry.usable(["for_gpus"])
    assert not good and "this process has NVIDIA A100 (8.0), Tesla T4 (7.5): leave one kind" in reasons["for_gpus"]
    assert registry.why_unavailable(registry.reference()) is None
    del there[1]
    assert target._here.__wrapped__("gpu").unlike == ()
