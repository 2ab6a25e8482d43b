"""A user's Python function as one operation of a JAX program, called on XLA's own memory.

*name* of a function: where it stands and a hash of what it does, equal in every process. A compiled program holds
nothing else of it, so that it can be kept on disk; whoever runs it registers the function first.
*kernel*: a function for wherever a pattern fits, in the table that ``callback_kernel`` fills.
"""

from __future__ import annotations

import atexit
import dis
import inspect
import re
import sys
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields, is_dataclass
from functools import cached_property, partial
from hashlib import sha256
from types import CellType, CodeType, FunctionType, MethodType, ModuleType
from typing import Any, TypeVar

import jax
import numpy as np

from . import native
from .graph.ir import is_array_dtype
from .patterns.language import Op, Pattern, Term
from .patterns.matcher import Match

TARGET = "collage_callback_v1"

_lock = threading.Lock()
_module: ModuleType | None = None

#: Of each registered name: what the function holds that the name does not tell.
_untold: dict[str, tuple[Any, ...]] = {}


def callback_call(
    function: Callable[..., Any], result_shapes: Any, *, name: str | None = None, vmap_method: str | None = None
) -> Callable[..., Any]:
    """A JAX-traceable callable that runs ``function(*operands, *results)`` wherever the program has come to it.

    ``function`` gets NumPy arrays on XLA's own memory, in C order: the operands, which it may only read, and the
    results, into which it writes. It returns None (or those same results), keeps no array or view of one, and does
    nothing but compute. It must not call JAX, which may wait for the thread that waits for it.

    ``result_shapes``: a ``jax.ShapeDtypeStruct``, or a sequence of them for a tuple of results. ``name`` stands for
    the function's module, name and all it holds whose contents cannot be compared. ``vmap_method`` is that of
    ``jax.pure_callback``; without it ``jax.vmap`` fails.

    What ``function`` raises becomes a ``jax.errors.JaxRuntimeError`` with its traceback. Runs on CPUs only; needs an
    extension of this package, ``ImportError`` if that is missing.
    """
    if not callable(function):
        raise TypeError(f"a function of NumPy arrays is needed, got {function!r}")
    one = not isinstance(result_shapes, (tuple, list))
    results = [_result(r) for r in ((result_shapes,) if one else result_shapes)]
    if not results:
        raise ValueError("a function without results would never be called: give the shape of one at least")
    registered = _register(function, name)

    def call(*operands: Any) -> Any:
        for i, operand in enumerate(operands):
            _check(f"operand {i}", jax.typeof(operand).dtype)
        for i, result in enumerate(results):
            _check(f"result {i}", result.dtype)
        made = jax.ffi.ffi_call(TARGET, tuple(results), vmap_method=vmap_method)(*operands, function=registered)
        return made[0] if one else made

    return call


def refused_dtype(dtype: Any) -> str | None:
    """Why no function can be called on arrays of ``dtype``, or None."""
    shared = is_array_dtype(dtype) and np.dtype(dtype).name in load_extension().dtypes()
    return None if shared else f"XLA and NumPy do not hold {dtype} in the same way"


def _finish() -> None:
    while _module is not None and _module.close() > 0:
        time.sleep(0.005)


# Python ends threads that want to go on when it has come to its end, which those of XLA do not survive. Registered on
# import, so that what a user has registered after it can still call.
atexit.register(_finish)


def _result(given: Any) -> jax.ShapeDtypeStruct:
    if not hasattr(given, "shape") or not hasattr(given, "dtype"):
        raise TypeError(f"result_shapes must hold shapes and dtypes, got {given!r}; write jax.ShapeDtypeStruct(...)")
    return jax.ShapeDtypeStruct(given.shape, given.dtype)


def _check(what: str, dtype: Any) -> None:
    if (refusal := refused_dtype(dtype)) is not None:
        raise TypeError(f"{what} of a Python function cannot be of this dtype: {refusal}; convert it before")
    if jax.dtypes.canonicalize_dtype(dtype) != dtype:
        raise TypeError(f"{what} of a Python function is of dtype {dtype}; set jax_enable_x64, or use 32 bits")


