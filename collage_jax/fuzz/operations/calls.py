"""Functions within functions: nested jit, rules for derivatives, derivatives, batches; random bits."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ..builder import Builder, Var
from ..program import Function, Raw


def _inner(
    b: Builder,
    operands: list[Var],
    decorator: str = "",
    closed: bool = False,
    steps: tuple[int, int] = (1, 3),
    tail: Callable[[str], Sequence[str]] = lambda name: (),
) -> Function:
    """A function of ``operands``; ``closed``: it reads nothing that lies around it, as rules of derivatives may not."""

    def body(inner: Builder, variables: list[Var]) -> list[Var]:
        inner.is_closed = closed
        inner.write(inner.rng.randint(*steps))
        made = [v for v in inner.vars if v not in variables]
        return inner.rng.sample(made, min(len(made), inner.rng.randint(1, 2))) or variables[:1]

    return b.function([(v.shape, v.dtype) for v in operands], body, decorator=decorator, tail=tail)


def nested(b: Builder) -> None:
    operands = [b.pick("any" if b.chance(0.3) else "float") for _ in range(b.rng.randint(1, 2))]
    decorator = b.choice(("@jax.jit", "@jax.jit", "@jax.checkpoint", "@jax.named_call", "@jax.remat"))
    g = _inner(b, operands, decorator)
    b.add_many("{g}({all})", *operands, g=g)
    if b.chance(0.4):  # the same function again, on others
        b.add_many("{g}({all})", *(b.like(v.shape, v.dtype) for v in operands), g=g)


def composite(b: Builder) -> None:
    x = b.pick("float")
    b.add_many("lax.composite({g}, 'my.composite')({0})", x, g=_inner(b, [x], closed=True))


def custom_jvp(b: Builder) -> None:
    x = b.pick("float", where=lambda v: not v.is_narrow)

    def tail(name: str) -> tuple[str, ...]:
        return (
            f"{name}.defjvp(lambda primals, tangents: ({name}(*primals), tuple(",
            "    jnp.zeros_like(y) + jnp.sum(tangents[0]).astype(y.dtype)",
            "    if jnp.issubdtype(y.dtype, jnp.floating) else np.zeros(y.shape, jax.dtypes.float0)",
            f"    for y in {name}(*primals))))",
        )

    b.add_many("{g}({0})", x, g=_inner(b, [x], "@jax.custom_jvp", closed=True, tail=tail))


def custom_vjp(b: Builder) -> None:
    x = b.pick("float", where=lambda v: not v.is_narrow)

    def tail(name: str) -> tuple[str, ...]:
        return (f"{name}.defvjp(lambda p: ({name}(p), p), lambda p, cs: (jnp.tanh(p) * 0.5,))",)

    b.add_many("{g}({0})", x, g=_inner(b, [x], "@jax.custom_vjp", closed=True, tail=tail))


def total(name: str = "g") -> str:
    """A function of one number made of function ``name``."""
    terms = f"jnp.sum(jnp.real(y).astype('float32')) for y in {{{name}}}(*p)"
    return f"lambda *p: sum({terms} if jnp.issubdtype(y.dtype, jnp.inexact))"


def gradient(b: Builder) -> None:
    operands = [b.pick("float", where=lambda v: not v.is_narrow) for _ in range(b.rng.randint(1, 2))]
    g = _inner(b, operands, steps=(2, 4))
    b.add_many(f"jax.grad({total()}, {{which}})({{all}})", *operands, g=g, which=tuple(range(len(operands))))


def batched(b: Builder) -> None:
    x = b.pick("float", rank=(1, 3), where=lambda v: v.size > 0)
    axis = b.rng.randrange(x.rank)
    shape = x.shape[:axis] + x.shape[axis + 1 :]
    g = b.function([(shape, x.dtype)], lambda i, vs: (i.write(2), [i.choice(i.vars)])[1])
    b.add_many("jax.vmap({g}, in_axes={axis}, out_axes={out})({0})", x, g=g, axis=axis, out=0)


def random_bits(b: Builder) -> None:
    shape = b.shape((0, 3))
    seed = b.argument((), "int32", low=0, high=100)
    key = b.choice(
        (
            "jax.random.key({0})",
            "jax.random.fold_in(jax.random.key({0}), 3)",
            "jax.random.split(jax.random.key({0}))[1]",
            "jax.random.PRNGKey({0})",
        )
    )
    key = key.replace("({0})", "({0}, impl={impl})") if b.chance(0.3) else key
    what = b.choice(
        ("uniform", "normal", "bernoulli", "bits", "randint", "permutation", "gamma", "truncated", "categorical")
    )
    texts = {
        "uniform": "jax.random.uniform(KEY, {shape})", "normal": "jax.random.normal(KEY, {shape})",
        "bernoulli": "jax.random.bernoulli(KEY, 0.5, {shape})", "bits": "jax.random.bits(KEY, {shape})",
        "randint": "jax.random.randint(KEY, {shape}, 0, 9)", "permutation": "jax.random.permutation(KEY, 7)",
        "gamma": "jax.random.gamma(KEY, 2.0, (2,))", "truncated": "jax.random.truncated_normal(KEY, -1, 1, {shape})",
        "categorical": "jax.random.categorical(KEY, jnp.zeros(5), shape={shape})",
    }  # fmt: skip
    b.add(texts[what].replace("KEY", key), seed, shape=shape, impl=b.choice(("rbg", "unsafe_rbg", "threefry2x32")))


def raw_bits(b: Builder) -> None:
    seed = b.argument((4,), "uint32", low=0, high=1 << 30)
    algorithm = b.choice(("lax.RandomAlgorithm.RNG_PHILOX", "lax.RandomAlgorithm.RNG_DEFAULT"))
    b.add_many(
        "lax.rng_bit_generator({0}, {shape}, 'uint32', {algorithm})",
        seed,
        shape=b.shape((0, 2)),
        algorithm=Raw(algorithm),
    )


def dropout(b: Builder) -> None:
    x = b.pick("float", rank=(1, 4))
    seed = b.argument((), "int32", low=0, high=100)
    b.add("jnp.where(jax.random.bernoulli(jax.random.key({1}), 0.8, {0}.shape), {0} / 0.8, 0)", x, seed)


def keys(b: Builder) -> None:
    """Keys of random numbers as arrays among others, given back."""
    seed = b.argument((), "int32", low=0, high=100)
    key = b.add("jax.random.split(jax.random.key({0}), {n})", seed, n=b.rng.randint(1, 3))
    b.add("jax.random.key_data(" + b.choice(("{0}", "jax.random.clone({0})")) + ")", key)
    b.vars = [v for v in b.vars if v.name != key.name]


def linear_solve(b: Builder) -> None:
    x = b.argument((4,), "float32", "positive")
    b.add(
        "lax.custom_linear_solve(lambda p: {0} * p, {1}, lambda matvec, c: c / {0}, symmetric=True)",
        x,
        b.like((4,), "float32"),
    )


def effects(b: Builder) -> None:
    """What must keep its place: callbacks without side effects."""
    x = b.pick("float", rank=(0, 3), where=lambda v: str(v.dtype) == "float32")
    b.add(f"jax.pure_callback(lambda p: np.asarray(p) * 2, jax.ShapeDtypeStruct({x.shape}, 'float32'), {{0}})", x)


def references(b: Builder) -> None:
    """A mutable array within the function."""
    x = b.pick("float", rank=(1, 2), where=lambda v: v.size > 0)
    doubled = "(lambda r: (r.__setitem__(0, r[0] * 2), r[...])[1])(jax.new_ref({0}))"
    b.add("{g}({0})", x, g=b.function([(x.shape, x.dtype)], lambda i, vs: [i.add(doubled, vs[0])], form="{0}"))


def collective(b: Builder) -> None:
    """Operations between devices, on a mesh of the one that there is."""
    x = b.pick("float", rank=(1, 3), where=lambda v: v.size > 0)
    inner = b.choice((
        "lax.psum(p, 'i')", "lax.pmax(p, 'i')", "lax.pmin(p, 'i')", "lax.all_gather(p, 'i')",
        "lax.ppermute(p, 'i', [(0, 0)])", "lax.psum_scatter(p, 'i', tiled=True)",
        "lax.all_to_all(p, 'i', 0, 0, tiled=True)", "jnp.tanh(p) + lax.axis_index('i')", "jax.nn.relu(p) @ p.T",
    ))  # fmt: skip
    specs = "in_specs=jax.sharding.PartitionSpec(), out_specs=jax.sharding.PartitionSpec(), check_vma=False"
    b.add(f"jax.shard_map(lambda p: {inner}, mesh=jax.make_mesh((1,), ('i',)), {specs})({{0}})", x)


def placed_arrays(b: Builder) -> None:
    """Arrays put where they are already."""
    x = b.pick("float")
    b.add(b.choice((
        "jax.device_put({0}) * 2",
        "lax.with_sharding_constraint({0}, jax.sharding.SingleDeviceSharding(jax.devices()[0]))",
        "lax.platform_dependent({0}, cpu=lax.sin, default=lax.cos)",
    )), x)  # fmt: skip


def ruled(b: Builder) -> None:
    """Rules for batches, and linear functions with their transposes given."""
    x = b.pick("float", rank=(1, 2))
    if b.chance(0.5):
        linear = "lambda r, p: p * r, lambda r, c: c * r"
        b.add(f"jax.custom_derivatives.linear_call({linear}, {{0}}, {{1}})", x, b.like(x.shape, x.dtype))
        return
    g = b.function(
        [(x.shape, x.dtype)],
        lambda i, vs: [i.tame("lax.tanh({0})", vs[0])],
        form="{0}",
        decorator="@jax.custom_batching.custom_vmap",
        tail=lambda name: (f"{name}.def_vmap(lambda size, batched, p: (jnp.tanh(p), batched[0]))",),
    )
    b.add("{g}({0})", x, g=g)


OPERATIONS = {
    nested: 1.5, composite: 0.2, custom_jvp: 0.5, custom_vjp: 0.5, gradient: 1, batched: 0.8, random_bits: 0.4,
    raw_bits: 0.15, dropout: 0.4, keys: 0.1, linear_solve: 0.1, collective: 0.25,
    placed_arrays: 0.15, ruled: 0.2, effects: 0.05, references: 0.05,
}  # fmt: skip
