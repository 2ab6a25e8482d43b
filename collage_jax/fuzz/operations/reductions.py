"""Reductions, and sums and products along an axis."""

from __future__ import annotations

from ..builder import Builder

NAMED = ("lax.reduce_sum", "lax.reduce_max", "lax.reduce_min", "jnp.mean", "jnp.var", "jnp.std", "jnp.sum", "jnp.max")
LOGICAL = ("lax.reduce_and", "lax.reduce_or", "lax.reduce_xor")
COMPUTATIONS = {"lax.add": 0, "lax.max": "-jnp.inf", "lax.min": "jnp.inf", "lax.mul": 1, "lambda p, q: p + q * 1": 0}


def reduction(b: Builder) -> None:
    x = b.pick("real" if b.chance(0.9) else "number", rank=(1, 4))
    axes = b.axes(x.rank)
    if b.chance(0.1):
        b.wild("lax.reduce_prod({0}, {axes})", x, axes=axes)
    elif x.is_a("complex"):
        b.add("lax.reduce_sum({0}, {axes})", x, axes=axes)
    elif b.chance(0.5):
        b.add(b.choice(NAMED[:3]) + "({0}, {axes})", x, axes=axes)
    else:
        b.add(b.choice(NAMED[3:]) + "({0}, axis={axes}, keepdims={keep})", x, axes=axes, keep=b.chance(0.5))


def argument_of_extremum(b: Builder) -> None:
    x = b.pick("real", rank=(1, 4), where=lambda v: v.size > 0)
    index = b.choice(("int32", "uint8", "int64") if b.x64 else ("int32", "uint8", "int16"))
    b.add(
        b.choice(("lax.argmax", "lax.argmin")) + "({0}, {axis}, {index})", x, axis=b.rng.randrange(x.rank), index=index
    )


def logical(b: Builder) -> None:
    x = b.pick("bits", rank=(1, 4))
    b.add(b.choice(LOGICAL) + "({0}, {axes})", x, axes=b.axes(x.rank))


def general(b: Builder) -> None:
    x = b.pick("float", rank=(1, 4))
    axes = b.axes(x.rank)
    if b.chance(0.25):
        b.add_many(
            "lax.reduce(({0}, {1}), (jnp.zeros((), {0}.dtype), jnp.zeros((), {1}.dtype)), "
            "lambda p, q: (p[0] + q[0], lax.max(p[1], q[1])), {axes})",
            x,
            b.like(x.shape, x.dtype),
            axes=axes,
        )
        return
    computation = b.choice(tuple(COMPUTATIONS))
    start = COMPUTATIONS[computation]
    b.add(f"lax.reduce({{0}}, jnp.asarray({start}, {{0}}.dtype), {computation}, {{axes}})", x, axes=axes)


def cumulative(b: Builder) -> None:
    x = b.pick("real", rank=(1, 4))
    operations = ["lax.cumsum", "lax.cummax", "lax.cummin"] + (["lax.cumlogsumexp"] if x.is_a("float") else [])
    options = {"axis": b.rng.randrange(x.rank), "reverse": b.chance(0.5)}
    if b.chance(0.15):
        b.wild("lax.cumprod({0}, axis={axis}, reverse={reverse})", x, **options)
    else:
        b.add(b.choice(operations) + "({0}, axis={axis}, reverse={reverse})", x, **options)


def normalising(b: Builder) -> None:
    """A reduction and what it was made of together again."""
    x = b.pick("float", rank=(1, 4), where=lambda v: v.size > 0)
    axes = b.axes(x.rank)
    b.add(
        b.choice(
            (
                "{0} - jnp.mean({0}, axis={axes}, keepdims=True)",
                "{0} - jnp.max({0}, axis={axes}, keepdims=True)",
                ("{0} / (1 + jnp.sum(jnp.abs({0}), axis={axes}, keepdims=True))"),
                "{0} * jnp.mean({0}, axis={axes}, keepdims=True)",
                "jax.nn.logsumexp({0}, axis={axes}, keepdims={keep})",
            )
        ),
        x,
        axes=axes,
        keep=b.chance(0.5),
    )


OPERATIONS = {reduction: 3, argument_of_extremum: 0.7, logical: 0.4, general: 0.5, cumulative: 0.8, normalising: 1}
