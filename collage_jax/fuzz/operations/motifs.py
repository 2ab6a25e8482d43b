"""What kernels are written for, in odd variants and near misses: another axis or constant, one reader more."""

from __future__ import annotations

from ..builder import Builder, Var
from .elementwise import TAME

CHANNELS = (1, 3, 4, 8, 8, 16, 16, 17, 24, 32, 48)
ACTIVATIONS = (
    "jax.nn.relu({0})",
    "jax.nn.relu({0})",
    "jnp.maximum({0}, 0)",
    "jnp.maximum(0.0, {0})",
    "lax.max({0}, lax.full_like({0}, 0.01))",
    "jnp.where({0} > 0, {0}, 0)",
    "jnp.where({0} >= 0, {0}, 0)",
    "jnp.where({0} < 0, {0}, 0)",
    "jnp.clip({0}, 0, 6)",
    "jnp.clip({0}, 0, 5)",
    "jnp.minimum(jnp.maximum({0}, 0), 6)",
    "jax.nn.relu6({0})",
    "jnp.tanh({0})",
    "jax.nn.gelu({0})",
    "jax.nn.gelu({0}, approximate=False)",
    "jax.nn.silu({0})",
    "{0} * lax.logistic(1.702 * {0})",
    "{0} * jax.nn.sigmoid({0})",
    "jax.nn.leaky_relu({0}, 0.2)",
    "jnp.where({0} > 0, {0}, 0.1 * {0})",
    "jnp.where({0} > 0, 0.1 * {0}, {0})",
    "jax.nn.elu({0})",
    "jax.nn.elu({0}, 0.5)",
    "jax.nn.sigmoid({0})",
    "1 / (1 + jnp.exp(-{0}))",
    "1 / (2 + jnp.exp(-{0}))",
    "jax.nn.softplus({0})",
    "jax.nn.hard_swish({0})",
    "jax.nn.hard_sigmoid({0})",
    "{0} * jax.nn.relu6({0} + 3) / 6",
    "{0} * jax.nn.relu6({0} + 2) / 6",
    "jax.nn.mish({0})",
    "{0} * jnp.tanh(jax.nn.softplus({0}))",
    "jnp.abs({0})",
    "jnp.square(jax.nn.relu({0}))",
    "0.5 * {0} * (1 + jnp.tanh(0.7978845608 * ({0} + 0.044715 * {0} ** 3)))",
    "0.5 * {0} * (1 + jnp.tanh(0.7978845608 * ({0} + 0.05 * {0} ** 3)))",
    "0.5 * {0} * (1 + lax.erf({0} / 1.4142135))",
    "0.5 * {0} * (1 + lax.erf({0} / 1.5))",
    "{0} * 0.5 * lax.erfc(-{0} * 0.70710678)",
    "-jax.nn.relu(-{0})",
    "jnp.exp(-jnp.abs({0}))",
)


def activated(b: Builder, x: Var) -> Var:
    return b.tame(b.choice(ACTIVATIONS), x) if b.chance(0.8) else x


def vector(b: Builder, x: Var, axis: int) -> tuple[str, Var]:
    """A vector along ``axis`` of ``x``, and how it is written as large as ``x``."""
    v = b.argument((x.shape[axis],), x.dtype)
    draw = b.rng.random()
    if axis == x.rank - 1 and draw < 0.4:
        return "{1}", v
    if draw < 0.6:
        return f"lax.broadcast_in_dim({{1}}, {x.shape}, ({axis},))", v
    ones = tuple(d if i == axis else 1 for i, d in enumerate(x.shape))
    return f"{{1}}.reshape({ones})", v


def wrong_axis(b: Builder, x: Var, axis: int) -> int:
    """Another axis, now and then."""
    return b.rng.randrange(x.rank) if b.chance(0.12) else axis


