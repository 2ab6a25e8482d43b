"""The extension with the kernels: imported, and its FFI target registered, once and on first use."""

from __future__ import annotations

import importlib
import threading
from functools import cache
from types import ModuleType

from ...native import register, short_spinning
from ..base import Unsupported

TARGET = "collage_sgemm_v1"

#: Extension that makes steps of a program.
STEP = "_sgemm"

_lock = threading.Lock()


def load() -> ModuleType | Unsupported:
    """The extension module, or the reason why it cannot be used. Creates JAX's CPU client."""
    with _lock:
        return _load()


@cache
def _load() -> ModuleType | Unsupported:
    try:
        with short_spinning():
            module = importlib.import_module(f"collage_jax.{STEP}")
    except ImportError as error:
        return Unsupported(f"the extension for it cannot be loaded: {error}")
    if not module.instruction_set():
        return Unsupported("there are kernels for processors with AVX2 and FMA, or with AVX-512, and this has neither")
    register(module)
    return module
