"""Candidates compiled alone, and how they are called to be timed.

A large result that is written to fresh memory costs the pages of it, which can be several times what computing it
takes, and costs them on some calls only, as the allocator happens to do. Inside a program the same array mostly lies
where another one was before. So large results are written to where those of the call before were.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from ..backends.base import Backend
from ..candidates import Candidate
from ..graph.ir import Value
from ..graph.region import Region
from . import clock as clocks
from .clock import Clock
from .compare import other_form

#: Results of at least this many bytes are written to memory that was used before.
REUSED = 1 << 20


@dataclass(frozen=True, eq=False)
class Runner:
    """A compiled candidate: ``call(spares, *operands)`` gives its results, ``spares`` the memory for large ones.

    ``spared`` are those results. ``prepare`` packs frozen operands, if the kernel wants them packed.
    """

    call: Callable[..., tuple[Any, ...]]
    prepare: Callable[..., tuple[Any, ...]] | None
    is_frozen: tuple[bool, ...]
    spared: tuple[tuple[int, Value], ...]

    def ready(self, arrays: Sequence[Any]) -> Callable[[], tuple[Any, ...]]:
        """A call without arguments on ``arrays``, packing done. Large results last until the next call of it."""
        operands = tuple(arrays)
        if self.prepare is not None:
            frozen = [a for a, is_frozen in zip(arrays, self.is_frozen, strict=True) if is_frozen]
            others = [a for a, is_frozen in zip(arrays, self.is_frozen, strict=True) if not is_frozen]
            operands = (*self.prepare(*frozen), *others)
        if not self.spared:
            return lambda: self.call((), *operands)
        spares = tuple(jnp.empty(value.shape, value.dtype) for _, value in self.spared)

        def call() -> tuple[Any, ...]:
            nonlocal spares
            results = self.call(spares, *operands)
            spares = tuple(results[place] for place, _ in self.spared)
            return results

        return call


class OtherForm(Exception):
    """A kernel gives arrays of other shapes or dtypes than XLA; the message says which."""


def lowered(candidate: Candidate, backend: Backend, arrays: Sequence[Any]) -> Callable[[], Runner]:
    """Trace ``candidate``; the result compiles it. Raises ``OtherForm`` where it cannot be right."""
    region = candidate.region
    is_frozen = tuple(v in candidate.frozen for v in region.entries)
    spared = tuple((i, v) for i, v in enumerate(region.exits) if _is_spared(v))
    spares = tuple(jax.ShapeDtypeStruct(value.shape, value.dtype) for _, value in spared)
    clock = clocks.for_regions()
    kernel = backend.emit_frozen(region, candidate.frozen) if any(is_frozen) else None
    if kernel is None:
        compiling = _lowered_into(backend.emit(region), region, spares, arrays, clock)
        return lambda: Runner(compiling(), None, is_frozen, spared)
    prepare = jax.jit(kernel.prepare).lower(*(a for a, f in zip(arrays, is_frozen, strict=True) if f))
    others = (a for a, f in zip(arrays, is_frozen, strict=True) if not f)
    compiling = _lowered_into(kernel.run, region, spares, (*prepare.out_info, *others), clock)
    return lambda: Runner(compiling(), prepare.compile(), is_frozen, spared)


def _lowered_into(
    function: Callable[..., Any], region: Region, spares: tuple[Any, ...], operands: Sequence[Any], clock: Clock
) -> Callable[[], Callable[..., Any]]:
    """``function`` lowered so that XLA writes its large results to the arrays that it is given first."""

    def run(*operands: Any) -> tuple[Any, ...]:
        result = function(*operands)
        return tuple(result) if isinstance(result, (tuple, list)) else (result,)

    def lower(run: Callable[..., Any]) -> Callable[[], Any]:
        into = jax.jit(lambda spares, *operands: run(*operands), donate_argnums=0, keep_unused=True)
        traced = into.trace(spares, *operands)
        if reason := other_form(clock.results(traced.out_info), region.exits):
            raise OtherForm(reason)
        return traced.lower().compile

    return clock.compiling(run, lower)


def _is_spared(value: Value) -> bool:
    return value.nbytes >= REUSED and not jnp.issubdtype(value.dtype, jax.dtypes.extended)