def load_extension() -> ModuleType:
    """What calls Python functions from programs; ``ImportError`` if it is missing. Creates JAX's CPU client."""
    global _module
    with _lock:
        if _module is None:
            try:
                module = native.extension("_callback")
            except ImportError as error:
                raise ImportError(f"the extension for Python functions is missing: {error}{native.hint()}") from error
            native.register(module)
            _module = module
        return _module


def _register(function: Callable[..., Any], name: str | None) -> str:
    """Make ``function`` known to programs compiled from now on; the name under which they find it."""
    module = load_extension()
    digest = Digest(function)
    full = f"{name or _place(function)}#{digest.of(function).hex()[:16]}"
    untold = () if name else tuple(digest.untold.values())
    with _lock:
        known = _untold.setdefault(full, untold)
    if list(map(id, known)) != list(map(id, untold)):
        kinds = ", ".join(sorted({type(thing).__name__ for thing in untold}))
        raise ValueError(
            f"two functions called {_place(function)} cannot be told apart: they hold objects whose contents cannot be "
            f"compared ({kinds}); pass a name of its own for each, name=..."
        )
    module.register_function(full, function)
    return full


# What a function does, as a hash.


class Digest:
    """Hashes of a function and of what it holds: equal for equal contents, in every process.

    Its package's own code is followed, other packages count by name and version. ``untold`` holds the objects met whose
    contents cannot be compared, by ``id``; only their type is in the hash.
    """

    def __init__(self, function: Any) -> None:
        self._package = _package(getattr(_innermost(function), "__module__", None))
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
            case np.generic() | np.ndarray() if not thing.dtype.hasobject:
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


def _innermost(function: Any) -> Any:
    """What has the name that ``function`` goes by."""
    match function:
        case partial():
            return _innermost(function.func)
        case MethodType():
            return _innermost(function.__func__)
    return _inner(function) or function


def _place(function: Any) -> str:
    named = _innermost(function)
    named = named if hasattr(named, "__name__") else type(named)
    return f"{getattr(named, '__module__', None) or type(named).__module__}:{_qualname(named)}"


def _qualname(thing: Any) -> str:
    return getattr(thing, "__qualname__", None) or thing.__name__


def _package(module: str | None) -> str:
    return (module or "").partition(".")[0]


def _version(module: str) -> str:
    return str(getattr(sys.modules.get(_package(module)), "__version__", ""))


def _hash(*parts: str | bytes) -> bytes:
    data = [part.encode("utf8", "surrogatepass") if isinstance(part, str) else part for part in parts]
    return sha256(b"".join(len(d).to_bytes(8, "little") + d for d in data)).digest()


# Functions as kernels of patterns.

F = TypeVar("F", bound=Callable[..., Any])

RESULT = re.compile(r"out(?P<number>\d*)|out_(?P<capture>.+)")


