"""Kernels compiled by themselves, as measuring compiles them, and what XLA makes of the same region."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..graph.evaluate import callable_of
from ..graph.ir import Value
from ..graph.region import Region


@dataclass(frozen=True, eq=False)
class Kernel:
    """``call(*arrays)`` gives a list of arrays; ``text`` is the program as it goes to the compiler."""

    call: Callable[..., list[Any]]
    text: str


def compiled(fun: Callable[..., Any], forms: Sequence[Any]) -> Kernel:
    """``fun`` compiled for arrays of these shapes and dtypes. Raises what tracing, lowering or compiling raises."""

    def kernel(*arrays: Any) -> list[Any]:
        return outputs(fun(*arrays))

    lowered = jax.jit(kernel).lower(*forms)
    return Kernel(lowered.compile(), lowered.as_text())


def forms(values: Sequence[Value]) -> list[jax.ShapeDtypeStruct]:
    """Shapes and dtypes of ``values``."""
    return [jax.ShapeDtypeStruct(v.shape, v.dtype) for v in values]


def xla(region: Region) -> Kernel:
    """What XLA makes of ``region``."""
    return compiled(callable_of(region.nodes, region.entries, region.exits), forms(region.entries))


def outputs(result: Any) -> list[Any]:
    """What a kernel returned, as a list: a lone array may come as itself."""
    return list(result) if isinstance(result, (tuple, list)) else [result]


def run(kernel: Kernel, arrays: Sequence[Any]) -> list[Any]:
    """The results of ``kernel`` on ``arrays``, there and not on their way."""
    return jax.block_until_ready(kernel.call(*arrays))


def bits(arrays: Sequence[Any]) -> str:
    """A hash equal for arrays equal bit for bit, in any process."""
    digest = hashlib.sha256()
    for array in arrays:
        held = jax.random.key_data(array) if jnp.issubdtype(array.dtype, jax.dtypes.prng_key) else array
        digest.update(f"{array.dtype}{array.shape}".encode() + np.asarray(held).tobytes())
    return digest.hexdigest()
