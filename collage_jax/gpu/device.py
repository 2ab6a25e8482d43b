"""NVIDIA GPUs in numbers, for what places and compiles programs for one that may not be here.

Public figures from NVIDIA's data sheets and the CUDA programming guide's table of compute capabilities: maximum boost
clock, memory clock and bus width, dense tensor-core rates. They feed heuristics and estimates, so that a figure which
is a little off changes which plan is preferred, not whether there is one.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from ..spelling import did_you_mean

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30


@dataclass(frozen=True)
class GpuDevice:
    """One model of GPU. ``sm`` is its compute capability, 10 times the major and the minor; sizes are in bytes.

    ``tensor_tflops`` gives dense rates of the tensor cores by dtype, ``tf32`` among them; none where there is no such
    unit. ``fp32_units``, ``threads``, ``blocks`` and ``shared_memory`` are those of one multiprocessor.
    """

    name: str
    sm: int
    multiprocessors: int
    fp32_units: int
    threads: int
    blocks: int
    shared_memory: int
    shared_memory_optin: int
    shared_memory_reserved: int
    l2_cache: int
    memory: int
    clock_mhz: int
    memory_clock_mhz: int
    memory_bus_bits: int
    tensor_tflops: Mapping[str, float] = field(hash=False)

    @property
    def target(self) -> str:
        """The name that compilers give its architecture, such as ``"sm_90"``."""
        return f"sm_{self.sm}"

    @property
    def bandwidth(self) -> float:
        """Bytes per second between the GPU and its memory; two transfers per clock."""
        return 2e6 * self.memory_clock_mhz * self.memory_bus_bits / 8

    def flops(self, dtype: Any, tf32: bool = True) -> float:
        """Floating-point operations per second in products of ``dtype``; ``tf32``: float32 may be rounded to it."""
        name = str(dtype)
        rate = self.tensor_tflops.get("tf32" if name == "float32" and tf32 else name)
        plain = 2e6 * self.clock_mhz * self.multiprocessors * self.fp32_units
        return plain if rate is None else 1e12 * rate

    def cudnn_properties(self) -> str:
        """What NVIDIA's library for deep networks (9.11 or newer) takes in place of a driver's properties, as JSON."""
        return json.dumps(
            {
                "deviceVer": 10 * self.sm,
                "deviceName": self.name,
                "cudaDeviceId": 0,
                "pciDeviceId": 0,
                "driverVer": 13000,
                "isTccDriver": 0,
                "multiProcessorCount": self.multiprocessors,
                "warpSize": 32,
                "supportCoopLaunch": 1,
                "maxThreadsPerBlock": 1024,
                "maxThreadsPerSM": self.threads,
                "maxCtasPerSM": self.blocks,
                "maxBlockSize": [1024, 1024, 64],
                "maxGridSize": [2147483647, 65535, 65535],
                "regsPerBlock": 65536,
                "maxRegistersPerSM": 65536,
                "memoryBusWidth": self.memory_bus_bits,
                "maxSharedMemoryPerBlock": 48 * KIB,
                "maxSharedMemoryPerBlockOptin": self.shared_memory_optin,
                "oversizedSharedMemoryPerBlock": self.shared_memory_optin,
                "reservedSharedMemoryPerBlock": self.shared_memory_reserved,
                "l2CacheSize": self.l2_cache,
                "totalGlobalMem": self.memory,
                "smClockRateKHz": 1000 * self.clock_mhz,
                "memClockRateKHz": 1000 * self.memory_clock_mhz,
            },
            separators=(",", ":"),
        )


_T4 = GpuDevice(
    "Tesla T4", 75, 40, 64, 1024, 16, 64 * KIB, 64 * KIB, 0, 4 * MIB, 16 * GIB, 1590, 5001, 256, {"float16": 65.0}
)
_A100 = GpuDevice(
    *("NVIDIA A100-SXM4-40GB", 80, 108, 64, 2048, 32, 164 * KIB, 163 * KIB, KIB),
    *(40 * MIB, 40 * GIB, 1410, 1215, 5120, {"float16": 312.0, "bfloat16": 312.0, "tf32": 156.0, "float64": 19.5}),
)
_A10 = GpuDevice(
    *("NVIDIA A10", 86, 72, 128, 1536, 16, 100 * KIB, 99 * KIB, KIB),
    *(6 * MIB, 24 * GIB, 1695, 6251, 384, {"float16": 125.0, "bfloat16": 125.0, "tf32": 62.5}),
)
_L40S = GpuDevice(
    *("NVIDIA L40S", 89, 142, 128, 1536, 24, 100 * KIB, 99 * KIB, KIB),
    *(96 * MIB, 48 * GIB, 2520, 9001, 384, {"float16": 362.0, "bfloat16": 362.0, "tf32": 183.0}),
)
_H100 = GpuDevice(
    *("NVIDIA H100 80GB HBM3", 90, 132, 128, 2048, 32, 228 * KIB, 227 * KIB, KIB),
    *(50 * MIB, 80 * GIB, 1980, 2619, 5120, {"float16": 989.0, "bfloat16": 989.0, "tf32": 494.0, "float64": 67.0}),
)

#: The models that programs can be placed for without one, by architecture.
MODELS = {model.target: model for model in (_T4, _A100, _A10, _L40S, _H100)}

#: Of architectures that none of them has: threads and blocks of a multiprocessor, its shared memory and how much of it
#: one block can have, in KiB. From NVIDIA's headers (CCCL, cuda/__device/arch_traits.h).
_LIMITS = {
    60: (2048, 32, 64, 48), 61: (2048, 32, 96, 48), 62: (2048, 32, 64, 48), 70: (2048, 32, 96, 96),
    87: (1536, 16, 164, 163), 88: (1536, 16, 100, 99), 100: (2048, 32, 228, 227), 103: (2048, 32, 228, 227),
    107: (1024, 16, 228, 227), 110: (1536, 24, 228, 227), 120: (1536, 24, 100, 99), 121: (1536, 24, 100, 99),
}  # fmt: skip
#: From here on the driver keeps some of it.
_RESERVES = 80
#: What any has.
_LEAST = (1024, 16, 64, 48)


def known(device: str) -> GpuDevice:
    """The model for an architecture such as ``"sm_90"``; ``ValueError`` naming those there are for any other."""
    if not isinstance(device, str) or device not in MODELS:
        listed = ", ".join(f"{name!r} ({model.name})" for name, model in MODELS.items())
        near = did_you_mean(device, MODELS) or "; give one of these architectures"
        raise ValueError(f"`device` must be one of {listed}, got {device!r}{near}")
    return MODELS[device]


def of_jax(device: Any) -> GpuDevice:
    """The GPU that ``device``, one of ``jax.devices()``, is.

    Name, architecture and multiprocessors are what JAX says. Limits are those of the architecture; where nothing here
    names it, what any has. Rates, caches and memory, on which only estimates hang and how much is written to empty a
    cache, are those of the nearest model. Raises ``ValueError`` for what is no NVIDIA GPU.
    """
    capability = re.fullmatch(r"(\d+)\.(\d+)", str(getattr(device, "compute_capability", "")))
    if capability is None:
        raise ValueError(f"{device} is no NVIDIA GPU: it has no compute capability")
    sm = 10 * int(capability[1]) + int(capability[2])
    nearest = min(MODELS.values(), key=lambda model: (abs(model.sm - sm), -model.sm))
    cores = getattr(device, "core_count", None)
    found = replace(
        nearest, name=device.device_kind, sm=sm, multiprocessors=int(cores) if cores else nearest.multiprocessors
    )
    return found if sm == nearest.sm else _limited(found, *_LIMITS.get(sm, _LEAST))


def _limited(device: GpuDevice, threads: int, blocks: int, shared_kib: int, optin_kib: int) -> GpuDevice:
    shared = {"shared_memory": shared_kib * KIB, "shared_memory_optin": optin_kib * KIB}
    return replace(
        device, threads=threads, blocks=blocks, **shared, shared_memory_reserved=KIB if device.sm >= _RESERVES else 0
    )
