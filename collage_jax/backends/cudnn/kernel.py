"""Graphs of cuDNN's as a JAX-traceable callable."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

from ...graph.ir import Value
from ...graph.region import Region
from ..base import PreparedKernel
from .fusion import Fusion
from .library import TARGET
from .stages import Stages
from .tensors import Operand

#: What one call does.
Work: TypeAlias = Fusion | Stages


@dataclass(frozen=True)
class Choice:
    """The engines that are to run ``work``, on which device, by which cuDNN."""

    work: Work
    properties: str
    sm: int
    engine: str
    workspace: int
    version: str


def kernel(choice: Choice, region: Region) -> Callable[..., tuple[Any, ...]]:
    """``region.entries`` in, its exits out."""

    def run(*entries: Any) -> tuple[Any, ...]:
        env = dict(zip(region.entries, entries, strict=True))
        return _call(choice, region, [_array(operand, env) for operand in choice.work.operands])

    return run


def prepared_kernel(choice: Choice, region: Region, frozen: frozenset[Value]) -> PreparedKernel | None:
    """The same with operands that depend on frozen entries alone brought into cuDNN's order once."""
    operands = choice.work.operands
    held = [v for v in region.entries if v in frozen]
    others = [v for v in region.entries if v not in frozen]
    early = [o for o in operands if frozen.issuperset(o.values)]
    if all(o.make is None for o in early):
        return None
    passed = [v for v in held if any(v in o.values for o in operands if o not in early)]

    def prepare(*frozen_entries: Any) -> tuple[Any, ...]:
        env = dict(zip(held, frozen_entries, strict=True))
        return (*(_array(o, env) for o in early), *(env[v] for v in passed))

    def run(*entries: Any) -> tuple[Any, ...]:
        made = dict(zip(early, entries, strict=False))
        env = dict(zip([*passed, *others], entries[len(early) :], strict=True))
        return _call(choice, region, [made[o] if o in made else _array(o, env) for o in operands])

    return PreparedKernel(prepare, run)


def _array(operand: Operand, env: Mapping[Value, Any]) -> Any:
    arrays = [env[v] for v in operand.values]
    return arrays[0] if operand.make is None else operand.make(*arrays)


def _call(choice: Choice, region: Region, operands: list[Any]) -> tuple[Any, ...]:
    outputs = choice.work.outputs
    results = (
        *(jax.ShapeDtypeStruct(o.stored, o.stored_dtype or o.value.dtype) for o in outputs),
        jax.ShapeDtypeStruct((choice.workspace,), jnp.uint8),
    )
    *arrays, _ = jax.ffi.ffi_call(TARGET, results)(
        *operands,
        spec=choice.work.spec(),
        device=choice.properties,
        sm=np.int64(choice.sm),
        engine=choice.engine,
        version=choice.version,
    )
    made = {o.value: o.finish(a) if o.finish else a for o, a in zip(outputs, arrays, strict=True)}
    return tuple(made[value] for value in region.exits)
