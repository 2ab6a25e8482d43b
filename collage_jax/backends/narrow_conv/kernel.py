"""A convolution as a JAX-traceable callable."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from ...graph.ir import Value
from ...graph.region import Region
from ...native_call import NativeCall, NativeOperand
from ..base import PreparedKernel
from .convolution import Convolution

TARGET = "collage_narrow_v1"

#: The extension, whose kernels can be steps of a program.
STEP = "_kernels.narrow"


def kernel(conv: Convolution, region: Region, version: str) -> NativeCall:
    """``region.entries`` in, the one exit out; the weights are packed within each call."""
    weights = NativeOperand((region.entries.index(conv.weights),), lambda weights: _in_order(conv, weights))
    return _call(conv, weights, region.entries, 0, version)


def prepared_kernel(
    conv: Convolution, region: Region, frozen: frozenset[Value], version: str, size: int
) -> PreparedKernel:
    """Like ``kernel``, with the weights packed once, into ``size`` numbers."""
    held = [v for v in region.entries if v in frozen]
    others = [v for v in region.entries if v not in frozen]
    passed = [v for v in held if v in (conv.source, conv.bias)]

    def prepare(*frozen_entries: Any) -> tuple[Any, ...]:
        env = dict(zip(held, frozen_entries, strict=True))
        pack = jax.ffi.ffi_call(TARGET, jax.ShapeDtypeStruct((size,), jnp.float32))
        plain = _in_order(conv, env[conv.weights])
        return (pack(plain, spec=f"op=pack {conv.spec(packed=True)}", version=version), *(env[v] for v in passed))

    return PreparedKernel(prepare, _call(conv, NativeOperand((0,)), [*passed, *others], 1, version))


def _in_order(conv: Convolution, weights: Any) -> Any:
    return jnp.transpose(weights, conv.weights_axes)


def _call(conv: Convolution, weights: NativeOperand, values: Sequence[Value], first: int, version: str) -> NativeCall:
    """The call on arrays of which those from ``first`` on are ``values``."""
    place = {v: i for i, v in enumerate(values, first)}
    source, *tail = (NativeOperand((place[v],)) for v in (conv.source, conv.bias) if v is not None)
    made = jax.ShapeDtypeStruct(conv.result.shape, conv.result.dtype)
    spec = f"op=conv {conv.spec(packed=first > 0)}"
    return NativeCall(TARGET, spec, version, (source, weights, *tail), made, STEP, row=made.shape[-1])
