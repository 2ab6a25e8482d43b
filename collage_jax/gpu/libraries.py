"""NVIDIA's libraries: found where JAX's own plugin, the wheels or the system have them, and opened at run time.

Nothing here is linked against CUDA: the same build of this package runs with and without it.
"""

from __future__ import annotations

import ctypes
import os
import threading
from dataclasses import dataclass
from functools import cache
from importlib import metadata

from ..backends.base import Unsupported
from ..ffi import native


@dataclass(frozen=True)
class Library:
    """A library by the names that its releases have, newest first, each with the wheel that holds it."""

    title: str
    releases: tuple[tuple[str, str], ...]


CUBLASLT = Library("cuBLASLt", (("libcublasLt.so.13", "nvidia-cublas"), ("libcublasLt.so.12", "nvidia-cublas-cu12")))

_DRIVER = "libcuda.so.1"
_lock = threading.Lock()


def opened(library: Library) -> str | Unsupported:
    """What to hand to ``dlopen`` for ``library``, which is open now and stays so, or why it cannot be had.

    One that is loaded already is taken first, since there must not be two; then that of a wheel; then the system's.
    """
    with _lock:
        return _opened(library)


@cache
def _opened(library: Library) -> str | Unsupported:
    for soname, _ in library.releases:
        if _opens(soname, os.RTLD_NOLOAD) is None:
            return soname
    reasons = []
    for soname, wheel in library.releases:
        path = _in_wheel(wheel, soname)
        if path is not None:
            reason = _opens(path)
            if reason is None:
                return path
            reasons.append(reason)
    for soname, _ in library.releases:
        if _opens(soname) is None:
            return soname
    if reasons:
        return Unsupported(f"{library.title} cannot be opened: {'; '.join(dict.fromkeys(reasons))}")
    return Unsupported(f"{library.title} is not installed: pip install {library.releases[0][1]}")


def driver_missing() -> str | None:
    """Why there is no NVIDIA driver here, or None if there is one."""
    with _lock:
        return _driver_missing()


@cache
def _driver_missing() -> str | None:
    if (reason := _opens(_DRIVER)) is not None:
        return f"no NVIDIA driver is installed ({reason})"
    return "no NVIDIA driver is installed" if _is_stand_in(ctypes.CDLL(_DRIVER)) else None


def with_stand_in() -> Unsupported | None:
    """Have libraries that ask for the driver's library find one: without a driver, ours, which knows no device."""
    if driver_missing() is None:
        return None
    with _lock:
        return _stand_in()


@cache
def _stand_in() -> Unsupported | None:
    try:
        path = native.path_of("_no_driver")
        # Others find it by its name, which is that of the driver's library.
        ctypes.CDLL(str(path), mode=os.RTLD_NOW | os.RTLD_GLOBAL)
    except (ImportError, OSError) as error:
        return Unsupported(f"there is no NVIDIA driver, and what stands in for it cannot be opened: {error}")
    return None


def _is_stand_in(library: ctypes.CDLL) -> bool:
    return hasattr(library, "collage_no_driver")


def _opens(name: str, mode: int = 0) -> str | None:
    """None if ``name`` can be opened, and then it stays so; else the reason."""
    try:
        ctypes.CDLL(name, mode=os.RTLD_NOW | os.RTLD_GLOBAL | mode)
    except OSError as error:
        return str(error)
    return None


def _in_wheel(wheel: str, soname: str) -> str | None:
    try:
        path = native.file_of(wheel, soname)
    except metadata.PackageNotFoundError:
        return None
    return None if path is None or not path.exists() else str(path)
