"""Convolutions and windows: every stride, padding, dilation, group and order of dimensions."""

from __future__ import annotations

from ..builder import Builder, Misfit, Var
from ..program import Raw

LETTERS = {1: "W", 2: "HW", 3: "DHW"}


def _padding(b: Builder, sizes: list[int]) -> object:
    draw = b.rng.random()
    if draw < 0.35:
        return "SAME"
    if draw < 0.5:
        return "VALID"
    if draw < 0.55:
        return "SAME_LOWER"
    # Nothing cut off on one side of an axis with zeros on the other: there XLA reads what is beside its operand.
    if b.chance(0.15):
        return tuple((-b.rng.randint(0, 1), -b.rng.randint(0, 1)) for _ in sizes)
    most = [min(n - 1, n // 2 + 1) for n in sizes]  # so that a gradient's padding is like that, too
    return tuple((b.rng.randint(0, n), b.rng.randint(0, n)) for n in most)


def _numbers(b: Builder, spatial: str) -> tuple[str, str, str]:
    """Dimension numbers: channels last, channels first, or in any order."""
    draw = b.rng.random()
    if draw < 0.6:
        return f"N{spatial}C", f"{spatial}IO", f"N{spatial}C"
    if draw < 0.85:
        return f"NC{spatial}", f"OI{spatial}", f"NC{spatial}"
    names = (f"N{spatial}C", f"{spatial}IO", f"N{spatial}C")
    a, c, d = ("".join(b.rng.sample(n, len(n))) for n in names)
    return a, c, d


def convolution(b: Builder) -> Var:
    """A convolution of any kind."""
    count = b.choice((1, 2, 2, 2, 2, 3))
    spatial = LETTERS[count]
    dtype = b.choice(("float32",) * 12 + ("bfloat16", "float16") + (("float64",) * 3 if b.x64 else ()))
    kernel = [b.choice((1, 2, 3, 3, 3, 4, 5)) for _ in range(count)]
    if b.chance(0.3):
        kernel = [kernel[0]] * count
    image = [b.rng.randint(k, k + (8 if count < 3 else 4)) for k in kernel]
    groups, batch_groups = 1, 1
    draw = b.rng.random()
    channels_in, channels_out = b.choice((1, 2, 3, 4, 8, 16)), b.choice((1, 2, 3, 5, 8, 16, 24))
    if draw < 0.15:
        groups = b.choice((2, 3, 4))
        channels_in, channels_out = groups * b.choice((1, 2, 4)), groups * b.choice((1, 2, 4))
    elif draw < 0.25:
        groups = channels_in = b.choice((3, 4, 8, 16))
        channels_out = groups * b.choice((1, 1, 2))
    batch = b.choice((1, 1, 2, 3))
    if groups == 1 and b.chance(0.08):
        batch_groups = b.choice((2, 3))
        batch, channels_out = batch * batch_groups, batch_groups * b.choice((1, 2, 4))
    if b.chance(0.01):
        batch = 0
    numbers = _numbers(b, spatial)
    of = dict(zip(spatial, image, strict=True)) | {"N": batch, "C": channels_in}
    taps = dict(zip(spatial, kernel, strict=True)) | {"I": channels_in // groups, "O": channels_out}
    x = b.like([of[c] for c in numbers[0]], dtype)
    w = b.argument([taps[c] for c in numbers[1]], dtype)
    params: dict[str, object] = {
        "strides": tuple(b.choice((1, 1, 1, 2, 3)) for _ in range(count)) if b.chance(0.5) else (1,) * count,
        "padding": _padding(b, kernel),
        "numbers": numbers,
    }
    template = "lax.conv_general_dilated({0}, {1}, {strides}, {padding}, dimension_numbers={numbers}"
    if b.chance(0.15):
        template += ", lhs_dilation={lhs}"
        params["lhs"] = tuple(b.choice((1, 2, 2, 3)) for _ in range(count))
        if isinstance(params["padding"], str):
            params["padding"] = tuple((k - 1, k - 1) for k in kernel)
    if b.chance(0.15):
        template += ", rhs_dilation={rhs}"
        params["rhs"] = tuple(b.choice((1, 2, 2, 3)) for _ in range(count))
    if groups > 1:
        template, params["groups"] = template + ", feature_group_count={groups}", groups
    if batch_groups > 1:
        template, params["batch_groups"] = template + ", batch_group_count={batch_groups}", batch_groups
    if b.chance(0.1):
        template, params["precision"] = template + ", precision={precision}", Raw("lax.Precision.HIGHEST")
    if b.chance(0.08) and dtype in ("bfloat16", "float16"):
        template, params["wide"] = template + ", preferred_element_type={wide}", "float32"
    return b.add(template + ")", x, w, **params)


def any_convolution(b: Builder) -> None:
    convolution(b)


def convolution_of(b: Builder) -> None:
    """A convolution of something that is there already."""
    x = b.pick("float", rank=(3, 5), where=lambda v: v.size > 0 and str(v.dtype) in ("float32", "bfloat16", "float16"))
    spatial = LETTERS[x.rank - 2]
    kernel = [b.choice((1, 1, 3, 2)) for _ in spatial]
    w = b.argument((*kernel, x.shape[-1], b.choice((1, 4, 8, 16))), x.dtype)
    numbers = (f"N{spatial}C", f"{spatial}IO", f"N{spatial}C")
    b.add(
        "lax.conv_general_dilated({0}, {1}, {strides}, 'SAME', dimension_numbers={numbers})",
        x,
        w,
        strides=(b.choice((1, 1, 2)),) * len(kernel),
        numbers=numbers,
    )


def transposed(b: Builder) -> None:
    x = b.like((1, 5, 4, b.choice((2, 3, 8))), "float32")
    w = b.argument((b.choice((2, 3)), 3, x.shape[-1], b.choice((2, 4, 8))), "float32")
    b.add(
        "lax.conv_transpose({0}, {1}, {strides}, {padding}, dimension_numbers=('NHWC', 'HWIO', 'NHWC'))",
        x,
        w,
        strides=(b.choice((1, 2)), b.choice((1, 2, 3))),
        padding=b.choice(("SAME", "VALID")),
    )


def _window(b: Builder, x: Var) -> dict[str, object]:
    window = tuple(b.choice((1, 1, 2, 2, 3)) if d >= 3 else 1 for d in x.shape)
    if b.chance(0.5) and x.rank == 4:
        side = b.choice((2, 3))
        window = (1, min(side, x.shape[1]), min(side, x.shape[2]), 1)
    if any(w > d for w, d in zip(window, x.shape, strict=True)):
        raise Misfit("a window larger than what it slides over")
    strides = tuple(b.choice((1, 2, w)) for w in window)
    draw = b.rng.random()
    padding: object = b.choice(("SAME", "VALID"))
    if draw < 0.3:
        padding = tuple((b.rng.randint(0, w - 1), b.rng.randint(0, w - 1)) for w in window)
    return {"window": window, "strides": strides, "padding": padding}


def pooling(b: Builder) -> None:
    x = b.pick("real" if b.chance(0.2) else "float", rank=(1, 5), where=lambda v: v.size > 0 and max(v.shape) >= 2)
    params = _window(b, x)
    operation, start = b.choice(
        (("lax.max", "-jnp.inf"), ("lax.add", "0"), ("lax.min", "jnp.inf"), ("lax.mul", "1"), ("lax.max", "0"))
    )
    if x.is_a("int"):
        operation, start = b.choice((("lax.add", "0"), ("lax.max", f"jnp.iinfo({str(x.dtype)!r}).min")))
    if operation == "lax.mul":
        b.wild(
            (
                f"lax.reduce_window({{0}}, jnp.asarray({start}, {{0}}.dtype), "
                f"{operation}, {{window}}, {{strides}}, {{padding}})"
            ),
            x,
            **params,
        )
        return
    template = (
        f"lax.reduce_window({{0}}, jnp.asarray({start}, {{0}}.dtype)[()], "
        f"{operation}, {{window}}, {{strides}}, {{padding}}"
    )
    template = (
        template.replace("jnp.asarray(", "np.asarray(").replace("{0}.dtype", f"{str(x.dtype)!r}")
        if "jnp.iinfo" not in start
        else template
    )
    if x.dtype.name in ("bfloat16", "float16"):
        template = template.replace("np.asarray(", "jnp.asarray(")
    if b.chance(0.15):
        template, params["base"] = template + ", base_dilation={base}", tuple(b.choice((1, 2)) for _ in x.shape)
    if b.chance(0.15):
        template, params["holes"] = template + ", window_dilation={holes}", tuple(b.choice((1, 2)) for _ in x.shape)
    y = b.add(template + ")", x, **params)
    if operation == "lax.add" and x.is_a("float") and b.chance(0.6):
        count = 1
        for w in params["window"]:  # type: ignore[attr-defined]
            count *= w
        b.add("{0} " + b.choice(("/ {n}", "* (1 / {n})")), y, n=float(count if b.chance(0.8) else count + 1))


def general_window(b: Builder) -> None:
    x = b.pick("float", rank=(1, 4), where=lambda v: v.size > 0 and max(v.shape) >= 3)
    params = _window(b, x)
    b.add(
        "lax.reduce_window({0}, jnp.zeros((), {0}.dtype), lambda p, q: p + q * 1, {window}, {strides}, {padding})",
        x,
        **params,
    )


def window_gradient(b: Builder) -> None:
    """What gradients of pooling are made of."""
    x = b.pick("float", rank=(2, 4), where=lambda v: v.size > 0 and max(v.shape) >= 2)
    params = _window(b, x)
    operation = b.choice(("lax.max", "lax.min", "lax.add"))
    start = {"lax.max": "-jnp.inf", "lax.min": "jnp.inf", "lax.add": "0."}[operation]
    pooled = f"lambda p: lax.reduce_window(p, {start}, {operation}, {{window}}, {{strides}}, {{padding}})"
    draw = b.rng.random()
    if draw < 0.5:
        b.add(f"jax.vjp({pooled}, {{0}})[1](({pooled})({{0}}) * 0.5)[0]", x, **params)
    elif draw < 0.75:
        b.add(f"jax.jvp({pooled}, ({{0}},), ({{1}},))[1]", x, b.like(x.shape, x.dtype), **params)
    else:
        select = b.choice(("lax.ge", "lax.le"))
        params["padding"] = "VALID"
        b.add(
            f"lax.select_and_scatter_add_p.bind(({pooled})({{0}}), {{0}}, select_prim={select}_p, "
            "window_dimensions={window}, window_strides={strides}, padding={pads})",
            x,
            **params,
            pads=tuple((0, 0) for _ in x.shape),
        )


def gathered_window(b: Builder) -> None:
    """select_and_gather_add and select_and_scatter with a computation of their own."""
    x = b.pick("float", rank=(2, 3), where=lambda v: str(v.dtype) == "float32" and min(v.shape) >= 2)
    if b.chance(0.5):
        text = (
            "lax.select_and_gather_add_p.bind({1}, {0}, select_prim=lax.ge_p, window_dimensions={w}, "
            "window_strides={one}, padding={none}, base_dilation={one}, window_dilation={one})"
        )
        sizes = {"w": (2,) * x.rank, "one": (1,) * x.rank, "none": ((0, 0),) * x.rank}
        b.add(text, x, b.like(x.shape, x.dtype), **sizes)
    else:
        b.add(
            "jax.grad(lambda p: jnp.sum(lax.reduce_window(p, -jnp.inf, lax.max, {w}, {s}, 'VALID')))({0})",
            x,
            w=(2,) * x.rank,
            s=(2,) * x.rank,
        )


def patches(b: Builder) -> None:
    x = b.like((1, 3, 6, 5), "float32")
    b.add(
        "lax.conv_general_dilated_patches({0}, {window}, {strides}, {padding})",
        x,
        window=(2, 3),
        strides=(1, 2),
        padding=b.choice(("SAME", "VALID")),
    )


OPERATIONS = {
    any_convolution: 3,
    convolution_of: 1,
    transposed: 0.4,
    pooling: 2,
    general_window: 0.2,
    window_gradient: 1,
    gathered_window: 0.2,
    patches: 0.2,
}
