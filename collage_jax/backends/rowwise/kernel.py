"""Rows as a JAX-traceable callable."""

from __future__ import annotations

import jax

from ...ffi.native_call import NativeCall, NativeOperand
from ...graph.region import Region
from .plan import Rows

TARGET = "collage_rows_v1"

#: The extension, whose kernels can be steps of a program.
STEP = "_kernels.rows"


def kernel(rows: Rows, region: Region, version: str) -> NativeCall:
    """``region.entries`` in, the one exit out."""
    operands = tuple(NativeOperand((region.entries.index(value),)) for value in rows.arrays)
    made = jax.ShapeDtypeStruct(rows.result.shape, rows.result.dtype)
    return NativeCall(TARGET, rows.spec(), version, operands, made, STEP)
