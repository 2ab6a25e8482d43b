"""Heads as a JAX-traceable callable."""

from __future__ import annotations

from functools import partial

import jax

from ...graph.region import Region
from ...native_call import NativeCall, NativeOperand
from .heads import Heads, operand_of

TARGET = "collage_attention_v1"

#: The extension, whose kernels can be steps of a program.
STEP = "_kernels.attention"


def kernel(heads: Heads, region: Region, version: str) -> NativeCall:
    """``region.entries`` in, the one exit out."""
    at = region.entries.index
    operands = [NativeOperand((at(seen.value),)) for seen in (heads.q, heads.k, heads.v)]
    if heads.mask is not None:
        make = None if heads.mask.keeps is None else partial(operand_of, heads.mask)
        operands.append(NativeOperand((at(heads.mask.value),), make))
    made = heads.result.value
    return NativeCall(
        target=TARGET,
        spec=f"op=attention {heads.spec()}",
        version=version,
        operands=tuple(operands),
        result=jax.ShapeDtypeStruct(made.shape, made.dtype),
        step=STEP,
    )
