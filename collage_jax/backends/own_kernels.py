"""The extensions with kernels of our own: imported, and their FFI targets registered, once and on first use."""

from __future__ import annotations

import importlib
import threading
from functools import cache
from types import ModuleType

from ..native import register, short_spinning
from .base import Unsupported

_lock = threading.Lock()


def load(extension: str) -> ModuleType | Unsupported:
    """The extension of that name, or the reason why it cannot be used. Creates JAX's CPU client."""
    with _lock:
        return _load(extension)


@cache
def _load(extension: str) -> ModuleType | Unsupported:
    try:
        with short_spinning():
            module = importlib.import_module(f"collage_jax.{extension}")
    except ImportError as error:
        return Unsupported(f"the extension for it cannot be loaded: {error}")
    if not module.instruction_set():
        return Unsupported("there are kernels for processors with AVX2 and FMA, or with AVX-512, and this has neither")
    register(module)
    return module
