"""Sorting and the largest elements. Keys that the sorting tells apart are drawn, for ties fall as they like."""

from __future__ import annotations

from ..builder import Builder


def sort(b: Builder) -> None:
    x = b.pick("real" if b.chance(0.9) else "bool", rank=(1, 3))
    axis = b.rng.randrange(x.rank)
    if b.chance(0.3):
        b.add_many(
            "lax.sort(({0}, {1}), dimension={axis}, num_keys={keys})",
            x,
            b.like(x.shape, x.dtype),
            axis=axis,
            keys=b.choice((1, 2)),
        )
    else:
        b.add("lax.sort({0}, dimension={axis})", x, axis=axis)


def argsort(b: Builder) -> None:
    x = b.pick("real", rank=(1, 3))
    b.add("jnp.argsort({0}, axis={axis}, descending={down})", x, axis=b.rng.randrange(x.rank), down=b.chance(0.3))


def top(b: Builder) -> None:
    x = b.pick("real", rank=(1, 3), where=lambda v: v.size > 0)
    b.add_many("lax.top_k({0}, {k})", x, k=b.rng.randint(1, x.shape[-1]))


def approximate_top(b: Builder) -> None:
    x = b.like((b.choice((2, 3)), 16), "float32")
    b.add_many("lax.approx_max_k({0}, {k}, recall_target=1.0)", x, k=b.rng.randint(1, 4))


def searched(b: Builder) -> None:
    b.add(
        "jnp.searchsorted(jnp.sort({0}), {1})",
        b.argument((7,), "float32"),
        b.argument((b.rng.randint(1, 4),), "float32"),
    )


def median(b: Builder) -> None:
    x = b.pick("float", rank=(1, 3), where=lambda v: v.size > 0 and str(v.dtype) == "float32")
    b.add("jnp.quantile({0}, 0.5, axis={axis})", x, axis=b.rng.randrange(x.rank))


OPERATIONS = {sort: 0.8, argsort: 0.3, top: 0.5, approximate_top: 0.1, searched: 0.1, median: 0.1}
