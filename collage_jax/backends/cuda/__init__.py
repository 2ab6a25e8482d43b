"""CUDA: kernels that users write in CUDA C++, or with CuPy. None of them has run on a GPU.

binding      region -> the kernel that runs it, and the arrays it gets
nvrtc        CUDA C++ -> machine code, with or without a GPU
launching    a kernel's launch as a custom call
cupy_call    a function of CuPy arrays as a custom call
"""

from __future__ import annotations

import atexit
import threading
import time
from collections.abc import Callable, Sequence
from functools import cache
from hashlib import sha256
from types import ModuleType
from typing import Any

from ... import target
from ...cuda_kernels import CudaKernel, CudaSource, register, registered, unregister
from ...ffi import native
from ...graph.region import Region
from ..base import NO_KERNEL, Unsupported
from ..user_kernels import UserKernels
from . import cupy_call, nvrtc
from .binding import Binding, bind
from .launching import launch

_lock = threading.Lock()


class Cuda(UserKernels[CudaKernel, Binding]):
    """The kernels that ``collage_jax.cuda_kernel`` made known, each for its pattern."""

    name = "cuda"
    platforms = ("gpu",)

    def available(self) -> Unsupported | None:
        module = load()  # in any case, for programs from other processes, which hold their kernels themselves
        if isinstance(module, Unsupported):
            return module
        if not registered():
            return Unsupported(f"{NO_KERNEL}; use collage_jax.cuda_kernel")
        lacks = [_lacks(kernel) for kernel in registered()]
        return lacks[0] if all(isinstance(lack, Unsupported) for lack in lacks) else None

    def missing(self) -> Unsupported | None:
        module = load()
        return module if isinstance(module, Unsupported) else nvrtc.missing()

    def version(self) -> str:
        kernels = " ".join(kernel.version for kernel in registered())
        return sha256(f"{nvrtc.version()} {kernels}".encode()).hexdigest()[:16]

    def registered(self) -> tuple[CudaKernel, ...]:
        return registered()

    def register(self, kernel: CudaKernel) -> None:
        register(kernel)

    def unregister(self, name: str) -> None:
        unregister(name)

    def bind(self, region: Region) -> Binding | Unsupported | None:
        return bind(registered(), region)

    def supports(self, region: Region) -> Unsupported | None:
        found = _call(region)
        return found if isinstance(found, Unsupported) else None

    def emit(self, region: Region) -> Callable[..., Any]:
        found = _call(region)
        if isinstance(found, Unsupported):
            raise ValueError(f"no kernel can run {region}: {found.reason}")
        binding, call = found
        exits = [binding.results.index(value) for value in region.exits]

        def run(*arrays: Any) -> tuple[Any, ...]:
            made = call(*arrays)
            return tuple(made[i] for i in exits)

        return run


def _call(region: Region) -> tuple[Binding, Callable[..., Sequence[Any]]] | Unsupported:
    """The kernel for ``region`` on the GPU that is placed for, as a callable from the entries to all its results."""
    found, module, gpu = bind(registered(), region), load(), target.current().gpu
    if found is None:
        return Unsupported("no kernel's pattern and condition describe these operations by themselves")
    for refusal in (found, module):
        if isinstance(refusal, Unsupported):
            return refusal
    assert isinstance(found, Binding) and isinstance(module, ModuleType)
    if not isinstance(found.kernel.body, CudaSource):
        call = cupy_call.call(module, found, region.entries)
    elif gpu is None:
        return Unsupported(f"{found.kernel.name} is compiled for an NVIDIA GPU, and what is placed for is none")
    else:
        call = launch(module, found, region.entries, gpu)
    return call if isinstance(call, Unsupported) else (found, call)


def _lacks(kernel: CudaKernel) -> Unsupported | None:
    """What has to be installed for ``kernel``."""
    if not isinstance(kernel.body, CudaSource):
        return cupy_call.missing()
    return nvrtc.missing() if isinstance(kernel.body.code, str) else None


def load() -> ModuleType | Unsupported:
    """The native module, known to JAX for CUDA, or why it cannot be used."""
    with _lock:
        return _load()


@cache
def _load() -> ModuleType | Unsupported:
    try:
        module = native.extension("_cuda")
    except ImportError as error:
        return Unsupported(f"its extension cannot be imported: {error}{native.hint()}")
    native.register(module, "CUDA")
    # Python ends threads that want to go on when it has come to its end, which those of XLA do not survive.
    atexit.register(_finish, module)
    return module


def _finish(module: ModuleType) -> None:
    while module.close() > 0:
        time.sleep(0.005)


BACKEND = Cuda()
