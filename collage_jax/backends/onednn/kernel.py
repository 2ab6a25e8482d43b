"""A chosen call as a JAX-traceable callable."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from ...graph.evaluate import callable_of
from ...graph.ir import Value
from ...graph.region import Region
from ..base import PreparedKernel
from .call import Operand, packing_spec
from .implementation import Choice
from .library import TARGET


def kernel(choice: Choice, region: Region) -> Callable[..., tuple[Any]]:
    """``region.entries`` in, the one exit out."""

    def run(*entries: Any) -> tuple[Any]:
        env = dict(zip(region.entries, entries, strict=True))
        return (_invoke(choice, [operand.array(env) for operand in choice.call.operands]),)

    return _guarded(run, choice, region) if choice.call.guarded else run


def _guarded(run: Callable[..., tuple[Any]], choice: Choice, region: Region) -> Callable[..., tuple[Any]]:
    """``run`` where the source holds neither NaN nor positive infinity, else JAX itself: one sum tells."""
    (source,) = choice.call.sources[0][1].values
    place = region.entries.index(source)
    reference = callable_of(region.nodes, region.entries, region.exits)

    def guarded(*entries: Any) -> tuple[Any]:
        is_safe = jnp.sum(entries[place], dtype=jnp.float32) < jnp.inf
        return jax.lax.cond(is_safe, run, lambda *entries: tuple(reference(*entries)), *entries)

    return guarded


def prepared_kernel(choice: Choice, region: Region, frozen: frozenset[Value]) -> PreparedKernel:
    """Like ``kernel``, with every operand that depends on ``frozen`` entries alone made once, the weights packed."""
    call = choice.call
    held = [v for v in region.entries if v in frozen]
    others = [v for v in region.entries if v not in frozen]
    early = [operand for operand in call.operands if frozen.issuperset(operand.values)]
    late = [operand for operand in call.operands if operand not in early]
    # A frozen entry that is also read together with others goes through as it is.
    passed = [v for v in held if any(v in operand.values for operand in late)]

    def prepare(*frozen_entries: Any) -> tuple[Any, ...]:
        env = dict(zip(held, frozen_entries, strict=True))
        made = [_pack(choice, o.array(env)) if o is call.weights else o.array(env) for o in early]
        return (*made, *(env[v] for v in passed))

    def run(*arrays: Any) -> tuple[Any]:
        made = dict(zip(early, arrays, strict=False))
        env = dict(zip([*passed, *others], arrays[len(early) :], strict=True))
        return (_invoke(choice, [_array(operand, made, env) for operand in call.operands]),)

    return PreparedKernel(prepare, run)


def _array(operand: Operand, made: dict[Operand, Any], env: dict[Value, Any]) -> Any:
    return made[operand] if operand in made else operand.array(env)


def _invoke(choice: Choice, operands: Sequence[Any]) -> Any:
    result = choice.call.result
    aliases = None
    if choice.call.sum is not None:
        # The residual comes last and is summed into, so its buffer becomes the result's where XLA can spare it.
        operands = [*operands[:-1], jnp.reshape(operands[-1], result.shape)]
        aliases = {len(operands) - 1: 0}
    made = jax.ShapeDtypeStruct(result.shape, result.dtype)
    invoke = jax.ffi.ffi_call(TARGET, made, input_output_aliases=aliases)
    return invoke(*operands, spec=choice.spec, library=choice.library)


def _pack(choice: Choice, weights: Any) -> Any:
    packed = jax.ShapeDtypeStruct((choice.packed_bytes,), jnp.uint8)
    spec = packing_spec(choice.call, choice.spec)
    return jax.ffi.ffi_call(TARGET, packed)(weights, spec=spec, library=choice.library)
