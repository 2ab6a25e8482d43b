"""A kernel's launch as one operation of JAX: the custom call ``collage_cuda_launch_v1``."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

import jax
import numpy as np

from ...costs import told
from ...cuda_kernels import CudaSource
from ...gpu.device import GpuDevice
from ...graph.ir import Value
from ..base import Unsupported
from . import nvrtc
from .binding import Binding

TARGET = "collage_cuda_launch_v1"
ELF, POINTER = b"\x7fELF", 8


def launch(
    module: ModuleType, binding: Binding, entries: tuple[Value, ...], gpu: GpuDevice
) -> Callable[..., Sequence[Any]] | Unsupported:
    """A JAX-traceable callable from ``entries`` to the binding's results, or why ``gpu`` cannot run it."""
    kernel, source = binding.kernel, binding.kernel.body
    assert kernel.sizes is not None and isinstance(source, CudaSource)
    try:
        sizes = kernel.sizes.of(binding.match)
    except Exception as error:  # of the user's functions, or of what they gave
        return Unsupported(f"{kernel.name}: its sizes failed: {told(error)}")
    image = _image(source, gpu)
    if isinstance(image, Unsupported):
        return Unsupported(f"{kernel.name}: {image.reason}")
    pointers = ["null" if value is None else f"in{entries.index(value)}" for value in binding.inputs]
    pointers += [f"out{i}" for i in range(len(binding.results))]
    given = [POINTER] * len(pointers) + [scalar.dtype.itemsize for scalar in sizes.scalars]
    reason = _unfit(image, kernel.name, given)
    if reason is not None:
        return Unsupported(f"{kernel.name}: {reason}")
    attributes = {
        "name": kernel.name,
        "grid": np.array(sizes.grid, np.int64),
        "block": np.array(sizes.block, np.int64),
        "shared": np.int64(sizes.shared),
        "shared_limit": np.int64(gpu.shared_memory_optin),
        "parameters": " ".join([*pointers, *(f"{s.dtype.name}:{s.tobytes().hex()}" for s in sizes.scalars)]),
    }
    try:
        module.check_launch(**attributes)
    except ValueError as error:
        return Unsupported(f"{kernel.name}: {error}")
    code = np.frombuffer(image.code, np.uint8)
    shapes = [jax.ShapeDtypeStruct(value.shape, value.dtype) for value in binding.results]
    return lambda *arrays: jax.ffi.ffi_call(TARGET, shapes)(*arrays, image=code, **attributes)


def _image(source: CudaSource, gpu: GpuDevice) -> nvrtc.Image | Unsupported:
    if isinstance(source.code, str):
        return nvrtc.compiled(source.code, source.options, gpu.target)
    is_ptx = b".entry" in source.code and not source.code.startswith(ELF)
    return nvrtc.Image(source.code, source.code.decode(errors="replace") if is_ptx else "")


def _unfit(image: nvrtc.Image, name: str, given: list[int]) -> str | None:
    """Why the kernel cannot be called with parameters of so many bytes each. Compiled code says nothing of them."""
    if not image.ptx:
        held = not image.code.startswith(ELF) or b".text.%s\0" % name.encode() in image.code
        return None if held else f"the compiled code holds no kernel called {name}"
    entries = dict(re.findall(r"\.entry\s+([\w$]+)\s*(?:\(([^)]*)\))?", image.ptx))
    if name not in entries:
        there = ", ".join(entries) or "none"
        return f'the code holds no kernel called {name}, but {there}: declare it extern "C" __global__ void {name}(...)'
    taken = [_bytes(parameter) for parameter in entries[name].split(",") if parameter.strip()]
    if taken == given:
        return None
    listed = [", ".join(map(str, sizes)) or "none" for sizes in (taken, given)]
    return (
        f"its parameters are of {listed[0]} bytes, and it would get {listed[1]}: pointers to the captured arrays, to "
        "the results, then the scalars, whose dtypes must be those of the parameters"
    )


def _bytes(parameter: str) -> int:
    """The size of a parameter as PTX declares it: ``.param .u64 f_param_0``, ``.param .align 4 .b8 f_param_1[12]``."""
    bits, count = re.search(r"\.[busf](\d+)\b", parameter), re.search(r"\[(\d+)\]", parameter)
    assert bits is not None, parameter
    return int(bits[1]) // 8 * (int(count[1]) if count else 1)
