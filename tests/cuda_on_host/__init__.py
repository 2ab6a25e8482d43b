"""CUDA without CUDA: a driver that records what it is given to do, and kernels' own sources run on the CPU."""

from __future__ import annotations

import ctypes
import re
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from collage_jax.ffi import native

FOLDER = Path(__file__).parent

HOST = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint, ctypes.c_void_p)


class _Launch(ctypes.Structure):
    _fields_ = (
        ("name", ctypes.c_char * 64),
        *((name, ctypes.c_uint * 3) for name in ("grid", "block")),
        *(("shared", ctypes.c_uint), ("stream", ctypes.c_void_p), ("count", ctypes.c_int)),
        ("parameters", ctypes.c_ubyte * 16 * 16),
    )


class _Work(ctypes.Structure):
    _fields_ = (("what", ctypes.c_char * 64), ("number", ctypes.c_long), ("stream", ctypes.c_void_p))


@dataclass(frozen=True)
class Launched:
    """A launch as the driver saw it: each parameter as its bytes."""

    name: str
    grid: tuple[int, ...]
    block: tuple[int, ...]
    shared: int
    stream: int | None
    parameters: tuple[bytes, ...]


class Recorder:
    """The recording driver, built in ``folder``."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "recording_driver.so"
        flags = ("-shared", "-fPIC", "-O1", "-Wall", "-Wextra", "-Werror", "-fvisibility=hidden")
        subprocess.run(["gcc", *flags, FOLDER / "recording_driver.c", "-o", self.path], check=True)
        self.library = ctypes.CDLL(str(self.path))
        self.library.recorder_launch.restype = ctypes.POINTER(_Launch)
        self.library.recorder_work.restype = ctypes.POINTER(_Work)
        self._bytes: dict[str, list[int]] = {}
        self._held: list[Any] = []

    def reset(self) -> None:
        self.library.recorder_reset()
        self._bytes.clear()

    def knows(self, name: str, parameters: Sequence[int], host: Any = None) -> None:
        """From now on images hold the kernel ``name``, with parameters of so many bytes each."""
        self._bytes[name] = list(parameters)
        address = HOST() if host is None else ctypes.cast(host, HOST)
        self._held.append(address)
        self.library.recorder_kernel(name.encode(), len(parameters), (ctypes.c_int * 16)(*parameters), address)

    def takes(self, name: str, us: float) -> None:
        """From now on the driver's clock runs for ``us`` at each launch of the kernel, or at each ``"memset"``."""
        self.library.recorder_takes(name.encode(), ctypes.c_double(us))

    def fails(self, function: str, code: int = 700) -> None:
        self.library.recorder_fail(function.encode(), code)

    def count(self, what: str) -> int:
        return getattr(self.library, f"recorder_{what}")()

    def in_context(self, address: int | None) -> None:
        self.library.recorder_context(ctypes.c_void_p(address))

    @property
    def work(self) -> list[tuple[str, int, int | None]]:
        """What was put on streams, in order: a kernel's name, ``"event"`` with its number or ``"memset"`` with its
        bytes; and the stream."""
        found = [self.library.recorder_work(i).contents for i in range(self.count("worked"))]
        return [(work.what.decode(), work.number, work.stream) for work in found]

    @property
    def launches(self) -> list[Launched]:
        found = [self.library.recorder_launch(i).contents for i in range(self.count("launches"))]
        return [
            Launched(
                name := launch.name.decode(),
                tuple(launch.grid),
                tuple(launch.block),
                launch.shared,
                launch.stream,
                tuple(bytes(p)[:size] for p, size in zip(launch.parameters, self._bytes[name], strict=False)),
            )
            for launch in found
        ]


@cache
def the_driver() -> Recorder:
    """The only driver that this process ever has; the targets of ``collage_jax._cuda`` also for arrays of the host."""
    module = native.extension("_cuda")
    with tempfile.TemporaryDirectory() as folder:
        recorder = Recorder(Path(folder))
        module.open_driver(str(recorder.path))
    native.register(module.host)
    return recorder


def on_host(source: str, name: str, folder: Path) -> ctypes.CDLL:
    """The kernel ``name`` of ``source`` for the CPU; ``<name>_on_host`` of the library is what a driver calls."""
    dynamic = r"extern __shared__ (\w+) (\w+)\[\];"
    text = re.sub(dynamic, r"\1* \2 = reinterpret_cast<\1*>(on_host::shared.data());", source)
    file = folder / f"{name}_{abs(hash(source))}.cc"
    file.write_text(f'#include "device.h"\n{text}\nRUN_ON_HOST({name})\n')
    library = file.with_suffix(".so")
    flags = ("-shared", "-fPIC", "-std=c++20", "-O1", "-ffp-contract=off")
    subprocess.run(["g++", *flags, f"-I{FOLDER}", file, "-o", library], check=True)
    return ctypes.CDLL(str(library))
