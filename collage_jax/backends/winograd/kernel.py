"""A convolution as a JAX-traceable callable."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from ...ffi.native_call import NativeCall, NativeOperand
from ...graph.ir import Value
from ...graph.region import Region
from ..base import PreparedKernel
from .convolution import Convolution

TARGET = "collage_winograd_v1"

#: The extension, whose kernels can be steps of a program.
STEP = "_kernels.winograd"


def kernel(conv: Convolution, region: Region, tile: int, version: str) -> NativeCall:
    """``region.entries`` in, the one exit out; the weights are transformed within each call."""
    place = {v: i for i, v in enumerate(region.entries)}
    weights = NativeOperand((place[conv.weights],), lambda weights: _in_order(conv, weights))
    return _native(conv, place, [weights], tile, version)


def prepared_kernel(
    conv: Convolution, region: Region, frozen: frozenset[Value], tile: int, version: str, size: int
) -> PreparedKernel:
    """Like ``kernel``, with the weights transformed once, into ``size`` numbers."""
    held = [v for v in region.entries if v in frozen]
    others = [v for v in region.entries if v not in frozen]
    passed = [v for v in held if v is not conv.weights or v in (conv.source, conv.bias, conv.summand)]

    def prepare(*frozen_entries: Any) -> tuple[Any, ...]:
        env = dict(zip(held, frozen_entries, strict=True))
        weights = _in_order(conv, env[conv.weights])
        transform = jax.ffi.ffi_call(TARGET, jax.ShapeDtypeStruct((size,), jnp.float32))
        packed = transform(weights, spec=f"op=pack {conv.spec(tile, packed=True)}", version=version)
        # The weights themselves go along: what is not finite is computed with them.
        return (weights, packed, *(env[v] for v in passed))

    place = {v: i for i, v in enumerate([*passed, *others], 2)}
    return PreparedKernel(prepare, _native(conv, place, [NativeOperand((0,)), NativeOperand((1,))], tile, version))


def _in_order(conv: Convolution, weights: Any) -> Any:
    in_order = jnp.transpose(weights, conv.weights_axes)
    return in_order[conv.taps] if weights.ndim == 5 else in_order


def _native(
    conv: Convolution, place: dict[Value, int], weights: list[NativeOperand], tile: int, version: str
) -> NativeCall:
    tail = [NativeOperand((place[v],)) for v in (conv.bias, conv.summand) if v is not None]
    operands = (NativeOperand((place[conv.source],)), *weights, *tail)
    made = jax.ShapeDtypeStruct(conv.result.shape, conv.result.dtype)
    spec = f"op=conv {conv.spec(tile, packed=len(weights) == 2)}"
    return NativeCall(TARGET, spec, version, operands, made, STEP, row=made.shape[-1])
