"""Heads as a JAX-traceable callable.

Errors. At most 256 products are summed in a row, and then those sums; e^x is right to the last place or two. Relative
to the largest result, on normal numbers and for up to a thousand keys: below 1e-6.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Any

import jax
import numpy as np

from ...ffi.native_call import NativeCall, NativeOperand
from ...graph.region import Region
from ..heads import Heads, Mask

TARGET = "collage_attention_v1"

#: The extension, whose kernels can be steps of a program.
STEP = "_kernels.attention"


def kernel(heads: Heads, region: Region, version: str) -> NativeCall:
    """``region.entries`` in, the one exit out."""
    at = region.entries.index
    operands = [NativeOperand((at(seen.value),)) for seen in (heads.q, heads.k, heads.v)]
    if heads.mask is not None:
        make = None if heads.mask.keeps is None else partial(_operand_of, heads.mask)
        operands.append(NativeOperand((at(heads.mask.value),), make))
    made = heads.result.value
    return NativeCall(
        target=TARGET,
        spec=f"op=attention {spec(heads)}",
        version=version,
        operands=tuple(operands),
        result=jax.ShapeDtypeStruct(made.shape, made.dtype),
        step=STEP,
    )


def spec(heads: Heads) -> str:
    """The text that the native side reads, without the operation's name."""
    arrays, mask = (heads.q, heads.k, heads.v, heads.result), heads.mask
    tokens = {
        "heads": _times(heads.q.sizes[:2]),
        "sizes": _times((heads.q.sizes[2], heads.k.sizes[2], heads.q.sizes[3], heads.v.sizes[3])),
        "q": _times(heads.q.strides[:3]),
        "k": _times(heads.k.strides),
        "v": _times(heads.v.strides),
        "result": _times(heads.result.strides[:3]),
        "elements": _times(seen.value.size for seen in arrays),
        "scale": repr(heads.scale),
        "mask": "none" if mask is None else "bias" if mask.keeps is None else "keep",
    }
    if mask is not None:
        tokens |= {"mask_steps": _times(mask.strides), "mask_elements": str(mask.value.size)}
    if mask is not None and mask.keeps is not None:
        tokens["fill"] = repr(mask.fill)
    return " ".join(f"{key}={value}" for key, value in tokens.items())


def _operand_of(mask: Mask, array: Any) -> Any:
    """The mask's array as the kernel takes it: float32, 0 where a score is not kept."""
    if mask.keeps is None:
        return array
    return (array if mask.keeps else ~array).astype(np.float32)


def _times(numbers: Iterable[int]) -> str:
    return "x".join(map(str, numbers))
