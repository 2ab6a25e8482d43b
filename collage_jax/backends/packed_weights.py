"""Calls of native kernels whose weights are packed: within each call, or once if they are frozen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import jax
import jax.numpy as jnp

from ..ffi.native_call import NativeCall, NativeOperand
from ..graph.ir import Value
from ..graph.region import Region
from .base import PreparedKernel


class Weighted(Protocol):
    """A convolution by its operands, and the text that the native side reads of it."""

    @property
    def result(self) -> Value: ...
    @property
    def source(self) -> Value: ...
    @property
    def weights(self) -> Value: ...
    @property
    def weights_axes(self) -> tuple[int, ...]: ...  # that bring the weights into the kernels' order
    @property
    def tail(self) -> tuple[Value, ...]: ...  # operands of what follows
    def spec(self, packed: bool) -> str: ...


@dataclass(frozen=True)
class Library:
    """Whose kernels are called: the FFI target, the extension that makes steps of programs, and its version."""

    target: str
    step: str
    version: str


def packing(work: Weighted, region: Region, library: Library) -> NativeCall:
    """``region.entries`` in, the one exit out; the weights are packed within each call."""
    weights = NativeOperand((region.entries.index(work.weights),), lambda weights: _in_order(work, weights))
    return _call(work, weights, region.entries, 0, library)


def packed_once(
    work: Weighted, region: Region, frozen: frozenset[Value], library: Library, size: int
) -> PreparedKernel:
    """Like ``packing``, with the weights packed before, into ``size`` numbers."""
    held = [v for v in region.entries if v in frozen]
    others = [v for v in region.entries if v not in frozen]
    passed = [v for v in held if v in (work.source, *work.tail)]

    def prepare(*frozen_entries: Any) -> tuple[Any, ...]:
        env = dict(zip(held, frozen_entries, strict=True))
        pack = jax.ffi.ffi_call(library.target, jax.ShapeDtypeStruct((size,), jnp.float32))
        spec = f"op=pack {work.spec(packed=True)}"
        packed = pack(_in_order(work, env[work.weights]), spec=spec, version=library.version)
        return (packed, *(env[v] for v in passed))

    return PreparedKernel(prepare, _call(work, NativeOperand((0,)), [*passed, *others], 1, library))


def _in_order(work: Weighted, weights: Any) -> Any:
    return jnp.transpose(weights, work.weights_axes)


def _call(work: Weighted, weights: NativeOperand, values: Sequence[Value], first: int, library: Library) -> NativeCall:
    """The call on arrays of which those from ``first`` on are ``values``."""
    place = {v: i for i, v in enumerate(values, first)}
    source, *tail = (NativeOperand((place[v],)) for v in (work.source, *work.tail))
    made = jax.ShapeDtypeStruct(work.result.shape, work.result.dtype)
    spec = f"op=conv {work.spec(packed=first > 0)}"
    operands = (source, weights, *tail)
    return NativeCall(library.target, spec, library.version, operands, made, library.step, row=made.shape[-1])
