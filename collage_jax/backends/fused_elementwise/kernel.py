"""Passes as a JAX-traceable callable."""

from __future__ import annotations

from collections.abc import Sequence

import jax

from ...ffi.native_call import NativeCall, NativeCalls, NativeOperand
from ...graph.ir import Value
from ...graph.region import Region
from .plan import Pass

TARGET = "collage_elementwise_v1"

#: The extension, whose kernels can be steps of a program.
STEP = "_kernels.elementwise"


def kernel(passes: Sequence[Pass], region: Region, version: str) -> NativeCalls:
    """``region.entries`` in, the exits out."""
    made = zip(passes, region.exits, strict=True)
    return NativeCalls(tuple(_call(each, region, value, version) for each, value in made))


def _call(work: Pass, region: Region, result: Value, version: str) -> NativeCall:
    operands = tuple(NativeOperand((region.entries.index(value),)) for value in work.reads)
    made = jax.ShapeDtypeStruct(result.shape, result.dtype)
    return NativeCall(TARGET, work.spec, version, operands, made, STEP)
