"""NVRTC, NVIDIA's compiler of CUDA C++ at run time, by its C API: it needs neither a GPU nor a driver.

The functions are those of the "NVRTC" manual. JAX's plugin for CUDA installs the wheel.
"""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from pathlib import Path

from ...ffi import native
from ...gpu.libraries import Library, opened
from ..base import Unsupported

NVRTC = Library("NVRTC", (("libnvrtc.so.13", "nvidia-cuda-nvrtc"), ("libnvrtc.so.12", "nvidia-cuda-nvrtc-cu12")))

#: What kernels may include, such as cuda_fp16.h, is in these.
_HEADERS = ("nvidia-cuda-runtime", "nvidia-cuda-runtime-cu12")

_lock = threading.Lock()


@dataclass(frozen=True)
class Image:
    """Compiled code that the driver loads, and the PTX that it was made from, which lists kernels and parameters."""

    code: bytes
    ptx: str


def compiled(source: str, options: tuple[str, ...], architecture: str) -> Image | Unsupported:
    """CUDA C++ as a cubin for ``architecture`` ("sm_90"), or what NVRTC says of it. Kept for the whole process."""
    with _lock:
        return _compiled(source, options, architecture)


def missing() -> Unsupported | None:
    """What has to be installed to compile."""
    library = _library()
    return library if isinstance(library, Unsupported) else None


def version() -> str:
    """NVRTC's version; empty where it is missing."""
    library = _library()
    if isinstance(library, Unsupported):
        return ""
    major, minor = ctypes.c_int(), ctypes.c_int()
    library.nvrtcVersion(ctypes.byref(major), ctypes.byref(minor))
    return f"{major.value}.{minor.value}"


@cache
def _library() -> ctypes.CDLL | Unsupported:
    name = opened(NVRTC)
    if isinstance(name, Unsupported):
        return name
    library = ctypes.CDLL(name)
    library.nvrtcGetErrorString.restype = ctypes.c_char_p
    return library


@cache
def _compiled(source: str, options: tuple[str, ...], architecture: str) -> Image | Unsupported:
    library = _library()
    if isinstance(library, Unsupported):
        return library
    flags = [f"--gpu-architecture={architecture}", *(f"--include-path={folder}" for folder in _headers()), *options]
    program = ctypes.c_void_p()
    status = library.nvrtcCreateProgram(ctypes.byref(program), source.encode(), b"kernel.cu", 0, None, None)
    if status:
        return _refused(library, status, "")
    try:
        status = library.nvrtcCompileProgram(program, len(flags), _strings(flags))
        if status:
            return _refused(library, status, _text(library, program, "ProgramLog").decode(errors="replace"))
        ptx = _text(library, program, "PTX").decode(errors="replace")
        return Image(_text(library, program, "CUBIN"), ptx.rstrip("\0"))
    finally:
        library.nvrtcDestroyProgram(ctypes.byref(program))


def _text(library: ctypes.CDLL, program: ctypes.c_void_p, what: str) -> bytes:
    size = ctypes.c_size_t()
    getattr(library, f"nvrtcGet{what}Size")(program, ctypes.byref(size))
    text = ctypes.create_string_buffer(size.value)
    getattr(library, f"nvrtcGet{what}")(program, text)
    return text.raw


def _strings(texts: Sequence[str]) -> ctypes.Array[ctypes.c_char_p]:
    return (ctypes.c_char_p * len(texts))(*(text.encode() for text in texts))


def _refused(library: ctypes.CDLL, status: int, log: str) -> Unsupported:
    """The first line of the log that tells an error; the status if there is none."""
    lines = [line.strip().rstrip("\0") for line in log.splitlines()]
    told = next((line for line in lines if "error" in line), None)
    return Unsupported(f"NVRTC cannot compile it: {told or library.nvrtcGetErrorString(status).decode()}")


@cache
def _headers() -> tuple[str, ...]:
    """Where CUDA's own headers lie, of a wheel or a toolkit; none where there are none."""
    folders = []
    for wheel in _HEADERS:
        try:
            folders.append(native.file_of(wheel, "cuda_fp16.h"))
        except metadata.PackageNotFoundError:
            continue
    found = [file.parent for file in folders if file is not None and file.exists()]
    toolkit = Path(os.environ.get("CUDA_HOME", "/usr/local/cuda"), "include")
    return tuple(map(str, [*found[:1], *([toolkit] if not found and toolkit.is_dir() else [])]))