def tail(b: Builder, x: Var, channel: int) -> Var:
    """What follows a product or convolution."""
    whole = x
    for kind in b.rng.choices(
        ("bias", "scale", "residual", "act", "scalar", "norm", "gate", "cast"),
        (6, 2, 2, 5, 1, 1, 0.7, 0.4),
        k=b.rng.randint(0, 4),
    ):
        if kind in ("bias", "scale"):
            text, v = vector(b, x, wrong_axis(b, x, channel))
            sign = "*" if kind == "scale" else b.choice(("+", "+", "-"))
            x = b.add(b.choice((f"{{0}} {sign} {text}", f"{text} {sign} {{0}}")), x, v)
        elif kind == "residual":
            other = whole if b.chance(0.2) else b.like(x.shape, x.dtype)
            x = b.add(b.choice(("{0} + {1}", "{1} + {0}", "{1} - {0}", "{0} + 0.5 * {1}")), x, other)
        elif kind == "act":
            x = activated(b, x)
        elif kind == "scalar":
            x = b.add(b.choice(("{0} * 0.125", "{0} + 1.0", "2.0 - {0}", "{0} / 3.0", "-{0}")), x)
        elif kind == "norm":
            x = batch_normed(b, x, wrong_axis(b, x, channel))
        elif kind == "gate":
            x = b.add(
                "{0} * jax.nn.sigmoid({1})",
                x,
                whole if whole.shape == x.shape and b.chance(0.5) else b.like(x.shape, x.dtype),
            )
        elif kind == "cast" and str(x.dtype) in ("float32", "bfloat16"):
            x = b.add("{0}.astype({to})", x, to={"float32": "bfloat16", "bfloat16": "float32"}[str(x.dtype)])
        if b.chance(0.1):
            b.add(b.choice(("jnp.sum({0})", "{0} + 1", "lax.rev({0}, (0,))", "{0} * 2")), x)  # one reader more
    return x


def batch_normed(b: Builder, x: Var, axis: int) -> Var:
    mean, variance = b.argument((x.shape[axis],), x.dtype, "small"), b.argument((x.shape[axis],), x.dtype, "positive")
    finite = b.choice(("normal", "positive", "small"))  # docs/numerics.md: kernels may make NaN of an infinite scale
    scale, shift = b.argument((x.shape[axis],), x.dtype, finite), b.argument((x.shape[axis],), x.dtype)
    ones = tuple(d if i == axis else 1 for i, d in enumerate(x.shape))
    m, v, s, t = (
        f"{{{i}}}.reshape({ones})" if axis != x.rank - 1 or b.chance(0.5) else f"{{{i}}}" for i in range(1, 5)
    )
    eps = b.choice(("1e-5", "1e-3", "0.0"))
    text = b.choice(
        (
            f"({{0}} - {m}) * lax.rsqrt({v} + {eps}) * {s} + {t}",
            f"({{0}} - {m}) / jnp.sqrt({v} + {eps}) * {s} + {t}",
            f"({{0}} - {m}) * ({s} * lax.rsqrt({v} + {eps})) + {t}",
            f"({{0}} - {m}) / jnp.sqrt({v} + {eps})",
            f"{{0}} * ({s} * lax.rsqrt({v} + {eps})) + ({t} - {m} * {s} * lax.rsqrt({v} + {eps}))",
            f"({{0}} - {m}) * lax.rsqrt({v} + {eps}) + {s} * {t}",
            f"({{0}} + {m}) * lax.rsqrt({v} + {eps}) * {s} - {t}",
        )
    )
    return b.add(text, x, mean, variance, scale, shift)


def batch_norm(b: Builder) -> None:
    x = b.pick("float", rank=(2, 4), where=lambda v: v.size > 0 and not v.is_narrow)
    y = batch_normed(b, x, x.rank - 1 if b.chance(0.6) else b.rng.randrange(x.rank))
    activated(b, y)


def dense_chain(b: Builder) -> None:
    x = (
        b.pick("float", rank=(1, 3), where=lambda v: v.size > 0 and not v.is_narrow)
        if b.chance(0.5)
        else b.argument(
            (b.choice((1, 2, 4, 7, 16)), b.choice(CHANNELS)), b.choice(("float32",) * 7 + ("bfloat16", "float16"))
        )
    )
    for _ in range(b.rng.randint(1, 3)):
        n = b.choice(CHANNELS)
        if b.chance(0.2):
            y = b.add(
                "lax.dot_general({0}, {1}, ((({k},), (1,)), ((), ())))",
                x,
                b.argument((n, x.shape[-1]), x.dtype, "small"),
                k=x.rank - 1,
            )
        elif b.chance(0.1) and x.rank == 2:
            y = b.add("{1} @ {0}", x, b.argument((n, x.shape[0]), x.dtype, "small"))
        else:
            y = b.add("{0} @ {1}", x, b.argument((x.shape[-1], n), x.dtype, "small"))
        x = tail(b, y, y.rank - 1)


