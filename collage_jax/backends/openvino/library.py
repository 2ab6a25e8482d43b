"""The loaded OpenVINO: found, opened, and its FFI targets registered, once and on first use."""

from __future__ import annotations

import importlib
import os
import sys
import threading
from functools import cache
from importlib import metadata
from pathlib import Path
from types import ModuleType

from ...ffi.native import file_of, hint, register
from ..base import Unsupported

#: Packs weights: a token for the model that holds them.
PREPARE = "collage_openvino_prepare_v1"
#: Runs the model.
TARGET = "collage_openvino_v1"

_WHEEL = "openvino"
_LIBRARY = "libopenvino_c.so*"
_lock = threading.Lock()


def load() -> Unsupported | None:
    """Open the library for models to run; the reason if that cannot be. Creates JAX's CPU client."""
    with _lock:
        return _load()


def package() -> ModuleType | Unsupported:
    """OpenVINO's Python package, with which models are made, or the reason why there is none."""
    with _lock:
        reason = _load()
        return _package() if reason is None else reason


@cache
def _load() -> Unsupported | None:
    path = _library_path()
    if isinstance(path, Unsupported):
        return path
    try:
        native = importlib.import_module("collage_jax._openvino")
    except ImportError as error:
        return Unsupported(f"its extension cannot be imported: {error}{hint()}")
    try:
        native.open(str(path))
        register(native)
    except RuntimeError as error:
        return Unsupported(f"OpenVINO cannot be used: {error}")
    return None


@cache
def _package() -> ModuleType | Unsupported:
    try:
        return _without_telemetry()
    except Exception as error:  # whatever a broken installation raises
        return Unsupported(f"OpenVINO's Python package cannot be imported: {type(error).__name__}: {error}")


def _without_telemetry() -> ModuleType:
    """The Python package, imported so that it does not send statistics of use: to do so it forks, which JAX forbids."""
    name = "openvino_telemetry"
    held = sys.modules.get(name)
    sys.modules[name] = None  # type: ignore[assignment]  # an import of it fails, and the package does without
    try:
        return importlib.import_module(_WHEEL)
    finally:
        del sys.modules[name]
        if held is not None:
            sys.modules[name] = held


def version() -> str:
    """The version of the installed package, or an empty text."""
    try:
        return metadata.version(_WHEEL)
    except metadata.PackageNotFoundError:
        return ""


def threads() -> int:
    """As many as there are cores for this process, or ``OMP_NUM_THREADS``, as for the other libraries."""
    limit = os.environ.get("OMP_NUM_THREADS", "").split(",")[0]
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(cores, int(limit)) if limit.isdecimal() and int(limit) > 0 else cores


def _library_path() -> Path | Unsupported:
    try:
        path = file_of(_WHEEL, _LIBRARY)
    except metadata.PackageNotFoundError:
        return Unsupported(f"OpenVINO is not installed: pip install {_WHEEL}")
    if path is None:
        return Unsupported(f"the package {_WHEEL} has no {_LIBRARY}")
    return path if path.exists() else Unsupported(f"the package {_WHEEL} is damaged: {path} is missing")
