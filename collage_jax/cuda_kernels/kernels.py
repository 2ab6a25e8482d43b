"""Kernels for NVIDIA GPUs for wherever their patterns fit: what ``cuda_kernel`` makes known."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar, overload

from ..host_functions import Digest
from ..patterns.language import Any_, Op, Pattern, Term
from ..patterns.matcher import Match
from ..spelling import did_you_mean
from .sizes import Bytes, Scalars, Size, Sizes

_lock = threading.Lock()

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True)
class CudaSource:
    """CUDA C++ as text, compiled with ``options`` of NVRTC; or what was compiled: a cubin, a fatbin or PTX as bytes."""

    code: str | bytes
    options: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class CudaKernel:
    """``body`` for wherever ``pattern`` fits: a source with its ``sizes``, or a function of CuPy arrays without any.

    ``name`` is for reports, and no two kernels share it; of a source it is the ``__global__`` function's.
    """

    pattern: Pattern
    body: CudaSource | Callable[..., Any]
    name: str
    sizes: Sizes | None = None

    @cached_property
    def inputs(self) -> tuple[str, ...]:
        """The captures that are passed, as they come first in the pattern, read from left to right."""
        return tuple(dict.fromkeys(t.name for t in _in_order(self.pattern.pattern) if isinstance(t, Any_) and t.name))

    @cached_property
    def inner_results(self) -> tuple[str, ...]:
        """The operations inside of the pattern whose results are passed after those of the last one."""
        named = (t for t in _in_order(self.pattern.pattern) if isinstance(t, Op) and t is not self.pattern.pattern)
        return tuple(dict.fromkeys(t.name for t in named if t.name)) if self.pattern.multi_exit else ()

    @cached_property
    def version(self) -> str:
        """A hash of the kernel: of its code, its pattern, its condition and its sizes."""
        functions = (self.body, self.pattern.where, *(vars(self.sizes).values() if self.sizes else ()))
        written = next((f for f in functions if callable(f)), None)
        parts = (self.name, self.pattern, self.body, self.sizes, _text_of(self.body))
        return Digest(written).of(parts).hex()[:16]


_kernels: tuple[CudaKernel, ...] = ()


@overload
def cuda_kernel(
    pattern: Pattern | Term,
    *,
    source: Any,
    grid: Size,
    block: Size,
    name: str | None = None,
    shared: Bytes = 0,
    scalars: Scalars = (),
    options: Sequence[str] = (),
    where: Callable[[Match], bool] | None = None,
) -> None: ...
@overload
def cuda_kernel(
    pattern: Pattern | Term, *, name: str | None = None, where: Callable[[Match], bool] | None = None
) -> Callable[[F], F]: ...
def cuda_kernel(
    pattern: Pattern | Term,
    *,
    source: Any = None,
    grid: Size | None = None,
    block: Size | None = None,
    name: str | None = None,
    shared: Bytes = 0,
    scalars: Scalars = (),
    options: Sequence[str] = (),
    where: Callable[[Match], bool] | None = None,
) -> Any:
    """Have a CUDA kernel that computes what ``pattern`` describes considered on NVIDIA GPUs.

    ``source``: CUDA C++ with ``extern "C" __global__ void <name>(...)``, which NVRTC compiles with ``options`` for the
    GPU that is placed for; a ``cupy.RawKernel``, whose source, name and options are taken; or compiled code as bytes
    (cubin or PTX). Its parameters are a pointer for each captured array, in the pattern's order from left to right (a
    null pointer where an optional part is absent); then one for each result of the last operation, and with
    ``multi_exit`` of each one captured with ``.named``; then ``scalars``, NumPy scalars of the parameters' dtypes.
    Arrays are in C order.

    ``grid`` and ``block`` are numbers of blocks and threads: one to three integers; ``shared`` is the dynamic shared
    memory of a block in bytes. Each, and ``scalars``, may be a function of the match, in which ``match["x"]`` has
    ``shape``, ``dtype`` and ``size``, ``match.root.out`` is the result and ``match.numbers`` holds captured constants.

    Without ``source`` this is a decorator of a function ``f(*inputs, *results)`` on CuPy arrays, or of a
    ``cupy.ElementwiseKernel``: it is called on XLA's stream and memory, writes into the results and keeps nothing.

    ``where(match)`` restricts the places. A name that is registered already gets the new kernel; functions that were
    tuned before keep what they have. ``TypeError`` or ``ValueError`` for what can be no kernel.
    """
    if not isinstance(pattern, (Pattern, Term)):
        raise TypeError(f"cuda_kernel takes a pattern, got {pattern!r}; write cuda_kernel(op(...)(...), ...)")
    if isinstance(pattern, Pattern) and where is not None:
        raise ValueError(f"pattern {pattern.name!r} has a `where` of its own place: give the condition there")

    def add(body: Any, called: str, sizes: Sizes | None) -> None:
        whole = pattern if isinstance(pattern, Pattern) else Pattern(called, pattern, where)
        register(CudaKernel(whole, body, called, sizes))

    if source is None:
        if grid is not None or block is not None or shared or scalars or options:
            raise TypeError("grid, block, shared, scalars and options belong to a kernel's source: pass source=...")

        def decorate(function: F) -> F:
            if not callable(function):
                raise TypeError(f"a function of CuPy arrays is needed, got {function!r}; pass source=... for CUDA C++")
            called = name or getattr(function, "__name__", None) or getattr(function, "name", None)
            if not called:
                raise ValueError(f"{function!r} has no name of its own; pass name=...")
            add(function, called, None)
            return function

        return decorate
    if grid is None or block is None:
        raise TypeError("a kernel needs the numbers of its blocks and threads: pass grid=... and block=...")
    body, own_name = _source(source, _checked(options))
    if not (called := name or own_name):
        raise ValueError('which function of the source is the kernel? pass name=..., as in its extern "C" __global__')
    return add(body, called, Sizes(grid, block, shared, scalars))


def register(kernel: CudaKernel) -> None:
    """Add ``kernel`` to the table, in place of one of the same name."""
    global _kernels
    with _lock:
        _kernels = tuple(({k.name: k for k in _kernels} | {kernel.name: kernel}).values())


def unregister(name: str) -> None:
    """Take the kernel called ``name`` from the table; ``ValueError`` if there is none. Compiled programs keep it."""
    global _kernels
    with _lock:
        if all(k.name != name for k in _kernels):
            there = ", ".join(k.name for k in _kernels) or "none"
            near = did_you_mean(name, (k.name for k in _kernels))
            raise ValueError(f"no kernel is called {name!r}; there are: {there}{near}")
        _kernels = tuple(k for k in _kernels if k.name != name)


def registered() -> tuple[CudaKernel, ...]:
    """All kernels, in the order of their registration; of several for the same place the first is used."""
    return _kernels


def _source(given: Any, options: tuple[str, ...]) -> tuple[CudaSource, str | None]:
    """The source, and the name that it brings: a ``cupy.RawKernel`` has ``code``, ``options`` and a ``name``."""
    if isinstance(given, (str, bytes)):
        if isinstance(given, bytes) and options:
            raise ValueError(f"options are for compiling, and this is compiled: leave {', '.join(options)} out")
        return CudaSource(given, options), None
    code, flags, name = (getattr(given, key, None) for key in ("code", "options", "name"))
    if isinstance(code, str) and isinstance(name, str):
        return CudaSource(code, (*(flags or ()), *options)), name
    raise TypeError(f"a source is CUDA C++ as a text, a cupy.RawKernel with code, or compiled bytes, got {given!r}")


def _checked(options: Sequence[str]) -> tuple[str, ...]:
    if isinstance(options, str) or not all(isinstance(option, str) for option in options):
        raise TypeError(f"options are a list of texts, got {options!r}; write options=['--use_fast_math']")
    for option in options:
        if option.startswith(("--gpu-architecture", "-arch")):
            raise ValueError(f"a kernel is compiled for the GPU that is placed for, got {option!r}; leave it out")
    return tuple(options)


def _text_of(body: Any) -> list[str]:
    """What CuPy's kernels are made of, which their type does not tell."""
    keys = ("in_params", "out_params", "operation", "map_expr", "reduce_expr", "post_map_expr", "identity", "preamble")
    return [f"{key}: {getattr(body, key)!r}" for key in keys if hasattr(body, key)]


def _in_order(term: Term) -> Iterator[Term]:
    """``term`` and all below it as they are written, each once although terms are shared."""
    pending, seen = [term], set[Term]()
    while pending:
        found = pending.pop()
        if found not in seen:
            seen.add(found)
            yield found
            pending.extend(reversed(found.children))
