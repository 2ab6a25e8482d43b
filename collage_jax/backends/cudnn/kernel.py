"""A graph of cuDNN's as a JAX-traceable callable."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ...graph.ir import Value
from ...graph.region import Region
from ..base import PreparedKernel
from .fusion import Fusion
from .library import TARGET
from .tensors import Operand


@dataclass(frozen=True)
class Choice:
    """The engine that is to run a graph, on which device, by which cuDNN."""

    fusion: Fusion
    properties: str
    sm: int
    engine: str
    workspace: int
    version: str


def kernel(choice: Choice, region: Region) -> Callable[..., tuple[Any]]:
    """``region.entries`` in, the one exit out."""

    def run(*entries: Any) -> tuple[Any]:
        env = dict(zip(region.entries, entries, strict=True))
        return _call(choice, [_array(operand, env) for operand in choice.fusion.operands])

    return run


def prepared_kernel(choice: Choice, region: Region, frozen: frozenset[Value]) -> PreparedKernel | None:
    """The same with operands that depend on frozen entries alone brought into cuDNN's order once."""
    fusion = choice.fusion
    held = [v for v in region.entries if v in frozen]
    others = [v for v in region.entries if v not in frozen]
    early = [o for o in fusion.operands if frozen.issuperset(o.values)]
    if all(o.make is None for o in early):
        return None
    passed = [v for v in held if any(v in o.values for o in fusion.operands if o not in early)]

    def prepare(*frozen_entries: Any) -> tuple[Any, ...]:
        env = dict(zip(held, frozen_entries, strict=True))
        return (*(_array(o, env) for o in early), *(env[v] for v in passed))

    def run(*entries: Any) -> tuple[Any]:
        made = dict(zip(early, entries, strict=False))
        env = dict(zip([*passed, *others], entries[len(early) :], strict=True))
        return _call(choice, [made[o] if o in made else _array(o, env) for o in fusion.operands])

    return PreparedKernel(prepare, run)


def _array(operand: Operand, env: Mapping[Value, Any]) -> Any:
    arrays = [env[v] for v in operand.values]
    return arrays[0] if operand.make is None else operand.make(*arrays)


def _call(choice: Choice, operands: list[Any]) -> tuple[Any]:
    fusion = choice.fusion
    results = (
        jax.ShapeDtypeStruct(fusion.stored, fusion.result.dtype),
        jax.ShapeDtypeStruct((choice.workspace,), jnp.uint8),
    )
    result, _ = jax.ffi.ffi_call(TARGET, results)(
        *operands,
        spec=fusion.spec(),
        device=choice.properties,
        sm=np.int64(choice.sm),
        engine=choice.engine,
        version=choice.version,
    )
    return (result if fusion.permutation is None else result.transpose(fusion.permutation),)
