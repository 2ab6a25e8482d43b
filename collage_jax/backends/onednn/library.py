"""The loaded oneDNN: found, opened, and its FFI target registered, once and on first use."""

from __future__ import annotations

import ctypes
import importlib
import os
import threading
from functools import cache
from importlib import metadata
from pathlib import Path
from types import ModuleType

from ...ffi.native import file_of, hint, register, short_spinning
from ..base import Unsupported

#: The FFI target; attributes ``spec`` (see ``csrc/onednn/spec.h``) and ``version`` (the extension's ``version()``).
TARGET = "collage_onednn_v1"

#: The extension, where its kernels can be steps of a program.
STEP = "_onednn"

_WHEEL = "onednn-cpu-gomp"
_SONAME = "libdnnl.so.3"
_lock = threading.Lock()


def load() -> ModuleType | Unsupported:
    """The extension module, its FFI target registered, or the reason why there is none. Creates JAX's CPU client."""
    with _lock:
        return _load()


@cache
def _load() -> ModuleType | Unsupported:
    path = _library_path()
    if isinstance(path, Unsupported):
        return path
    try:
        with short_spinning():
            # The extension asks for this soname and has no search path, so it must be there already. It stays out of
            # the process-wide scope, where its symbols could stand in for those of another oneDNN (PyTorch has one).
            ctypes.CDLL(str(path), mode=os.RTLD_NOW | os.RTLD_LOCAL)
    except OSError as error:
        return Unsupported(f"oneDNN cannot be opened: {error}")
    try:
        module = importlib.import_module("collage_jax._onednn")
    except ImportError as error:
        return Unsupported(f"its extension cannot be imported: {error}{hint()}")
    try:
        register(module)
    except RuntimeError as error:
        return Unsupported(f"JAX does not take oneDNN's FFI target: {error}")
    return module


def _library_path() -> Path | Unsupported:
    if root := os.environ.get("ONEDNN_ROOT"):
        found = sorted(Path(root).glob(f"lib*/{_SONAME}"))
        return found[0] if found else Unsupported(f"no lib*/{_SONAME} in ONEDNN_ROOT ({root})")
    try:
        path = file_of(_WHEEL, _SONAME)
    except metadata.PackageNotFoundError:
        return Unsupported(f"oneDNN is not installed: pip install {_WHEEL}, or set ONEDNN_ROOT")
    return path or Unsupported(f"the wheel {_WHEEL} has no {_SONAME}")
