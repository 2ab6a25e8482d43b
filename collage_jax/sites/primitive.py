"""A placed program as one operation, a ``Site``.

Where a single device executes it, what ``Site.run`` gives is lowered, which is when it is placed; transformations
before that bind the sites that they make of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax

from .._compat import (
    Primitive,
    ad,
    as_on_one_device,
    as_varying,
    batching,
    check_as,
    mlir,
    out_avals,
    runs_here,
    shaped,
)
from ..exporting import takes_kernels
from .site import Site

NAME = "collage_jax_placed"


def bind(operands: Sequence[Any], site: Site) -> list[Any]:
    """The results of ``site`` on ``operands``, both flat."""
    # The closed jaxpr stands beside its site for those who look into calls by the names of their parameters.
    return placed_p.bind(*as_varying(operands), original=site.original, site=site)


def _evaluate(*operands: Any, original: Any, site: Site) -> list[Any]:
    return list(site.compiled(lambda *xs: bind(xs, site))(*operands))


def _lower(ctx: Any, *operands: Any, original: Any, site: Site) -> Any:
    chosen = site.run if runs_here(ctx, even_exported=takes_kernels()) else site.plain
    lower = mlir.lower_fun(lambda *xs: list(chosen(*xs)), multiple_results=True)
    return lower(as_on_one_device(ctx, original), *operands)


def _differentiate(primals: Sequence[Any], tangents: Sequence[Any], *, original: Any, site: Site) -> Any:
    moving = tuple(i for i, t in enumerate(tangents) if type(t) is not ad.Zero)
    linearized = site.linearized(moving)
    # Two sites, not one: what does not depend on the tangents stays known where those are not.
    given = bind(primals, linearized.value)
    found = [*primals, *given]
    needed = [found[i] for i in linearized.residuals]
    changes = dict(
        zip(
            linearized.changing,
            bind([*needed, *(tangents[i] for i in moving)], linearized.tangent),
            strict=True,
        )
    )
    results = given[: len(original.out_avals)]
    return results, [
        changes[i] if i in changes else ad.Zero(jax.typeof(result).to_tangent_aval())
        for i, result in enumerate(results)
    ]


def _transpose(cotangents: Sequence[Any], *operands: Any, original: Any, site: Site) -> Sequence[Any]:
    linear = tuple(i for i, x in enumerate(operands) if ad.is_undefined_primal(x))
    live = tuple(i for i, ct in enumerate(cotangents) if type(ct) is not ad.Zero)
    if not live:
        return [None] * len(operands)
    known = [x for x in operands if not ad.is_undefined_primal(x)]
    found = iter(bind([*known, *(cotangents[i] for i in live)], site.transposed(linear, live)))
    return [next(found) if i in linear else None for i in range(len(operands))]


def _batch(operands: Sequence[Any], dims: Sequence[Any], *, original: Any, site: Site) -> Any:
    axes = tuple(d if isinstance(d, int) else None for d in dims)
    # Not their own types: those may say how they vary over a mesh, of which a site knows nothing.
    avals = [shaped(a.shape, a.dtype, a.weak_type) for a in map(jax.typeof, operands)]
    batched, out_axes = site.batched(axes, avals)
    return bind(operands, batched), out_axes


placed_p = Primitive(NAME)
placed_p.multiple_results = True
placed_p.def_impl(_evaluate)
placed_p.def_abstract_eval(lambda *avals, original, site: out_avals(original, avals))
mlir.register_lowering(placed_p, _lower)
ad.primitive_jvps[placed_p] = _differentiate
ad.primitive_transposes[placed_p] = _transpose
batching.primitive_batchers[placed_p] = _batch
check_as(placed_p, lambda params: params["original"])
