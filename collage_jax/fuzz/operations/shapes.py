"""Operations that move elements and change shapes."""

from __future__ import annotations

import math

from ..builder import Builder, Misfit


def _factored(b: Builder, size: int) -> tuple[int, ...]:
    """Some shape of ``size`` elements."""
    if size == 0:
        return b.choice(((0,), (0, 2), (3, 0)))
    shape = []
    while size > 1 and len(shape) < 4:
        divisors = [d for d in range(2, min(size, 32) + 1) if size % d == 0] or [size]
        shape.append(b.choice(divisors))
        size //= shape[-1]
    shape += [size] if size > 1 else []
    if b.chance(0.3):
        shape.insert(b.rng.randint(0, len(shape)), 1)
    b.rng.shuffle(shape)
    return tuple(shape)


def reshape(b: Builder) -> None:
    x = b.pick("any")
    if x.rank > 1 and b.chance(0.1):
        b.add(
            "lax.reshape({0}, {shape}, dimensions={order})",
            x,
            shape=_factored(b, x.size),
            order=tuple(b.rng.sample(range(x.rank), x.rank)),
        )
    else:
        b.add(b.choice(("lax.reshape({0}, {shape})", "{0}.reshape({shape})")), x, shape=_factored(b, x.size))


def flatten(b: Builder) -> None:
    b.add("{0}.reshape({0}.shape[0], -1)", b.pick("float", rank=(2, 4), where=lambda v: v.size > 0))


def transpose(b: Builder) -> None:
    x = b.pick("any", rank=(2, 5))
    b.add("lax.transpose({0}, {order})", x, order=tuple(b.rng.sample(range(x.rank), x.rank)))


def squeeze(b: Builder) -> None:
    x = b.pick("any", rank=(0, 4))
    places = tuple(sorted(b.rng.sample(range(x.rank + 1), 1)))
    y = b.add("lax.expand_dims({0}, {places})", x, places=places)
    if b.chance(0.3):
        b.add("lax.squeeze({0}, {places})", y, places=places)


def broadcast(b: Builder) -> None:
    x = b.pick("any", rank=(0, 3))
    rank = x.rank + b.rng.randint(0, 2)
    axes = tuple(sorted(b.rng.sample(range(rank), x.rank)))
    shape = [b.dim() or 1 for _ in range(rank)]
    for axis, dim in zip(axes, x.shape, strict=True):
        shape[axis] = dim
    b.add("lax.broadcast_in_dim({0}, {shape}, {axes})", x, shape=tuple(shape), axes=axes)


def pad(b: Builder) -> None:
    x = b.pick("any", rank=(1, 4), where=lambda v: not v.is_a("bool"))
    config = tuple((b.rng.randint(-1, 2), b.rng.randint(-1, 2), b.choice((0, 0, 0, 1, 2))) for _ in x.shape)
    value = b.choice(("0", "0", "1", "jnp.nan", "-jnp.inf")) if x.is_a("inexact") else "0"
    add = b.wild if value in ("jnp.nan", "-jnp.inf") else b.add
    add(f"lax.pad({{0}}, jnp.asarray({value}, {{0}}.dtype), {{config}})", x, config=config)


def pads(b: Builder) -> None:
    """A padding of spatial dimensions, as before convolutions."""
    x = b.pick("float", rank=(2, 4))
    widths = tuple((b.rng.randint(0, 2), b.rng.randint(0, 2)) if 0 < i < x.rank - 1 else (0, 0) for i in range(x.rank))
    b.add("jnp.pad({0}, {widths}, mode={mode})", x, widths=widths, mode=b.choice(("constant", "constant", "edge")))


def slice_(b: Builder) -> None:
    x = b.pick("any", rank=(1, 4))
    begin = tuple(b.rng.randint(0, d) if b.chance(0.3) else 0 for d in x.shape)
    end = tuple(b.rng.randint(i, d) if b.chance(0.4) else d for i, d in zip(begin, x.shape, strict=True))
    strides = tuple(b.choice((1, 1, 2, 3)) for _ in x.shape) if b.chance(0.4) else None
    b.add("lax.slice({0}, {begin}, {end}, {strides})", x, begin=begin, end=end, strides=strides)


def concatenate(b: Builder) -> None:
    x = b.pick("any", rank=(1, 4))
    axis = b.rng.randrange(x.rank)
    others = []
    for _ in range(b.rng.randint(1, 3)):
        shape = list(x.shape)
        shape[axis] = b.dim()
        others.append(x if b.chance(0.2) else b.like(shape, x.dtype))
    b.add("lax.concatenate([{all}], {axis})", *b.rng.sample([x, *others], len(others) + 1), axis=axis)


