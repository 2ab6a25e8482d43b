"""Callback: kernels that users write in Python, with NumPy or with what compiles NumPy code.

binding        region -> the kernel that runs it, with what its parameters get
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import wraps
from hashlib import sha256
from typing import Any

import jax

from ...graph.region import Region
from ...host_functions import CallbackKernel, callback_call, load_extension, register, registered, unregister
from ..base import NO_KERNEL, Unsupported
from ..user_kernels import UserKernels
from .binding import Binding, Fixed, bind


class Callback(UserKernels[CallbackKernel, Binding]):
    """The functions that ``collage_jax.callback_kernel`` decorated, each for its pattern."""

    name = "callback"

    def available(self) -> Unsupported | None:
        if not registered():
            return Unsupported(f"{NO_KERNEL}; use collage_jax.callback_kernel")
        try:
            load_extension()
        except ImportError as error:
            return Unsupported(str(error))
        return None

    def version(self) -> str:
        return sha256(" ".join(kernel.version for kernel in registered()).encode()).hexdigest()[:16]

    def registered(self) -> tuple[CallbackKernel, ...]:
        return registered()

    def register(self, kernel: CallbackKernel) -> None:
        register(kernel)

    def unregister(self, name: str) -> None:
        unregister(name)

    def bind(self, region: Region) -> Binding | Unsupported | None:
        return bind(registered(), region)

    def supports(self, region: Region) -> Unsupported | None:
        found = _bound(region)
        return found if isinstance(found, Unsupported) else None

    def emit(self, region: Region) -> Callable[..., Any]:
        found = _bound(region)
        if isinstance(found, Unsupported):
            raise ValueError(f"no kernel can run {region}: {found.reason}")
        shapes = [jax.ShapeDtypeStruct(value.shape, value.dtype) for value in found.results]
        call = callback_call(_with_fixed(found.kernel.function, found.inputs), shapes, name=found.kernel.name)
        operands = [region.entries.index(value) for value in found.operands]
        exits = [found.results.index(value) for value in region.exits]

        def run(*arrays: Any) -> tuple[Any, ...]:
            made = call(*(arrays[i] for i in operands))
            return tuple(made[i] for i in exits)

        return run


def _bound(region: Region) -> Binding | Unsupported:
    found = bind(registered(), region)
    if found is None:
        return Unsupported("no kernel's pattern and condition describe these operations by themselves")
    return found


def _with_fixed(function: Callable[..., Any], inputs: Sequence[Any]) -> Callable[..., Any]:
    """``function`` of the arrays alone, if some of ``inputs`` are fixed."""
    fixed = [(i, given.value) for i, given in enumerate(inputs) if isinstance(given, Fixed)]
    if not fixed:
        return function

    @wraps(function)  # so that its hash is one of the same package's code
    def call(*views: Any) -> Any:
        arguments = list(views)
        for i, value in fixed:
            arguments.insert(i, value)
        return function(*arguments)

    return call


BACKEND = Callback()
