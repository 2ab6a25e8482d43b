"""Kernels of native libraries joined into one custom call, which runs them one after the other.

Between two custom calls XLA hands control back to its own threads, and those of the libraries fall asleep; large arrays
between them lie in memory that is fresh in every call. A program does neither. Its text form is that of
``csrc/program/text.h``.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp

from . import native
from .native_call import NativeCall

#: The FFI target; attribute ``spec`` is the program's text.
TARGET = "collage_program_v1"

_lock = threading.Lock()
_known: set[str] = set()


@dataclass(frozen=True, eq=False)
class Part:
    """Where an array lies in a larger one, ``whole``, which has the shape and dtype of ``like``: from ``offset`` on."""

    whole: Hashable
    like: jax.ShapeDtypeStruct
    offset: int  # bytes


@dataclass(frozen=True, eq=False)
class Step:
    """``call`` on arrays that are ready as it wants them, by key; what it makes has the key ``result``.

    With ``part``, what it makes is written into another array, and nothing reads it alone.
    """

    call: NativeCall
    operands: tuple[Hashable, ...]
    result: Hashable
    part: Part | None = None

    @property
    def makes(self) -> Hashable:
        """The array that there is afterwards."""
        return self.part.whole if self.part else self.result

    @property
    def like(self) -> jax.ShapeDtypeStruct:
        """Shape and dtype of that."""
        return self.part.like if self.part else self.call.result


def can_hold(call: NativeCall) -> bool:
    """True if ``call`` can be a step of a program here."""
    if call.step is None:
        return False
    with _lock:
        module = _load()
        return module is not None and _offers_steps(module, call.step)


def register_steps() -> None:
    """Have programs that another process made find their steps here, of the libraries that are loaded by now."""
    with _lock:
        module = _load()
        if module is not None:
            for extension in native.registered():
                _offers_steps(module, extension)


def program(
    steps: Sequence[Step], inputs: Sequence[Hashable], outputs: Sequence[Hashable], timed: bool = False
) -> Callable[..., Sequence[Any]]:
    """A JAX-traceable callable: arrays for ``inputs`` in, those that ``steps`` make for ``outputs`` out.

    ``timed`` adds an array, the microseconds that each step took.
    """
    names = {key: f"i{i}" for i, key in enumerate(inputs)}
    names.update((key, f"o{i}") for i, key in enumerate(outputs))
    made = {step.makes: step.like for step in steps}
    results = [made[key] for key in outputs]
    text = "\n".join(_lines(steps, names))
    if timed:
        results.append(jax.ShapeDtypeStruct((len(steps),), jnp.float32))
        text = f"timed\n{text}"
    invoke = jax.ffi.ffi_call(TARGET, results)
    return lambda *arrays: invoke(*arrays, spec=text)


def _lines(steps: Iterable[Step], names: dict[Hashable, str]) -> Iterable[str]:
    temporaries = 0
    for step in steps:
        operands = " ".join(names[key] for key in step.operands)
        if step.makes not in names:
            names[step.makes] = f"t{temporaries}"
            temporaries += 1
        result = names[step.makes] + (f"+{step.part.offset}" if step.part else "")
        yield f"{step.call.step} {step.call.version} {result} {operands}"
        yield step.call.spec


@cache
def _load() -> ModuleType | None:
    try:
        module = native.extension("_program")
        native.register(module)
    except (ImportError, RuntimeError):  # every kernel then stays a call of its own
        return None
    return module


def _offers_steps(module: ModuleType, extension: str) -> bool:
    if extension not in _known:
        library = native.registered().get(extension) or native.extension(extension)
        if not hasattr(library, "step_maker"):
            return False
        module.register_library(extension, library.step_maker())
        _known.add(extension)
    return True
