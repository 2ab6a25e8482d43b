"""A product as a JAX-traceable callable."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from ...ffi.native_call import NativeCall, NativeOperand
from ...graph.ir import Value
from ...graph.region import Region
from ..base import PreparedKernel
from .product import Product

TARGET = "collage_sgemm_v1"

#: The extension, whose kernels can be steps of a program.
STEP = "_kernels.sgemm"


def kernel(product: Product, region: Region, version: str) -> NativeCall:
    """``region.entries`` in, the one exit out; the weights are packed within each call."""
    weights = product.weights
    operand = NativeOperand((region.entries.index(weights.value),), weights.make)
    return _call(product, operand, region.entries, 0, version)


def prepared_kernel(
    product: Product, region: Region, frozen: frozenset[Value], version: str, size: int
) -> PreparedKernel:
    """Like ``kernel``, with the weights packed once, into ``size`` numbers."""
    weights = product.weights
    held = [v for v in region.entries if v in frozen]
    others = [v for v in region.entries if v not in frozen]
    read = (product.source, *product.tail)
    passed = [v for v in held if v in read]

    def prepare(*frozen_entries: Any) -> tuple[Any, ...]:
        env = dict(zip(held, frozen_entries, strict=True))
        pack = jax.ffi.ffi_call(TARGET, jax.ShapeDtypeStruct((size,), jnp.float32))
        plain = env[weights.value] if weights.make is None else weights.make(env[weights.value])
        return (pack(plain, spec=f"op=pack {product.spec(packed=True)}", version=version), *(env[v] for v in passed))

    return PreparedKernel(prepare, _call(product, NativeOperand((0,)), [*passed, *others], 1, version))


def _call(product: Product, weights: NativeOperand, values: Sequence[Value], first: int, version: str) -> NativeCall:
    """The call on arrays of which those from ``first`` on are ``values``."""

    def operand(value: Value) -> NativeOperand:
        return NativeOperand((first + list(values).index(value),))

    tail = [operand(v) for v in product.tail]
    return NativeCall(
        target=TARGET,
        spec=f"op=product {product.spec(packed=first > 0)}",
        version=version,
        operands=(operand(product.source), weights, *tail),
        result=jax.ShapeDtypeStruct(product.result.shape, product.result.dtype),
        step=STEP,
        row=product.sizes[2],
    )
