"""Separable convolutions as JAX-traceable callables; the others are ``packed_weights``'."""

from __future__ import annotations

from dataclasses import replace
from math import inf, prod
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp

from ...ffi.native_call import NativeCall, NativeOperand
from ...graph.ir import Value
from ...graph.region import Region
from ..base import PreparedKernel
from .convolution import Convolution

TARGET = "collage_grouped_v1"

SEPARABLE_TARGET = "collage_separable_v1"

#: Channels that are packed together.
BLOCK = 16

#: The extensions, whose kernels can be steps of a program.
STEP, SEPARABLE_STEP = "_kernels.grouped", "_kernels.separable"


def separable(conv: Convolution, region: Region, version: str, module: ModuleType) -> NativeCall:
    """A depthwise convolution with the pointwise one after it; the weights are packed within each call."""
    assert conv.pointwise is not None
    place = {v: i for i, v in enumerate(region.entries)}
    size = module.packed_size(f"op=pack {conv.separable_spec()}")
    weights = [
        NativeOperand((place[conv.weights],), lambda weights: _packed_depthwise(conv, weights, version)),
        NativeOperand((place[conv.pointwise.weights],), lambda w: _packed_pointwise(conv, w, size, module.version())),
    ]
    return _separable_call(conv, weights, place, module.version())


def prepared_separable(
    conv: Convolution, region: Region, frozen: frozenset[Value], grouped: ModuleType, module: ModuleType
) -> PreparedKernel:
    """Like ``separable``, with the weights of both packed once."""
    assert conv.pointwise is not None
    pointwise = conv.pointwise.weights
    held = [v for v in region.entries if v in frozen]
    others = [v for v in region.entries if v not in frozen]
    passed = [v for v in held if v in (conv.source, *conv.tail)]
    size = module.packed_size(f"op=pack {conv.separable_spec()}")

    def prepare(*frozen_entries: Any) -> tuple[Any, ...]:
        env = dict(zip(held, frozen_entries, strict=True))
        depthwise = _packed_depthwise(conv, env[conv.weights], grouped.version())
        packed = _packed_pointwise(conv, env[pointwise], size, module.version())
        return (depthwise, packed, *(env[v] for v in passed))

    place = {v: i for i, v in enumerate([*passed, *others], 2)}
    call = _separable_call(conv, [NativeOperand((0,)), NativeOperand((1,))], place, module.version())
    return PreparedKernel(prepare, call)


def _packed_depthwise(conv: Convolution, weights: Any, version: str) -> Any:
    size = prod(conv.kernel) * -(-conv.src[-1] // BLOCK) * BLOCK
    pack = jax.ffi.ffi_call(TARGET, jax.ShapeDtypeStruct((size,), jnp.float32))
    alone = replace(conv, dst=(*conv.dst[:-1], conv.src[-1]), bias=None, summand=None, gate=None, low=-inf, high=inf)
    return pack(jnp.transpose(weights, conv.weights_axes), spec=f"op=pack {alone.spec(packed=True)}", version=version)


def _packed_pointwise(conv: Convolution, weights: Any, size: int, version: str) -> Any:
    assert conv.pointwise is not None
    pack = jax.ffi.ffi_call(SEPARABLE_TARGET, jax.ShapeDtypeStruct((size,), jnp.float32))
    matrix = jnp.transpose(weights, conv.pointwise.axes)
    return pack(matrix, spec=f"op=pack {conv.separable_spec()}", version=version)


def _separable_call(
    conv: Convolution, weights: list[NativeOperand], place: dict[Value, int], version: str
) -> NativeCall:
    source, *tail = (NativeOperand((place[v],)) for v in (conv.source, *conv.tail))
    made = jax.ShapeDtypeStruct(conv.result.shape, conv.result.dtype)
    spec = f"op=conv {conv.separable_spec()}"
    operands = (source, *weights, *tail)
    return NativeCall(SEPARABLE_TARGET, spec, version, operands, made, SEPARABLE_STEP, row=made.shape[-1])
