"""Python functions as kernels for wherever a pattern fits: the table of them."""

from __future__ import annotations

import inspect
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar

from ..patterns.language import Op, Pattern, Term
from ..patterns.matcher import Match
from ..spelling import did_you_mean
from .digest import Digest, innermost, place_of

_lock = threading.Lock()

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
        if not callable(function):
            raise TypeError(
                f"callback_kernel decorates a function of NumPy arrays, got {function!r}; pass the function"
            )
        called = name or getattr(innermost(function), "__name__", type(function).__name__)
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
        if earlier is not None and place_of(earlier.function) != place_of(kernel.function):
            raise ValueError(
                f"a kernel called {kernel.name!r} is registered already, {place_of(earlier.function)}; give name=..."
            )
        _kernels = tuple((known | {kernel.name: kernel}).values())


def unregister(name: str) -> None:
    """Take the kernel called ``name`` from the table; ``ValueError`` if there is none. Compiled programs keep it."""
    global _kernels
    with _lock:
        if all(k.name != name for k in _kernels):
            there = ", ".join(k.name for k in _kernels) or "none"
            near = did_you_mean(name, (k.name for k in _kernels))
            raise ValueError(f"no kernel is called {name!r}; there are: {there}{near}")
        _kernels = tuple(k for k in _kernels if k.name != name)


def registered() -> tuple[CallbackKernel, ...]:
    """All kernels, in the order of their registration; of several for the same place the first is used."""
    return _kernels
