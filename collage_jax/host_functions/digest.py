"""What a Python function does, as a hash that is equal in every process."""

from __future__ import annotations

import dis
import inspect
import sys
from collections.abc import Iterable
from dataclasses import fields, is_dataclass
from functools import partial
from hashlib import sha256
from types import CellType, CodeType, FunctionType, MethodType, ModuleType
from typing import Any

import jax
import numpy as np


class Digest:
    """Hashes of a function and of what it holds: equal for equal contents, in every process.

    Its package's own code is followed, other packages count by name and version. ``untold`` holds the objects met whose
    contents cannot be compared, by ``id``; only their type is in the hash.
    """

    def __init__(self, function: Any) -> None:
        self._package = _package(getattr(innermost(function), "__module__", None))
        self._open: dict[int, int] = {}
        self._done: dict[int, tuple[Any, bytes]] = {}
        self.untold: dict[int, Any] = {}

    def of(self, thing: Any) -> bytes:
        """The hash of ``thing``."""
        if isinstance(thing, (type(None), bool, int, float, complex, str, bytes, type(...))):
            return _hash(type(thing).__name__, repr(thing))
        if id(thing) in self._open:  # it holds itself, so many steps above
            return _hash("again", str(len(self._open) - self._open[id(thing)]))
        if id(thing) in self._done:
            return self._done[id(thing)][1]
        self._open[id(thing)] = len(self._open)
        kind, parts = self._parts(thing)
        made = _hash(kind, *map(self.of, parts))
        del self._open[id(thing)]
        self._done[id(thing)] = thing, made
        return made

    def _parts(self, thing: Any) -> tuple[str, Iterable[Any]]:
        match thing:
            case FunctionType() if self._is_own(thing):
                return "function", _parts_of_function(thing)
            case CodeType():
                parts = "code consts exceptiontable names varnames freevars cellvars argcount kwonlyargcount flags"
                return "code", [getattr(thing, f"co_{part}") for part in parts.split()]
            case MethodType():
                return "method", (thing.__func__, thing.__self__)
            case partial():
                return "partial", (thing.func, thing.args, thing.keywords)
            case ModuleType():
                return "module", (thing.__name__, _version(thing.__name__))
            case type() if self._is_own(thing):
                methods = (FunctionType, staticmethod, classmethod)
                held = {k: getattr(v, "__func__", v) for k, v in vars(thing).items() if isinstance(v, methods)}
                return "class", (thing.__module__, thing.__qualname__, held)
            case np.generic() | np.ndarray() if not thing.dtype.hasobject and not _is_lent(thing):
                return "array", (str(thing.dtype), thing.shape, thing.tobytes())
            case jax.Array():
                return "array", (np.asarray(thing),)
            case np.dtype():
                return "dtype", (str(thing),)
            case tuple() | list():
                return type(thing).__qualname__, thing
            case dict():
                return "dict", sorted(self.of(k) + self.of(v) for k, v in thing.items())
            case set() | frozenset():
                return "set", sorted(map(self.of, thing))
        return self._parts_of_object(thing)

    def _parts_of_object(self, thing: Any) -> tuple[str, Iterable[Any]]:
        inner = _inner(thing)
        if inner is not None:  # a function that something compiles or wraps
            return "wrapped", (type(thing), inner, getattr(thing, "targetoptions", None))
        if isinstance(thing, (type, FunctionType, np.ufunc)) or inspect.isroutine(thing):
            module = getattr(thing, "__module__", None) or type(thing).__module__
            return "name", (module, _qualname(thing), _version(module))
        if is_dataclass(thing):
            return "object", (type(thing), {f.name: getattr(thing, f.name, None) for f in fields(thing)})
        if self._is_own(type(thing)) and hasattr(thing, "__dict__"):
            return "object", (type(thing), vars(thing))
        self.untold[id(thing)] = thing
        return "untold", (type(thing).__module__, type(thing).__qualname__)

    def _is_own(self, thing: Any) -> bool:
        return _package(thing.__module__) == self._package


def _parts_of_function(function: FunctionType) -> tuple[Any, ...]:
    held = [cell.cell_contents for cell in function.__closure__ or () if cell != CellType()]  # others are empty yet
    names = set(_globals_read(function.__code__)) & function.__globals__.keys()
    read = {name: function.__globals__[name] for name in names}
    return function.__code__, function.__defaults__, function.__kwdefaults__, held, read


def _globals_read(code: CodeType) -> Iterable[str]:
    for instruction in dis.get_instructions(code):
        if instruction.opname == "LOAD_GLOBAL":
            yield instruction.argval
    for inner in code.co_consts:
        if isinstance(inner, CodeType):
            yield from _globals_read(inner)


def _inner(thing: Any) -> FunctionType | None:
    """The Python function that ``thing`` was compiled from, or wraps."""
    for attribute in ("py_func", "__wrapped__"):
        found = getattr(thing, attribute, None)
        if isinstance(found, FunctionType) and not isinstance(thing, (FunctionType, type)):
            return found
    return None


def innermost(function: Any) -> Any:
    """What has the name that ``function`` goes by."""
    match function:
        case partial():
            return innermost(function.func)
        case MethodType():
            return innermost(function.__func__)
    return _inner(function) or function


def place_of(function: Any) -> str:
    named = innermost(function)
    named = named if hasattr(named, "__name__") else type(named)
    return f"{getattr(named, '__module__', None) or type(named).__module__}:{_qualname(named)}"


def _is_lent(array: Any) -> bool:
    """True for a view of XLA's memory that a function kept, which may have been freed since: a text lends it."""
    while isinstance(array, np.ndarray):
        array = array.base
    return isinstance(array, str)


def _qualname(thing: Any) -> str:
    return getattr(thing, "__qualname__", None) or thing.__name__


def _package(module: str | None) -> str:
    return (module or "").partition(".")[0]


def _version(module: str) -> str:
    return str(getattr(sys.modules.get(_package(module)), "__version__", ""))


def _hash(*parts: str | bytes) -> bytes:
    data = [part.encode("utf8", "surrogatepass") if isinstance(part, str) else part for part in parts]
    return sha256(b"".join(len(d).to_bytes(8, "little") + d for d in data)).digest()
