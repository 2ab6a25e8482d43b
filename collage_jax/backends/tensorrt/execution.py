"""Engines run from a program: the function that its custom call finds by name, and what calls it.

Has not run on a GPU. Loading an engine needs NVIDIA's driver, so it is done when the program first comes to it.
"""

from __future__ import annotations

import atexit
import threading
import time
from collections.abc import Callable, Sequence
from functools import cache
from types import ModuleType
from typing import Any, TypeAlias

import jax

from ...ffi import native
from ..base import Unsupported
from . import library
from .engines import path_of, stored
from .tensors import TYPES

TARGET = "collage_tensorrt_v1"

#: An array of a running program: its address, the name of its dtype, its shape.
Array: TypeAlias = tuple[int, str, tuple[int, ...]]

_lock = threading.Lock()


class Engine:
    """A serialized engine as a function of a stream and of arrays' addresses.

    Each stream has a context of its own, loaded on first use: a context can be on one stream at a time. It lives as
    long as the process, and so does its memory, which is the library's and not XLA's.
    """

    def __init__(self, owner: library.Library, plan: bytes) -> None:
        self._library = owner
        self._plan = plan
        self._lock = threading.Lock()
        self._contexts: dict[int, tuple[Any, dict[str, tuple[str, tuple[int, ...]]]]] = {}

    def __call__(self, stream: int, operands: Sequence[Array], results: Sequence[Array]) -> None:
        """Enqueue the engine on ``stream``. ``ValueError`` for other arrays than its own, ``RuntimeError`` else."""
        arrays = {f"i{i}": array for i, array in enumerate(operands)}
        arrays |= {f"o{i}": array for i, array in enumerate(results)}
        with self._lock:  # addresses and start are one step
            if stream not in self._contexts:
                self._contexts[stream] = self._loaded()
            context, wanted = self._contexts[stream]
            if (given := {name: (dtype, shape) for name, (_, dtype, shape) in arrays.items()}) != wanted:
                raise ValueError(f"the engine is made for {wanted}, got {given}")
            for name, (address, _, _) in arrays.items():
                if not context.set_tensor_address(name, address):
                    raise RuntimeError(self._told(f"does not take the address of {name}"))
            if not context.execute_async_v3(stream):
                raise RuntimeError(self._told("does not start the engine"))

    def _loaded(self) -> tuple[Any, dict[str, tuple[str, tuple[int, ...]]]]:
        module = self._library.module
        engine = module.Runtime(self._library.logger).deserialize_cuda_engine(self._plan)
        if engine is None or (context := engine.create_execution_context()) is None:
            raise RuntimeError(self._told("does not load the engine"))
        names = [engine.get_tensor_name(i) for i in range(engine.num_io_tensors)]
        types = {getattr(module, ours): ours for ours in TYPES}
        return context, {n: (types[engine.get_tensor_dtype(n)], tuple(engine.get_tensor_shape(n))) for n in names}

    def _told(self, what: str) -> str:
        return f"{self._library.title} {self._library.version} {what}: {self._library.last_error()}"


def call(name: str, owner: library.Library, plan: bytes, results: Sequence[Any]) -> Callable[..., Any]:
    """A JAX-traceable callable that runs the engine ``plan``, which compiled programs know as ``name``."""
    trampoline = load()
    if isinstance(trampoline, Unsupported):
        raise ValueError(trampoline.reason)
    with _lock:
        if name not in _registered:
            trampoline.register_function(name, Engine(owner, plan))
            _registered.add(name)
    invoke = jax.ffi.ffi_call(TARGET, [jax.ShapeDtypeStruct(value.shape, value.dtype) for value in results])
    return lambda *arrays: invoke(*arrays, function=name, version=owner.version)


def resolve(name: str, version: str) -> Engine | str:
    """The engine that a program compiled in another process calls ``name``, or why it cannot be had."""
    owner = library.named(name.partition("/")[0])
    if not isinstance(owner, library.Library):
        return owner.reason if owner is not None else f"the package {name.partition('/')[0]} is not installed"
    if owner.version != version:
        return f"the program was compiled with {owner.title} {version}, and this is {owner.version}; compile it again"
    plan = stored(name)
    if plan is None:
        place = path_of(name)
        kept = "nothing is kept on disk" if place is None else f"there is none in {place}"
        return f"its engine was built in another process, and {kept}; trace and compile the function again"
    return Engine(owner, plan)


def load() -> ModuleType | Unsupported:
    """What hands arrays and streams to Python, known to JAX; the reason if it is missing."""
    with _lock:
        return _load()


_registered: set[str] = set()


@cache
def _load() -> ModuleType | Unsupported:
    try:
        trampoline = native.extension("_trampoline")
    except ImportError as error:
        return Unsupported(f"its extension cannot be imported: {error}{native.hint()}")
    trampoline.register_resolver(resolve)
    native.register(trampoline, platform="CUDA")
    atexit.register(_finish, trampoline)
    return trampoline


def _finish(trampoline: ModuleType) -> None:
    # Python ends threads that want to go on when it has come to its end, which those of XLA do not survive.
    while trampoline.close() > 0:
        time.sleep(0.005)
