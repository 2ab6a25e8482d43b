"""A placed program as one operation.

JAX's transformations act on what it was made from, ``original`` (a closed jaxpr), so that they compose to any order;
``run``, which holds the kernels, is lowered in its place where a single device executes it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax

from ._compat import Primitive, ad, batching, check_as, is_for_here, jaxpr_as_fun, mlir

NAME = "collage_jax_placed"

Run = Callable[..., Sequence[Any]]


def bind(operands: Sequence[Any], original: Any, run: Run) -> list[Any]:
    """The results of ``run(*operands)``, which computes what ``original`` does; both flat."""
    return placed_p.bind(*operands, original=original, run=run)


def _lower(ctx: Any, *operands: Any, original: Any, run: Run) -> Any:
    # The partitioner would gather what several devices hold for a foreign call: they run the original instead.
    spread = (getattr(ctx.module_context.axis_context, "num_devices", 1) or 1) > 1
    # What is exported may run where these libraries are not, and JAX refuses to export their calls.
    chosen = run if is_for_here(ctx) and not spread else jaxpr_as_fun(original)
    return mlir.lower_fun(lambda *xs: list(chosen(*xs)), multiple_results=True)(ctx, *operands)


def _differentiate(primals: Sequence[Any], tangents: Sequence[Any], *, original: Any, run: Run) -> Any:
    moving = [i for i, t in enumerate(tangents) if type(t) is not ad.Zero]

    def of_moving(*operands: Any) -> tuple[Any, ...]:
        every = list(primals)
        for i, operand in zip(moving, operands, strict=True):
            every[i] = operand
        return tuple(jaxpr_as_fun(original)(*every))

    results, changes = jax.jvp(of_moving, [primals[i] for i in moving], [tangents[i] for i in moving])
    # Results that are not real numbers do not move; JAX writes their change in a dtype without values.
    still = [ad.Zero(jax.typeof(r).to_tangent_aval()) for r in results]
    changes = [z if c.dtype == jax.dtypes.float0 else c for z, c in zip(still, changes, strict=True)]
    return list(results), changes


def _batch(operands: Sequence[Any], dims: Sequence[Any], *, original: Any, run: Run) -> Any:
    axes = tuple(d if isinstance(d, int) else None for d in dims)
    results = jax.vmap(lambda *xs: tuple(jaxpr_as_fun(original)(*xs)), in_axes=axes)(*operands)
    return list(results), [0] * len(results)


placed_p = Primitive(NAME)
placed_p.multiple_results = True
placed_p.def_impl(lambda *operands, original, run: list(jax.jit(run)(*operands)))
placed_p.def_abstract_eval(lambda *operands, original, run: list(original.out_avals))
mlir.register_lowering(placed_p, _lower)
ad.primitive_jvps[placed_p] = _differentiate
batching.primitive_batchers[placed_p] = _batch
check_as(placed_p, lambda params: params["original"])