def gated(b: Builder) -> None:
    x = b.argument((b.choice((1, 3, 8)), b.choice((4, 8, 16))), "float32")
    n = b.choice((8, 16, 24))
    u, v = (b.add("{0} @ {1}", x, b.argument((x.shape[1], n), "float32", "small")) for _ in range(2))
    y = b.add(
        b.choice(
            (
                "jax.nn.silu({0}) * {1}",
                "{1} * jax.nn.gelu({0})",
                "jax.nn.sigmoid({0}) * {1}",
                "jax.nn.glu(jnp.concatenate([{0}, {1}], -1))",
                "jax.nn.relu({0}) * {1} + {0}",
            )
        ),
        u,
        v,
    )
    b.add("{0} @ {1}", y, b.argument((y.shape[1], 8), "float32", "small"))


def softmax(b: Builder) -> None:
    x = b.pick("float", rank=(1, 4), where=lambda v: v.size > 0 and not v.is_narrow)
    axis = x.rank - 1 if b.chance(0.6) else b.rng.randrange(x.rank)
    other = b.rng.randrange(x.rank) if b.chance(0.15) else axis
    scale = b.choice(("{0}", "{0}", "{0} * 0.125", "{0} / 8.0", "2 * {0}"))
    x = b.add(scale, x) if scale != "{0}" else x
    b.tame(
        b.choice(
            (
                "jax.nn.softmax({0}, axis={axis})",
                "jax.nn.log_softmax({0}, axis={axis})",
                ("jnp.exp({0} - jnp.max({0}, axis={axis}, keepdims=True))"),
                (
                    "(lambda e: e / jnp.sum(e, axis={axis}, keepdims=True))(jnp.exp({0} "
                    "- jnp.max({0}, axis={other}, keepdims=True)))"
                ),
                (
                    "(lambda e: e / jnp.sum(e, axis={other}, keepdims=True))(jnp.exp({0} "
                    "- jnp.max({0}, axis={axis}, keepdims=True)))"
                ),
                (
                    "(lambda e: e / (1 + jnp.sum(e, axis={axis}, keepdims=True)))(jnp.exp({0} "
                    "- jnp.max({0}, axis={axis}, keepdims=True)))"
                ),
                "(lambda e: e / jnp.sum(e, axis={axis}, keepdims=True))(jnp.exp(jnp.tanh({0})))",
                (
                    "(lambda d: d - jnp.log(jnp.sum(jnp.exp(d), axis={axis}, keepdims=True)))({0} "
                    "- lax.stop_gradient(jnp.max({0}, axis={axis}, keepdims=True)))"
                ),
                "jax.nn.softmax({0}.astype('float32'), axis={axis}).astype({0}.dtype)",
                "jax.nn.softmax({0}, axis=None)",
                (
                    "(lambda e: (e / jnp.sum(e, axis={axis}, keepdims=True), e)[0] + "
                    "0.1 * e)(jnp.exp({0} - jnp.max({0}, axis={axis}, keepdims=True)))"
                ),
            )
        ),
        x,
        axis=axis,
        other=other,
    )


