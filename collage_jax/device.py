"""What this machine is, as far as it decides how fast a kernel runs."""

from __future__ import annotations

import os
import platform
from functools import cache

import jax

from . import _compat, target
from .config import config
from .ffi import native

#: Memory of at least this many bytes goes back to the operating system when it is freed and comes anew, page by page,
#: when it is asked for: `DEFAULT_MMAP_THRESHOLD_MAX` of the GNU C library (`man mallopt`).
UNKEPT_BYTES = 1 << 25


def description() -> str:
    """Text that is equal on machines where costs can be shared: processor, instruction sets, threads; GPU, driver."""
    aim = target.current()
    return _here() if aim.gpu is None or aim.is_here else f"{aim.gpu.target} {aim.gpu.name}, not here"


@cache
def _here() -> str:
    device = jax.devices()[0]
    if (gpu := target.current().gpu) is not None:
        driver = cuda_driver()
        return f"gpu {gpu.name} {gpu.target}" + ("" if driver is None else f", driver for CUDA {driver}")
    if device.platform != "cpu":
        return f"{device.platform} {device.device_kind}"
    return f"cpu {_cpu_model()} x{processors()}"


def processors() -> int:
    """How many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@cache
def cuda_driver() -> str | None:
    """The newest CUDA that the NVIDIA driver supports, such as "13.0"; None without a driver, or what asks it."""
    try:
        version = native.extension("_cuda").driver_version()
    except (ImportError, RuntimeError):
        return None
    return f"{version // 1000}.{version % 1000 // 10}"


def _cpu_model() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf8") as file:
            fields = dict(line.split(":", 1) for line in file.read().split("\n\n")[0].splitlines() if ":" in line)
    except OSError:
        return platform.processor() or platform.machine()
    entries = {name.strip(): value.strip() for name, value in fields.items()}
    flags = [f for f in entries.get("flags", "").split() if f.startswith(("avx", "amx", "fma"))]
    return f"{entries.get('model name', platform.machine())} [{' '.join(sorted(flags))}]"


def settings() -> str:
    """Process-wide settings that change what XLA or a library makes of a region."""
    names = sorted(n for n in os.environ if n == "XLA_FLAGS" or n.startswith("OMP_"))
    environment = " ".join(f"{n}={os.environ[n]}" for n in names)
    cache = "" if target.current().gpu is None else f" flush_l2={config.flush_l2}"
    return f"{environment} {_compat.numeric_settings()}{cache}"
