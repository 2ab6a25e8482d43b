"""Convolutions, pooling and what follows them, and training steps, as networks for images have them."""

from __future__ import annotations

from ..builder import Builder, Var
from .motifs import ACTIVATIONS, CHANNELS, batch_normed, tail
from .windows import convolution


def conv_block(b: Builder) -> None:
    x = convolution(b)
    # The channels of the result are where the dimension numbers say.
    numbers = b.statements[-1].params["numbers"][2]
    y = tail(b, x, numbers.index("C"))
    if b.chance(0.25) and y.rank == 4 and y.size and min(y.shape) > 0:
        conv_after(b, y)


def conv_after(b: Builder, x: Var) -> Var:
    out = b.choice(CHANNELS)
    side = b.choice((1, 1, 3))
    w = b.argument((side, side, x.shape[-1], out), x.dtype, "small")
    padding = b.choice(("SAME", "VALID")) if min(x.shape[1:3]) >= side else "SAME"
    text = "lax.conv_general_dilated({0}, {1}, {strides}, {padding}, dimension_numbers=('NHWC', 'HWIO', 'NHWC'))"
    y = b.add(text, x, w, strides=(b.choice((1, 1, 2)),) * 2, padding=padding)
    return tail(b, y, 3)


def image_net(b: Builder) -> None:
    """A few layers of a network for images, in the shapes kernels like."""
    dtype = b.choice(("float32",) * 7 + ("bfloat16",))
    side, channels = b.choice((5, 6, 7, 8, 11, 14)), b.choice(CHANNELS)
    x = b.argument((b.choice((1, 1, 2)), side, b.choice((side, 4, 9)), channels), dtype)
    for _ in range(b.rng.randint(1, 3)):
        draw = b.rng.random()
        if draw < 0.45:
            x = conv_after(b, x)
        elif draw < 0.6:
            mult = b.choice((1, 1, 2)) if x.shape[-1] <= 24 else 1
            w = b.argument((3, 3, 1, x.shape[-1] * mult), x.dtype, "small")
            y = b.add(
                (
                    "lax.conv_general_dilated({0}, {1}, {strides}, 'SAME', "
                    "dimension_numbers=('NHWC', 'HWIO', 'NHWC'), feature_group_count={g})"
                ),
                x,
                w,
                strides=(b.choice((1, 2)),) * 2,
                g=x.shape[-1],
            )
            x = tail(b, y, 3)
        elif draw < 0.7 and x.shape[-1] % 4 == 0 and x.shape[-1] > 4:
            w = b.argument((3, 3, x.shape[-1] // 4, x.shape[-1]), x.dtype, "small")
            y = b.add(
                (
                    "lax.conv_general_dilated({0}, {1}, (1, 1), 'SAME', "
                    "dimension_numbers=('NHWC', 'HWIO', 'NHWC'), feature_group_count=4)"
                ),
                x,
                w,
            )
            x = tail(b, y, 3)
        elif draw < 0.85 and min(x.shape[1:3]) >= 2:
            x = pooled(b, x)
        elif draw < 0.92:
            others = [b.argument((*x.shape[:3], b.choice(CHANNELS)), x.dtype) for _ in range(b.rng.randint(1, 2))]
            x = b.add("jnp.concatenate([{all}], axis={axis})", x, *others, axis=3)
        else:
            x = batch_normed(b, x, 3)
    if b.chance(0.4):
        y = b.add(
            b.choice(
                (
                    "jnp.mean({0}, axis=(1, 2))",
                    "jnp.max({0}, axis=(1, 2))",
                    "{0}.mean((1, 2), keepdims=True)",
                    "jnp.sum({0}, axis=(1, 2)) / 49.0",
                    "jnp.mean({0}, axis=(2, 3))",
                )
            ),
            x,
        )
        if y.rank == 2:
            tail(b, b.add("{0} @ {1}", y, b.argument((y.shape[1], b.choice((3, 10, 16))), y.dtype, "small")), 1)


def pooled(b: Builder, x: Var) -> Var:
    side, stride = b.choice((2, 2, 3)), b.choice((1, 2, 2))
    side = min(side, *x.shape[1:3])
    padding = b.choice(("'SAME'", "'VALID'", "((0, 0), (1, 1), (1, 1), (0, 0))", "((0, 0), (0, 1), (0, 1), (0, 0))"))
    window, strides = (1, side, side, 1), (1, stride, stride, 1)
    draw = b.rng.random()
    if draw < 0.5:
        start = b.choice(("-jnp.inf", "-jnp.inf", "-jnp.inf", "0.0"))
        return (
            b.add(
                f"lax.reduce_window({{0}}, jnp.array({start}, {{0}}.dtype), lax.max, {window}, {strides}, {padding})", x
            )
            if "bf" in str(x.dtype) or "16" in str(x.dtype)
            else b.add(f"lax.reduce_window({{0}}, {start}, lax.max, {window}, {strides}, {padding})", x)
        )
    zero = "0.0" if str(x.dtype) in ("float32", "float64") else f"np.zeros((), {str(x.dtype)!r})[()]"
    total = f"lax.reduce_window({{0}}, {zero}, lax.add, {window}, {strides}, {padding})"
    if draw < 0.75:
        return b.add(f"{total} {b.choice(('/', '*'))} {side * side if b.chance(0.8) else side}", x)
    return b.add(
        (
            f"{total} / lax.reduce_window(jnp.ones({x.shape}, {{0}}.dtype), "
            f"{zero}, lax.add, {window}, {strides}, {padding})"
        ),
        x,
    )


def upsampled(b: Builder) -> None:
    x = b.argument((1, b.choice((3, 5)), b.choice((2, 4)), b.choice(CHANNELS)), "float32")
    texts = (
        "jnp.repeat(jnp.repeat({0}, 2, axis=1), 2, axis=2)",
        "jnp.repeat({0}, 3, axis=1)",
        "jax.image.resize({0}, {shape}, 'nearest')",
        "jax.image.resize({0}, {shape}, 'bilinear')",
    )
    y = b.add(b.choice(texts), x, shape=(1, 2 * x.shape[1], 2 * x.shape[2], x.shape[3]))
    if b.chance(0.6):
        conv_after(b, y)


def training_step(b: Builder) -> None:
    """Gradients of a small network and the step down them."""
    conv = b.chance(0.5)
    act = b.choice(ACTIVATIONS[:28]).replace("{0}", "h")
    if conv:
        c, o = b.choice((1, 3, 4, 8)), b.choice((4, 8, 16))
        side = b.choice((1, 3))
        x, w = (
            b.argument((b.choice((1, 2)), b.choice((5, 8)), b.choice((4, 7)), c), "float32"),
            b.argument((side, side, c, o), "float32", "small"),
        )
        groups = c if b.chance(0.2) and o % c == 0 else 1
        w = b.argument((side, side, c // groups, o), "float32", "small") if groups > 1 else w
        layer = (
            f"lax.conv_general_dilated(x, w, {(b.choice((1, 2)),) * 2}, {b.choice(('SAME', 'VALID'))!r}, "
            f"dimension_numbers=('NHWC', 'HWIO', 'NHWC'), feature_group_count={groups})"
        )
        pool = b.choice(
            (
                "h",
                "h",
                "lax.reduce_window(h, -jnp.inf, lax.max, (1, 2, 2, 1), (1, 2, 2, 1), 'VALID')",
                "lax.reduce_window(h, 0., lax.add, (1, 2, 2, 1), (1, 2, 2, 1), 'SAME') / 4",
            )
        )
    else:
        x, w = b.argument((b.choice((1, 4, 8)), b.choice(CHANNELS)), "float32"), None
        o, pool = (
            b.choice(CHANNELS),
            b.choice(
                (
                    "h",
                    "jax.nn.softmax(h)",
                    "(h - h.mean(-1, keepdims=True)) * lax.rsqrt(h.var(-1, keepdims=True) + 1e-3)",
                )
            ),
        )
        w = b.argument((x.shape[1], o), "float32", "small")
        layer = "x @ w"
    c = b.argument((o,), "float32", "small")
    network = f"lambda w, c, x: jnp.sum(jnp.sin((lambda h: {pool})((lambda h: {act})({layer} + c))))"
    form = b.choice(("jax.grad", "jax.value_and_grad"))
    take = "[1]" if form.endswith("value_and_grad") else ""
    gw, gc, _ = b.add_many(f"{form}({network}, (0, 1, 2))({{0}}, {{1}}, {{2}}){take}", w, c, x)
    b.add("{0} - 0.1 * {1}", w, gw)
    if b.chance(0.5):
        b.add("{0} - 0.1 * {1}", c, gc)


OPERATIONS = {conv_block: 4, image_net: 4, upsampled: 0.5, training_step: 2}