def stacking(b: Builder) -> None:
    x = b.pick("any", rank=(0, 3))
    others = [x if b.chance(0.2) else b.like(x.shape, x.dtype) for _ in range(b.rng.randint(0, 2))]
    b.add("lax.stack([{all}], axis={axis})", x, *others, axis=b.rng.randint(0, x.rank))


def splitting(b: Builder) -> None:
    x = b.pick("any", rank=(1, 4), where=lambda v: max(v.shape) >= 2)
    axis = b.choice([i for i, d in enumerate(x.shape) if d >= 2])
    draw = b.rng.random()
    if draw < 0.6:
        cut = b.rng.randint(0, x.shape[axis])
        b.add_many("lax.split({0}, {sizes}, axis={axis})", x, sizes=(cut, x.shape[axis] - cut), axis=axis)
    elif x.shape[axis] <= 5:
        b.add_many("lax.unstack({0}, axis={axis})", x, axis=axis)
    else:
        raise Misfit("many pieces")


def reverse(b: Builder) -> None:
    x = b.pick("any", rank=(1, 4))
    b.add("lax.rev({0}, {axes})", x, axes=b.axes(x.rank))


def iota(b: Builder) -> None:
    shape = b.shape((1, 3))
    b.add(
        "lax.broadcasted_iota({dtype}, {shape}, {axis})",
        dtype=b.choice(("int32", "float32", "uint8", "bfloat16")),
        shape=shape,
        axis=b.rng.randrange(len(shape)),
    )


def filled(b: Builder) -> None:
    shape = b.shape((0, 3))
    b.add(
        f"jnp.full({{shape}}, {b.choice(('0', '1', '0.5', '-0.0', '2'))}, {{dtype}})",
        shape=shape,
        dtype=b.dtype("float"),
    )


def tiled(b: Builder) -> None:
    x = b.pick("any", rank=(1, 3), where=lambda v: v.size <= 256)
    b.add(
        b.choice(("lax.tile({0}, {counts})", "jnp.tile({0}, {counts})")),
        x,
        counts=tuple(b.choice((1, 1, 2, 3)) for _ in x.shape),
    )


def repeated(b: Builder) -> None:
    """An enlargement by repetition."""
    x = b.pick("float", rank=(1, 4), where=lambda v: v.size <= 512)
    axis = b.rng.randrange(x.rank)
    y = b.add("jnp.repeat({0}, {n}, axis={axis})", x, n=b.choice((2, 3)), axis=axis)
    if x.rank == 4 and axis == 1 and b.chance(0.7):
        b.add("jnp.repeat({0}, {n}, axis=2)", y, n=b.choice((2, 2, 3)))


def rolled(b: Builder) -> None:
    x = b.pick("any", rank=(1, 3), where=lambda v: v.size > 0)
    b.add("jnp.roll({0}, {n}, axis={axis})", x, n=b.rng.randint(-2, 2), axis=b.rng.randrange(x.rank))


def shuffled(b: Builder) -> None:
    """A reshape, a transpose and a reshape, as shuffles of channels and pixels and heads are."""
    x = b.pick("float", rank=(2, 4), where=lambda v: v.shape[-1] % 2 == 0 and v.size > 0)
    lead = x.shape[:-1]
    y = b.add("{0}.reshape({shape})", x, shape=(*lead, 2, x.shape[-1] // 2))
    order = list(range(y.rank))
    i, j = b.rng.sample(range(y.rank), 2)
    order[i], order[j] = order[j], order[i]
    z = b.add("lax.transpose({0}, {order})", y, order=tuple(order))
    if b.chance(0.6):
        b.add(
            "{0}.reshape({shape})",
            z,
            shape=(math.prod(z.shape[:-1]), z.shape[-1]) if b.chance(0.5) else (z.shape[0], -1),
        )


OPERATIONS = {
    reshape: 2, flatten: 0.5, transpose: 2, squeeze: 0.6, broadcast: 1, pad: 1, pads: 0.6, slice_: 1, concatenate: 1.5,
    stacking: 0.4, splitting: 0.7, reverse: 0.5, iota: 0.3, filled: 0.3, tiled: 0.3, repeated: 0.6, rolled: 0.3,
    shuffled: 0.6,
}  # fmt: skip