def layer_norm(b: Builder) -> None:
    x = b.pick("float", rank=(1, 4), where=lambda v: v.size > 0 and not v.is_narrow)
    axis = x.rank - 1 if b.chance(0.75) else b.rng.randrange(x.rank)
    other = b.rng.randrange(x.rank) if b.chance(0.1) else axis
    eps = b.choice(("1e-5", "1e-6", "1e-3", "0.1"))
    mean, var = "jnp.mean({0}, axis={axis}, keepdims=True)", "jnp.var({0}, axis={other}, keepdims=True)"
    centred = f"({{0}} - {mean})"
    root = b.choice(
        (
            f"{centred} * lax.rsqrt({var} + {eps})",
            f"{centred} / jnp.sqrt({var} + {eps})",
            f"{centred} / (jnp.sqrt({var}) + {eps})",
            f"(lambda d: d * lax.rsqrt(jnp.mean(d * d, axis={{other}}, keepdims=True) + {eps}))({centred})",
            f"(lambda d: d * lax.rsqrt(jnp.mean(jnp.square(d), axis={{axis}}, keepdims=True) + {eps}))({centred})",
            (
                f"(lambda m: ({{0}} - m) * lax.rsqrt(jnp.maximum(jnp.mean({{0}} * "
                f"{{0}}, axis={{axis}}, keepdims=True) - m * m, 0) + {eps}))({mean})"
            ),
            f"{{0}} * lax.rsqrt(jnp.mean(jnp.square({{0}}), axis={{axis}}, keepdims=True) + {eps})",
            f"{{0}} * lax.rsqrt(jnp.mean(jnp.square({{0}}), axis={{other}}, keepdims=True) + {eps})",
            f"{{0}} / jnp.sqrt(jnp.sum(jnp.square({{0}}), axis={{axis}}, keepdims=True) + {eps})",
            f"jax.nn.standardize({{0}}, axis={{axis}}, epsilon={eps})",
            f"(lambda d: d * lax.rsqrt(jnp.mean(d * d, axis={{axis}}, keepdims=True) + {eps}) + d)({centred})",
        )
    )
    y = b.add(root, x, axis=axis, other=other)
    if b.chance(0.7):
        text, v = vector(b, y, wrong_axis(b, y, axis))
        y = b.add(f"{{0}} * {text}", y, v)
    if b.chance(0.6):
        text, v = vector(b, y, wrong_axis(b, y, axis))
        y = b.add(f"{{0}} + {text}", y, v)
    if b.chance(0.2):
        activated(b, y)


def update(b: Builder) -> None:
    """A step of gradient descent, with momentum or without."""
    w = b.pick("float", where=lambda v: not v.is_narrow)
    g = b.like(w.shape, w.dtype)
    if b.chance(0.5):
        b.add("{0} - 0.1 * {1}", w, g)
        return
    m = b.like(w.shape, w.dtype)
    n = b.add("0.9 * {0} + 0.1 * {1}", m, g)
    b.add("{0} - 0.01 * {1} / (jnp.sqrt(0.99 * lax.abs({2}) + 0.01 * {1} * {1}) + 1e-3)", w, n, m)


def loss(b: Builder) -> None:
    x = b.pick("float", rank=(2, 2), where=lambda v: v.size > 0 and not v.is_narrow)
    labels = b.argument(x.shape[:1], "int32", low=0, high=x.shape[1])
    b.add(
        b.choice(
            (
                "-jnp.mean(jnp.take_along_axis(jax.nn.log_softmax({0}), {1}[:, None], axis=-1))",
                ("jnp.sum(-jax.nn.one_hot({1}, {n}) * jax.nn.log_softmax({0}))"),
                "jnp.mean(jnp.square({0} - jax.nn.one_hot({1}, {n})))",
            )
        ),
        x,
        labels,
        n=x.shape[1],
    )


def activation(b: Builder) -> None:
    x = b.pick("float", rank=(1, 4), where=lambda v: not v.is_narrow)
    b.tame(b.choice(ACTIVATIONS), x)


def gradient_of_activation(b: Builder) -> None:
    x = b.pick("float", rank=(1, 4), where=lambda v: not v.is_narrow)
    act = b.choice((*ACTIVATIONS, *(name + "({0})" for name in TAME))).replace("{0}", "p")
    b.add(f"jax.vjp(lambda p: {act}, {{0}})[1]({{1}})[0]", x, b.like(x.shape, x.dtype))


OPERATIONS = {
    batch_norm: 1,
    dense_chain: 4,
    gated: 0.8,
    softmax: 2.5,
    layer_norm: 2.5,
    update: 0.8,
    loss: 0.8,
    activation: 1.5,
    gradient_of_activation: 1,
}
