"""cuBLASLt, opened and made known to JAX, once and on first use."""

from __future__ import annotations

import threading
from functools import cache
from types import ModuleType

from ...ffi import native
from ...gpu.libraries import CUBLASLT, opened
from ..base import Unsupported

EXTENSION = "_cublas"
#: Multiplies two stacks of matrices.
TARGET = "collage_cublas_v1"

_lock = threading.Lock()


def load() -> ModuleType | Unsupported:
    """The native module, with the library open and its target registered for CUDA, or the reason why not."""
    with _lock:
        return _load()


@cache
def _load() -> ModuleType | Unsupported:
    path = opened(CUBLASLT)
    if isinstance(path, Unsupported):
        return path
    try:
        module = native.extension(EXTENSION)
    except ImportError as error:
        return Unsupported(f"its extension cannot be imported: {error}{native.hint()}")
    try:
        module.open(path)
        native.register(module, platform="CUDA")
    except RuntimeError as error:
        return Unsupported(f"cuBLASLt cannot be used: {error}")
    return module
