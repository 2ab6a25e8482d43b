"""A product as a JAX-traceable callable: one custom call, which is given memory to work in as a result of its own."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

import jax
import numpy as np

from ...gpu.device import KIB, MIB, GpuDevice
from ...graph.region import Region
from .library import TARGET
from .product import Product

#: What cuBLASLt is recommended to be given, from the compute capability of Hopper on and before.
_HOPPER, _HOPPER_BYTES, _BYTES = 90, 32 * MIB, 8 * MIB
#: Small results need less: the library divides long sums, and keeps partial ones in float32.
_PARTIAL_SUMS = 32


def kernel(product: Product, region: Region, module: ModuleType, rank: int, gpu: GpuDevice) -> Callable[..., Any]:
    """``region.entries`` in, ``region.exits`` out."""
    workspace = workspace_bytes(product, gpu)
    spec, version = product.spec(rank, workspace), module.version()
    results = [jax.ShapeDtypeStruct(value.shape, value.dtype) for value in product.exits]
    results.append(jax.ShapeDtypeStruct((workspace + module.WORKSPACE_ALIGNMENT,), np.uint8))
    operands = [(region.entries.index(value), make) for value, make in product.operands]

    def run(*arrays: Any) -> tuple[Any, ...]:
        given = [arrays[i] if make is None else make(arrays[i]) for i, make in operands]
        *made, _ = jax.ffi.ffi_call(TARGET, results)(*given, spec=spec, version=version)
        return tuple(made[product.exits.index(value)] for value in region.exits)

    return run


def workspace_bytes(product: Product, gpu: GpuDevice) -> int:
    """How much memory to work in the library may count on."""
    most = _HOPPER_BYTES if gpu.sm >= _HOPPER else _BYTES
    wanted = _PARTIAL_SUMS * product.result.size * np.dtype(np.float32).itemsize
    return min(most, -(-wanted // (64 * KIB)) * 64 * KIB)
