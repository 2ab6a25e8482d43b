"""Slices at places that the program computes, gathers and scatters."""

from __future__ import annotations

from ..builder import Builder

MODES = ("fill", "clip", "promise_in_bounds")


def dynamic_slice(b: Builder) -> None:
    x = b.pick("any", rank=(1, 3))
    sizes = tuple(b.rng.randint(0 if b.chance(0.1) else min(1, d), d) for d in x.shape)
    begins = [b.argument((), "int32", low=-2, high=9) for _ in x.shape]
    places = ", ".join(f"{{{i + 1}}}" for i in range(x.rank))
    b.add(f"lax.dynamic_slice({{0}}, ({places},), {{sizes}})", x, *begins, sizes=sizes)


def dynamic_update_slice(b: Builder) -> None:
    x = b.pick("any", rank=(1, 3))
    update = b.like([b.rng.randint(0 if b.chance(0.1) else min(1, d), d) for d in x.shape], x.dtype)
    begins = [b.argument((), "int32", low=-2, high=9) for _ in x.shape]
    places = ", ".join(f"{{{i + 2}}}" for i in range(x.rank))
    b.add(f"lax.dynamic_update_slice({{0}}, {{1}}, ({places},))", x, update, *begins)


def take(b: Builder) -> None:
    x = b.pick("any", rank=(1, 4), where=lambda v: v.size > 0)
    axis = b.rng.randrange(x.rank)
    out = b.chance(0.2)
    index = b.argument(
        b.shape((0, 2)), "int32", low=-x.shape[axis] - 2 if out else 0, high=x.shape[axis] + (2 if out else 0)
    )
    b.wild("jnp.take({0}, {1}, axis={axis}, mode={mode})", x, index, axis=axis, mode=b.choice(("fill", "clip", "wrap")))


def embedding(b: Builder) -> None:
    table = b.like((b.choice((4, 7, 16)), b.choice((1, 4, 8))), "float32")
    b.add("{0}[{1}]", table, b.argument(b.shape((1, 2)), "int32", low=0, high=table.shape[0]))


def indexed(b: Builder) -> None:
    x = b.pick("any", rank=(2, 4), where=lambda v: v.size > 0)
    rows = b.argument((b.rng.randint(1, 4),), "int32", low=0, high=x.shape[0])
    columns = b.argument(rows.shape, "int32", low=-1, high=x.shape[1])
    b.wild(
        b.choice(
            (
                "{0}[{1}, {2}]",
                "{0}[{1}[:, None], {2}]",
                "{0}[:, {2}]",
                "{0}.at[{1}, {2}].get(mode='clip')",
                "{0}.at[{1}].get(mode='fill')",
            )
        ),
        x,
        rows,
        columns,
    )


def along_axis(b: Builder) -> None:
    x = b.pick("any", rank=(1, 3), where=lambda v: v.size > 0)
    axis = b.rng.randrange(x.rank)
    b.wild(
        "jnp.take_along_axis({0}, {1}, axis={axis})",
        x,
        b.argument(x.shape, "int32", low=0, high=x.shape[axis]),
        axis=axis,
    )


def gather(b: Builder) -> None:
    x = b.pick("any", rank=(2, 3), where=lambda v: v.size > 0)
    count = b.rng.randint(1, 3)
    index = b.argument((count, 1), "int32", low=-1, high=x.shape[0] + 1)
    sizes = (1, *(b.rng.randint(1, d) for d in x.shape[1:]))
    b.wild(
        "lax.gather({0}, {1}, lax.GatherDimensionNumbers({offset}, (0,), (0,)), {sizes}, mode={mode})",
        x,
        index,
        offset=tuple(range(1, x.rank)),
        sizes=sizes,
        mode=b.choice(("fill", "clip")),
    )


def scatter(b: Builder) -> None:
    """Distinct places, for which comes last is not said where places repeat."""
    x = b.pick("any", rank=(1, 3), where=lambda v: v.size > 0)
    count = b.rng.randint(1, x.shape[0])
    places = tuple(b.rng.sample(range(x.shape[0]), count))
    updates = b.like((count, *x.shape[1:]), x.dtype)
    b.add("{0}.at[np.array({places})].set({1})", x, updates, places=places)


def scattered(b: Builder) -> None:
    x = b.pick("number", rank=(1, 3), where=lambda v: v.size > 0)
    methods = ["add", "subtract", "multiply"] + ([] if x.is_a("complex") else ["min", "max"])
    index = b.argument((b.rng.randint(1, 5),), "int32", low=-1, high=x.shape[0] + 1)
    method = b.choice(methods)
    add = b.wild if method == "multiply" else b.add
    add(
        f"{{0}}.at[{{1}}].{method}({{2}}, mode={{mode}})",
        x,
        index,
        b.like((index.shape[0], *x.shape[1:]), x.dtype),
        mode=b.choice(("drop", "clip")),
    )


def scatter_general(b: Builder) -> None:
    x = b.pick("float", rank=(2, 3), where=lambda v: v.size > 0)
    count = b.rng.randint(1, 3)
    index = b.argument((count, 1), "int32", low=0, high=x.shape[0])
    window = tuple(b.rng.randint(1, d) for d in x.shape[1:])
    updates = b.like((count, *window), x.dtype)
    method = b.choice(("scatter_add", "scatter_sub", "scatter_min", "scatter_max", "scatter_mul"))
    add = b.wild if method == "scatter_mul" else b.add
    add(
        f"lax.{method}({{0}}, {{1}}, {{2}}, lax.ScatterDimensionNumbers({{dims}}, (0,), (0,)))",
        x,
        index,
        updates,
        dims=tuple(range(1, x.rank)),
    )


def segments(b: Builder) -> None:
    x = b.pick("float", rank=(1, 2), where=lambda v: v.size > 0)
    b.add("jax.ops.segment_sum({0}, {1}, num_segments={n})", x, b.argument((x.shape[0],), "int32", low=0, high=3), n=3)


def one_hot(b: Builder) -> None:
    b.add("jax.nn.one_hot({0}, {n})", b.argument(b.shape((1, 2)), "int32", low=-1, high=6), n=b.choice((3, 5, 8)))


def triangle(b: Builder) -> None:
    b.add(b.choice(("jnp.tril({0})", "jnp.triu({0}, 1)")), b.pick("number", rank=(2, 3)))


OPERATIONS = {
    dynamic_slice: 0.8, dynamic_update_slice: 0.8, take: 0.6, embedding: 0.5, indexed: 0.6, along_axis: 0.3,
    gather: 0.4,    scatter: 0.5, scattered: 0.7, scatter_general: 0.3, segments: 0.2, one_hot: 0.3, triangle: 0.3,
}  # fmt: skip