@dataclass(frozen=True, eq=False)
class CallbackKernel:
    """``function`` for wherever ``pattern`` fits; ``name`` is for reports, and no two kernels share it."""

    pattern: Pattern
    function: Callable[..., Any]
    name: str

    def __post_init__(self) -> None:
        if not isinstance(self.pattern, Pattern):
            raise TypeError(f"kernel {self.name!r} needs a pattern, got {self.pattern!r}")
        _ = self.parameters  # raises where they are not as they must be

    @cached_property
    def parameters(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """The parameters of ``function`` that take captures, and those that take results."""
        terms = {term.name: term for term in self.pattern.pattern.walk() if term.name is not None}
        operations = {name for name, term in terms.items() if isinstance(term, Op)}
        inputs, results = [], []
        for parameter in self._signature.parameters.values():
            name, is_positional = parameter.name, parameter.kind <= parameter.POSITIONAL_OR_KEYWORD
            result = RESULT.fullmatch(name)
            if is_positional and name in terms.keys() - operations and not result and not results:
                inputs.append(name)
            elif is_positional and result and name not in terms and result["capture"] in {None, *operations}:
                results.append(name)
            elif parameter.default is parameter.empty or name in terms:
                raise ValueError(
                    f"kernel {self.name!r} cannot have the parameter `{parameter}` there: parameters are called as "
                    f"what its pattern captures ({', '.join(sorted(terms.keys() - operations)) or 'nothing'}), then "
                    "come results: out, out0, out1 and so on, or out_<name> for that of an operation "
                    f"({', '.join(sorted(operations)) or 'none has a name'})"
                )
        if not results:
            raise ValueError(f"kernel {self.name!r} needs a parameter for its result: call it out")
        return tuple(inputs), tuple(results)

    @property
    def _signature(self) -> inspect.Signature:
        try:
            return inspect.signature(self.function)
        except (ValueError, TypeError) as error:
            raise ValueError(
                f"the parameters of kernel {self.name!r} cannot be read ({error}); wrap it in a Python function whose "
                "parameters are called as the captures are"
            ) from None

    @property
    def version(self) -> str:
        """A hash of the kernel: of its code, its pattern and its condition."""
        return Digest(self.function).of((self.name, self.pattern, self.function)).hex()[:16]


_kernels: tuple[CallbackKernel, ...] = ()


def callback_kernel(
    pattern: Pattern | Term, *, where: Callable[[Match], bool] | None = None, name: str | None = None
) -> Callable[[F], F]:
    """Decorate a Python function on NumPy arrays that computes what ``pattern`` describes, to have it considered.

    Its parameters are called as the pattern's captures are and get them as ``callback_call`` says; scalars of the
    program come as Python numbers, captures of an optional part that is not there as None. Then come the results:
    ``out`` is the pattern's; ``out0``, ``out1`` ... are those of a last operation that has several; ``out_<name>`` is
    that of the operation so named, if others may read it (``multi_exit``).

    ``where(match)`` restricts the places; it sees the operations of the match alone, not what is around them. ``name``
    is the function's own by default. The function itself stays as it is.
    """
    if not isinstance(pattern, (Pattern, Term)):
        raise TypeError(f"callback_kernel takes a pattern, got {pattern!r}; write @callback_kernel(op(...)(...))")
    if isinstance(pattern, Pattern) and where is not None:
        raise ValueError(f"pattern {pattern.name!r} has a `where` of its own place: give the condition there")

    def decorate(function: F) -> F:
        called = name or getattr(_innermost(function), "__name__", type(function).__name__)
        whole = pattern if isinstance(pattern, Pattern) else Pattern(called, pattern, where)
        register(CallbackKernel(whole, function, called))
        return function

    return decorate


def register(kernel: CallbackKernel) -> None:
    """Add ``kernel`` to the table, in place of an earlier state of the same function. ``ValueError`` for a name taken.

    Functions that were tuned before are not tuned again.
    """
    global _kernels
    with _lock:
        known = {k.name: k for k in _kernels}
        earlier = known.get(kernel.name)
        if earlier is not None and _place(earlier.function) != _place(kernel.function):
            raise ValueError(
                f"a kernel called {kernel.name!r} is registered already, {_place(earlier.function)}; give name=..."
            )
        _kernels = tuple((known | {kernel.name: kernel}).values())


def unregister(name: str) -> None:
    """Take the kernel called ``name`` from the table; ``ValueError`` if there is none. Compiled programs keep it."""
    global _kernels
    with _lock:
        if all(k.name != name for k in _kernels):
            there = ", ".join(k.name for k in _kernels) or "none"
            raise ValueError(f"no kernel is called {name!r}; there are: {there}")
        _kernels = tuple(k for k in _kernels if k.name != name)


def registered() -> tuple[CallbackKernel, ...]:
    """All kernels, in the order of their registration; of several for the same place the first is used."""
    return _kernels
