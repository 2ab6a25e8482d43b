"""One call of a native library as a callable: what the kernels of this package have in common.

A kernel in this form can run alone, as a custom call of its own, or as one step of a program that holds many of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import jax


@dataclass(frozen=True, eq=False)
class NativeOperand:
    """An array for the library: ``make(*arrays at positions)``, or the array at the only position as it is."""

    positions: tuple[int, ...]
    make: Callable[..., Any] | None = None

    def array(self, arrays: Sequence[Any]) -> Any:
        chosen = [arrays[i] for i in self.positions]
        return chosen[0] if self.make is None else self.make(*chosen)


@dataclass(frozen=True, eq=False)
class NativeCall:
    """A JAX-traceable callable: arrays in, one array out (as a tuple), through the FFI target ``target``.

    The target takes the attributes ``spec`` (what to compute) and ``version`` (of the library). ``step`` is the
    extension that makes a step of a program from the two, None if it has none; only the buffers' bytes matter then,
    so that an operand may have any shape. ``aliases`` may give an operand's buffer to the result.

    What a program may do with it: one that can leave room after each row of its result, of ``row`` elements, takes a
    token ``row`` in ``spec``, the elements from one row to the next. A call that does nothing but join its operands has
    ``joins``: of each, the elements that lie together in a row of the result.
    """

    target: str
    spec: str
    version: str
    operands: tuple[NativeOperand, ...]
    result: jax.ShapeDtypeStruct
    step: str | None = None
    aliases: tuple[tuple[int, int], ...] = ()
    row: int | None = None
    joins: tuple[int, ...] = ()

    def __call__(self, *arrays: Any) -> tuple[Any]:
        invoke = jax.ffi.ffi_call(self.target, self.result, input_output_aliases=dict(self.aliases) or None)
        operands = [operand.array(arrays) for operand in self.operands]
        return (invoke(*operands, spec=self.spec, version=self.version),)

    def with_rows(self, distance: int) -> NativeCall:
        """The same call with rows ``distance`` elements from each other; the first token of a spec is its operation."""
        return replace(self, spec=self.spec.replace(" ", f" row={distance} ", 1))

    def of_ready_operands(self) -> NativeCall:
        """The same call of arrays that are its operands already, in their order."""
        return replace(self, operands=tuple(NativeOperand((i,)) for i in range(len(self.operands))))


@dataclass(frozen=True, eq=False)
class NativeCalls:
    """A JAX-traceable callable: arrays in, what each call makes of them out, as a tuple."""

    calls: tuple[NativeCall, ...]

    def __call__(self, *arrays: Any) -> tuple[Any, ...]:
        return tuple(made for call in self.calls for made in call(*arrays))
