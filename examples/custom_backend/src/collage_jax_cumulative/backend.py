"""What the backend proposes, what it refuses and why, and the kernels it gives."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp

from collage_jax import Backend, Unsupported
from collage_jax.patterns import Pattern, any_, op

from .loops import OPERATIONS, running


class Cumulative(Backend):
    """One running operation along an axis, by a loop that goes over the array once."""

    name = "cumulative"
    platforms = ("cpu",)
    patterns = (Pattern("running", op(*OPERATIONS)(any_("x"))),)

    def version(self) -> str:
        """Of this package; the loops are compiled by XLA, whose version costs are kept under anyhow."""
        from . import __version__

        return __version__

    def supports(self, region: Any) -> Unsupported | None:
        """Regions of one running operation on numbers that rounding does not tell apart from XLA's."""
        if len(region.nodes) != 1 or region.nodes[0].op not in OPERATIONS:
            return Unsupported(f"it runs one of {', '.join(OPERATIONS)} at a time, got {'+'.join(region.ops)}")
        (node,) = region.nodes
        if not region.entries:
            return Unsupported("its operand is a scalar of the program")
        shape, dtype = node.out.shape, node.out.dtype
        if not all(isinstance(n, int) for n in shape):
            return Unsupported(f"sizes must be known, got {shape}")
        if 0 in shape:
            return Unsupported(f"the array is empty: {shape}")
        if not (jnp.issubdtype(dtype, jnp.integer) or jnp.issubdtype(dtype, jnp.floating)):
            return Unsupported(f"it takes integers and real numbers, got {dtype}")
        if node.op == "cumsum" and jnp.issubdtype(dtype, jnp.floating) and jnp.finfo(dtype).bits < 32:
            return Unsupported(f"sums in {dtype} depend on the order more than may be")
        return None

    def emit(self, region: Any) -> Callable[..., Any]:
        """The loop for a region that is supported; ``ValueError`` with the reason for any other."""
        refusal = self.supports(region)
        if refusal is not None:
            raise ValueError(f"{self.name} cannot run {region}: {refusal.reason}")
        (node,) = region.nodes
        operation, axis, reverse = node.op, node.params["axis"], node.params["reverse"]
        return lambda x: running(operation, x, axis, reverse)
