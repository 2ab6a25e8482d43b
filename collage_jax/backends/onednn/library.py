"""The loaded oneDNN: found, opened, and its FFI target registered, once and on first use."""

from __future__ import annotations

import ctypes
import importlib
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib import metadata
from pathlib import Path
from types import ModuleType

import jax

from ..base import Unsupported

#: The FFI target; attributes ``spec`` (see ``csrc/onednn/spec.h``) and ``library`` (the extension's ``version()``).
TARGET = "collage_onednn_v1"

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
        with _short_spinning():
            # The extension asks for this soname and has no search path, so it must be there already. It stays out of
            # the process-wide scope, where its symbols could stand in for those of another oneDNN (PyTorch, OpenVINO).
            ctypes.CDLL(str(path), mode=os.RTLD_NOW | os.RTLD_LOCAL)
    except OSError as error:
        return Unsupported(f"oneDNN cannot be opened: {error}")
    try:
        module = importlib.import_module("collage_jax._onednn")
    except ImportError as error:
        return Unsupported(f"the oneDNN extension, built on installation, cannot be imported: {error}")
    try:
        _register(module)
    except RuntimeError as error:
        return Unsupported(f"JAX does not take oneDNN's FFI target: {error}")
    return module


def _library_path() -> Path | Unsupported:
    if root := os.environ.get("ONEDNN_ROOT"):
        found = sorted(Path(root).glob(f"lib*/{_SONAME}"))
        return found[0] if found else Unsupported(f"no lib*/{_SONAME} in ONEDNN_ROOT ({root})")
    try:
        files = metadata.files(_WHEEL) or []
    except metadata.PackageNotFoundError:
        return Unsupported(f"oneDNN is not installed: pip install {_WHEEL}, or set ONEDNN_ROOT")
    for file in files:
        if file.name == _SONAME:
            return Path(str(file.locate())).resolve()
    return Unsupported(f"the wheel {_WHEEL} has no {_SONAME}")


@contextmanager
def _short_spinning() -> Iterator[None]:
    """Have GNU's OpenMP, which reads this once when it is loaded, let idle threads spin for about 10 us only.

    Its default is 3 ms. That holds a core that XLA's own threads want after the call, and on a busy machine it also
    keeps the threads that are waited for from running. 10 us is longer than the gap between two calls in a row.
    """
    if "GOMP_SPINCOUNT" in os.environ or "OMP_WAIT_POLICY" in os.environ:  # the user has decided
        yield
        return
    os.environ["GOMP_SPINCOUNT"] = "1000"
    try:
        yield
    finally:
        del os.environ["GOMP_SPINCOUNT"]  # child processes are not ours to configure


def _register(module: ModuleType) -> None:
    # JAX queues what is registered before the CPU client exists and then hands it targets first, which fails for a
    # target with state. So the client comes first, then the type, then the target.
    jax.local_devices(backend="cpu")
    for name, kind in module.type_registrations().items():
        jax.ffi.register_ffi_type(name, kind, platform="cpu")
    for name, stages in module.registrations().items():
        jax.ffi.register_ffi_target(name, stages, platform="cpu")
