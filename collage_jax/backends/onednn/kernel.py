"""A chosen call as a JAX-traceable callable."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from ...ffi.native_call import NativeCall, NativeOperand
from ...graph.evaluate import callable_of
from ...graph.ir import Value
from ...graph.region import Region
from ..base import PreparedKernel
from .call import Operand, PostOp, packing_spec
from .implementation import Choice
from .library import STEP, TARGET


def kernel(choice: Choice, region: Region) -> Callable[..., tuple[Any]]:
    """``region.entries`` in, the one exit out."""
    place = {v: i for i, v in enumerate(region.entries)}
    run = _native(choice, [_operand(o, place) for o in choice.call.operands])
    return _guarded(run, choice, region) if choice.call.guarded else run


def _guarded(run: Callable[..., tuple[Any]], choice: Choice, region: Region) -> Callable[..., tuple[Any]]:
    """``run`` where the source is finite, else JAX itself: one sum tells."""
    (source,) = choice.call.sources[0][1].values
    place = region.entries.index(source)
    reference = callable_of(region.nodes, region.entries, region.exits)

    def guarded(*entries: Any) -> tuple[Any]:
        is_safe = jnp.isfinite(jnp.sum(entries[place], dtype=jnp.float32))
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

    made_at = {operand: NativeOperand((i,)) for i, operand in enumerate(early)}
    place = {v: i for i, v in enumerate([*passed, *others], len(early))}
    return PreparedKernel(prepare, _native(choice, [made_at.get(o) or _operand(o, place) for o in call.operands]))


def _operand(operand: Operand, place: dict[Value, int]) -> NativeOperand:
    return NativeOperand(tuple(place[v] for v in operand.values), operand.make)


def _native(choice: Choice, operands: Sequence[NativeOperand]) -> NativeCall:
    result = jax.ShapeDtypeStruct(choice.call.result.shape, choice.call.result.dtype)
    aliases: tuple[tuple[int, int], ...] = ()
    if choice.call.sum is not None:
        # The residual is summed into, so its buffer becomes the result's where XLA can spare it.
        at = next(i for i, operand in enumerate(choice.call.operands) if operand is choice.call.sum.operand)
        operands = [*operands]
        operands[at] = _shaped(operands[at], choice.call.sum, result.shape)
        aliases = ((at, 0),)
    return NativeCall(
        TARGET, choice.spec, choice.version, tuple(operands), result, STEP, aliases, joins=choice.call.joins
    )


def _shaped(summed: NativeOperand, post_op: PostOp, shape: tuple[int, ...]) -> NativeOperand:
    """``summed`` in the result's shape, which an alias needs."""
    assert post_op.operand is not None
    if summed.make is None and post_op.operand.values[0].shape == shape:
        return summed
    make = summed.make or (lambda array: array)
    return NativeOperand(summed.positions, lambda *arrays: jnp.reshape(make(*arrays), shape))


def _pack(choice: Choice, weights: Any) -> Any:
    packed = jax.ShapeDtypeStruct((choice.packed_bytes,), jnp.uint8)
    spec = packing_spec(choice.call, choice.spec)
    return jax.ffi.ffi_call(TARGET, packed)(weights, spec=spec, version=choice.version)
