"""The device that programs are placed for: JAX's default one, or one that is described and need not be here."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cache

import jax

from .gpu.device import GpuDevice, of_jax


@dataclass(frozen=True)
class Target:
    """``platform`` is JAX's name ("cpu", "gpu", "tpu"); ``gpu`` describes an NVIDIA GPU, None for anything else.

    ``is_here``: programs can be run on it in this process. ``unlike`` names the GPUs of a process in which not all are
    of one kind; kernels are made for one.
    """

    platform: str
    gpu: GpuDevice | None = None
    is_here: bool = True
    unlike: tuple[str, ...] = ()


_aim: ContextVar[Target | None] = ContextVar("collage_jax_target", default=None)


def current() -> Target:
    """What is placed for now."""
    return _aim.get() or _here(jax.default_backend())


@cache
def _here(platform: str) -> Target:
    if platform != "gpu":
        return Target(platform)
    first, *_ = devices = jax.devices()
    kinds = sorted({f"{each.device_kind} ({getattr(each, 'compute_capability', '')})" for each in devices})
    unlike = tuple(kinds) if len(kinds) > 1 else ()
    try:
        return Target(platform, of_jax(first), unlike=unlike)
    except ValueError:  # AMD's
        return Target(platform, unlike=unlike)


@contextmanager
def aiming_at(device: GpuDevice) -> Iterator[Target]:
    """Have everything inside placed for ``device``, which need not be here."""
    target = Target("gpu", device, is_here=False)
    token = _aim.set(target)
    try:
        yield target
    finally:
        _aim.reset(token)
