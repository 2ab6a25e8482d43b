"""A convolution as a JAX-traceable callable."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from ...graph.ir import Value
from ...graph.region import Region
from ..base import PreparedKernel
from .convolution import Convolution
from .library import TARGET


def kernel(conv: Convolution, region: Region, tile: int, version: str) -> Callable[..., tuple[Any]]:
    """``region.entries`` in, the one exit out; the weights are transformed within each call."""

    def run(*entries: Any) -> tuple[Any]:
        env = dict(zip(region.entries, entries, strict=True))
        return (_invoke(conv, env, [_in_order(conv, env[conv.weights])], tile, version),)

    return run


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

    def run(weights: Any, packed: Any, *arrays: Any) -> tuple[Any]:
        env = dict(zip([*passed, *others], arrays, strict=True))
        return (_invoke(conv, env, [weights, packed], tile, version),)

    return PreparedKernel(prepare, run)


def _in_order(conv: Convolution, weights: Any) -> Any:
    in_order = jnp.transpose(weights, conv.weights_axes)
    return in_order[conv.taps] if weights.ndim == 5 else in_order


def _invoke(conv: Convolution, env: dict[Value, Any], weights: list[Any], tile: int, version: str) -> Any:
    operands = [env[conv.source], *weights, *(env[v] for v in (conv.bias, conv.summand) if v is not None)]
    made = jax.ShapeDtypeStruct(conv.result.shape, conv.result.dtype)
    invoke = jax.ffi.ffi_call(TARGET, made)
    return invoke(*operands, spec=f"op=conv {conv.spec(tile, packed=len(weights) == 2)}", version=version)
