"""A function of CuPy arrays as one operation of JAX, on XLA's stream and memory: ``collage_cuda_cupy_v1``.

Only a CuPy that is made up has run this: a real one needs a GPU.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable, Sequence
from hashlib import sha256
from types import ModuleType
from typing import Any

import jax
import numpy as np

from ...graph.ir import Value
from ..base import Unsupported
from .binding import Binding

TARGET = "collage_cuda_cupy_v1"


def missing() -> Unsupported | None:
    """What has to be installed for functions of CuPy arrays."""
    if importlib.util.find_spec("cupy") is not None:
        return None
    return Unsupported("CuPy is not installed: pip install cupy-cuda13x")


def call(
    module: ModuleType, binding: Binding, entries: tuple[Value, ...]
) -> Callable[..., Sequence[Any]] | Unsupported:
    """A JAX-traceable callable from ``entries`` to all results of ``binding``, or what is missing."""
    reason = missing()
    if reason is not None:
        return reason
    kernel = binding.kernel
    places = [None if value is None else entries.index(value) for value in binding.inputs]
    arrays = [(value.shape, str(value.dtype)) for value in (*entries, *binding.results)]
    what = sha256(repr((kernel.version, places, arrays)).encode()).hexdigest()[:16]
    name = f"{kernel.name}#{what}"
    module.register_function(name, _on_stream(kernel.body, places, arrays, len(entries)))
    shapes = [jax.ShapeDtypeStruct(value.shape, value.dtype) for value in binding.results]
    return lambda *operands: jax.ffi.ffi_call(TARGET, shapes)(*operands, function=name)


def _on_stream(
    function: Any, places: list[int | None], arrays: list[tuple[tuple[int, ...], str]], operands: int
) -> Callable[..., None]:
    """``function`` as one of a stream and of the addresses of the operands and results."""

    def run(stream: int, *addresses: int) -> None:
        cupy = importlib.import_module("cupy")
        views = [_view(cupy, address, *array) for address, array in zip(addresses, arrays, strict=True)]
        inputs = [None if place is None else views[place] for place in places]
        with cupy.cuda.ExternalStream(stream):
            function(*inputs, *views[operands:])

    return run


def _view(cupy: Any, address: int, shape: tuple[int, ...], name: str) -> Any:
    """An array on memory that is XLA's; where it is empty there is none, of which CuPy would ask the device."""
    dtype = np.dtype(name)
    size = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
    if size == 0:
        return cupy.empty(shape, dtype)
    memory = cupy.cuda.UnownedMemory(address, size, None)
    return cupy.ndarray(shape, dtype, cupy.cuda.MemoryPointer(memory, 0))
