"""The loaded cuDNN: found, opened, and its FFI target registered, once and on first use."""

from __future__ import annotations

import threading
from functools import cache, lru_cache
from types import ModuleType

from ... import target
from ...ffi import native
from ...gpu.device import GpuDevice
from ...gpu.libraries import CUBLASLT, Library, driver_missing, opened, with_stand_in
from ..base import Unsupported

#: The FFI target; attributes: ``spec`` (see ``csrc/cudnn/build.cc``), the ``device`` and its ``sm``, the ``engine``,
#: and the ``version`` of cuDNN. Its last result is memory to work in.
TARGET = "collage_cudnn_v1"

CUDNN = Library("cuDNN", (("libcudnn.so.9", "nvidia-cudnn-cu13"), ("libcudnn.so.9", "nvidia-cudnn-cu12")))

_lock = threading.Lock()


def load() -> ModuleType | Unsupported:
    """The extension module with cuDNN open and its FFI target registered, or the reason why there is none."""
    with _lock:
        return _load()


@cache
def _load() -> ModuleType | Unsupported:
    try:
        module = native.extension("_cudnn")
    except ImportError as error:
        return Unsupported(f"its extension was not built, which takes cuDNN's headers: {error}{native.hint()}")
    # cuDNN ends the process where it does not find cuBLASLt.
    for library in (CUBLASLT, CUDNN):
        path = opened(library)
        if isinstance(path, Unsupported):
            return path
    if (refusal := with_stand_in()) is not None:
        return refusal
    path = opened(CUDNN)
    assert isinstance(path, str)
    try:
        module.open(path)
        native.register(module, platform="CUDA")
    except (ValueError, RuntimeError) as error:
        return Unsupported(f"cuDNN cannot be used: {error}")
    return module


def missing() -> Unsupported | None:
    """What has to be installed, without opening anything that needs a GPU."""
    try:
        native.path_of("_cudnn")
    except ImportError as error:
        return Unsupported(
            f"{error}; it is built where the headers of nvidia-cudnn-cu13 and nvidia-cudnn-frontend are: see "
            "requirements-cudnn.txt"
        )
    return next((path for path in map(opened, (CUBLASLT, CUDNN)) if isinstance(path, Unsupported)), None)


def unavailable() -> Unsupported | None:
    """Why cuDNN cannot serve what is placed for now."""
    aim = target.current()
    if aim.gpu is None:
        return Unsupported("cuDNN is for NVIDIA GPUs")
    module = load()
    if isinstance(module, Unsupported):
        return module
    reason = driver_missing() if aim.is_here else None
    return None if reason is None else Unsupported(reason)


@cache
def properties(gpu: GpuDevice, is_here: bool) -> str:
    """Device properties as JSON: a driver's where there is one."""
    module = load()
    assert isinstance(module, ModuleType)
    return module.properties_of(0) if is_here else gpu.cudnn_properties()


@lru_cache(maxsize=4096)
def engines(spec: str, properties: str, sm: int, most: int) -> tuple[tuple[str, int], ...] | Unsupported:
    """Names and workspaces in bytes of cuDNN's engines for a graph, the likeliest to be fast first; or why none."""
    module = load()
    if isinstance(module, Unsupported):
        return module
    try:
        return tuple(module.engines(spec, properties, sm, most))
    except ValueError as error:
        return Unsupported(_told(str(error)))


def _told(message: str) -> str:
    """The first line of what cuDNN says, which can be long."""
    line = next(iter(message.strip().splitlines()), message)
    return f"cuDNN refuses: {line[:200]}"
