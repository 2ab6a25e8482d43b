"""A convolution as a JAX-traceable callable."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import inf, prod
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp

from ...graph.ir import Value
from ...graph.region import Region
from ...native_call import NativeCall, NativeOperand
from ..base import PreparedKernel
from .convolution import Convolution

TARGET = "collage_grouped_v1"

SEPARABLE_TARGET = "collage_separable_v1"

#: Channels that are packed together.
BLOCK = 16

#: The extensions, whose kernels can be steps of a program.
STEP, SEPARABLE_STEP = "_kernels.grouped", "_kernels.separable"


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
    passed = [v for v in held if v in (conv.source, conv.bias, conv.summand)]

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
    source, *tail = (NativeOperand((place[v],)) for v in (conv.source, conv.bias, conv.summand) if v is not None)
    made = jax.ShapeDtypeStruct(conv.result.shape, conv.result.dtype)
    spec = f"op=conv {conv.spec(packed=first > 0)}"
    return NativeCall(TARGET, spec, version, (source, weights, *tail), made, STEP, row=made.shape[-1])


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
    passed = [v for v in held if v in (conv.source, conv.bias, conv.summand)]
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
    alone = replace(conv, dst=(*conv.dst[:-1], conv.src[-1]), bias=None, summand=None, low=-inf, high=inf)
    return pack(_in_order(conv, weights), spec=f"op=pack {alone.spec(packed=True)}", version=version)


def _packed_pointwise(conv: Convolution, weights: Any, size: int, version: str) -> Any:
    assert conv.pointwise is not None
    pack = jax.ffi.ffi_call(SEPARABLE_TARGET, jax.ShapeDtypeStruct((size,), jnp.float32))
    matrix = jnp.transpose(weights, conv.pointwise.axes)
    return pack(matrix, spec=f"op=pack {conv.separable_spec()}", version=version)


def _separable_call(
    conv: Convolution, weights: list[NativeOperand], place: dict[Value, int], version: str
) -> NativeCall:
    source, *tail = (NativeOperand((place[v],)) for v in (conv.source, conv.bias, conv.summand) if v is not None)
    made = jax.ShapeDtypeStruct(conv.result.shape, conv.result.dtype)
    spec = f"op=conv {conv.separable_spec()}"
    operands = (source, *weights, *tail)
    return NativeCall(SEPARABLE_TARGET, spec, version, operands, made, SEPARABLE_STEP, row=made.shape[-1])
