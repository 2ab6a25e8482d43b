"""Operations of one element at a time."""

from __future__ import annotations

from ..builder import EIGHT_BITS, Builder, Var

#: What stays small where its operand does.
TAME = (
    "lax.abs", "lax.neg", "lax.tanh", "lax.sin", "lax.cos", "lax.logistic", "lax.erf", "lax.erfc", "lax.sign",
    "lax.floor", "lax.ceil", "lax.round", "lax.atan", "lax.asinh", "lax.cbrt", "lax.bessel_i0e", "lax.bessel_i1e",
    "jax.nn.relu", "jax.nn.relu6", "jax.nn.gelu", "jax.nn.silu", "jax.nn.softplus", "jax.nn.elu", "jax.nn.leaky_relu",
    "jax.nn.hard_swish", "jax.nn.hard_sigmoid", "jax.nn.mish", "jax.nn.sigmoid", "jax.nn.log_sigmoid", "jax.nn.selu",
    "jax.nn.celu", "jax.nn.soft_sign", "jax.nn.hard_tanh", "jax.nn.squareplus", "lax.stop_gradient",
)  # fmt: skip
#: What may not.
WILD = (
    "lax.exp", "lax.exp2", "lax.expm1", "lax.log", "lax.log1p", "jnp.log2", "lax.sqrt", "lax.rsqrt", "lax.square",
    "lax.tan", "lax.sinh", "lax.cosh", "lax.asin", "lax.acos", "lax.acosh", "lax.atanh", "lax.lgamma", "lax.digamma",
    "lax.erf_inv", "lax.reciprocal",
)  # fmt: skip
COMPLEX = (
    "lax.abs", "lax.neg", "lax.exp", "lax.log", "lax.sin", "lax.cos", "lax.tanh", "lax.sqrt", "lax.rsqrt", "lax.sign",
    "lax.conj", "lax.real", "lax.imag", "lax.square", "lax.logistic", "lax.expm1", "lax.log1p", "lax.cosh", "lax.sinh",
    "lax.tan", "lax.asin", "lax.acos", "lax.atan", "lax.asinh", "lax.acosh", "lax.atanh", "lax.cbrt",
)  # fmt: skip
BINARY = ("lax.add", "lax.sub", "lax.mul", "lax.max", "lax.min", "lax.atan2", "lax.nextafter")
WILD_BINARY = ("lax.div", "lax.pow", "lax.rem")
SPECIAL = ("lax.igamma", "lax.igammac", "lax.zeta", "lax.polygamma", "lax.random_gamma_grad", "lax.igamma_grad_a")
COMPARISONS = ("lax.eq", "lax.ne", "lax.lt", "lax.le", "lax.gt", "lax.ge")
BITS = ("lax.bitwise_and", "lax.bitwise_or", "lax.bitwise_xor")
INTEGER = ("lax.add", "lax.sub", "lax.mul", "lax.max", "lax.min", "lax.div", "lax.rem", "lax.mulhi")
INTEGER_UNARY = ("lax.neg", "lax.abs", "lax.sign", "lax.population_count", "lax.clz", "lax.bitwise_not")
SHIFTS = ("lax.shift_left", "lax.shift_right_logical", "lax.shift_right_arithmetic")
LITERALS = (
    "0.0",
    "-0.0",
    "1.0",
    "0.5",
    "2.0",
    "-1.0",
    "0.25",
    "1e-5",
    "3.0",
    "6.0",
    "0.044715",
    "1.41421356",
    "jnp.inf",
)


def second(b: Builder, x: Var) -> tuple[str, Var | str]:
    """What a binary operation takes besides ``x``, and how it is written: of its shape, broadcast, or a literal."""
    draw = b.rng.random()
    if draw < 0.4:
        return "{1}", b.like(x.shape, x.dtype)
    if draw < 0.65 and x.rank:
        axes = b.axes(x.rank, 0)
        vector = b.like([x.shape[a] for a in axes], x.dtype)
        return f"lax.broadcast_in_dim({{1}}, {x.shape}, {axes})", vector
    if draw < 0.75 and x.rank:
        ones = tuple(1 if b.chance(0.5) else d for d in x.shape)
        return f"jnp.broadcast_to({{1}}, {x.shape})", b.like(ones, x.dtype)
    if draw < 0.85:
        return f"jnp.broadcast_to({{1}}, {x.shape})", b.like((), x.dtype)
    literal = b.choice(LITERALS) if x.is_a("inexact") else b.choice(("0", "1", "2", "3"))
    return f"jnp.full({x.shape}, {{1}}, {str(x.dtype)!r})", literal


def unary(b: Builder) -> None:
    x = b.pick("float")
    if b.chance(0.75):
        b.add(b.choice(TAME) + "({0})", x)
    else:
        b.wild(b.choice(WILD) + "({0})", x)


def accurate(b: Builder) -> None:
    """Operations whose accuracy may be asked for, and the numbers after which they are undefined left out."""
    x = b.pick("float")
    if b.chance(0.5):
        b.tame(b.choice(("lax.log", "lax.sqrt", "lax.rsqrt", "lax.lgamma")) + "(lax.abs({0}) + 0.5)", x)
    else:
        b.tame("lax.exp(-lax.abs({0}))", x)


def complex_unary(b: Builder) -> None:
    b.wild(b.choice(COMPLEX) + "({0})", b.pick("complex"))


def binary(b: Builder) -> None:
    x = b.pick("inexact")
    text, y = second(b, x)
    swap = b.chance(0.3)
    left, right = (text, "{0}") if swap else ("{0}", text)
    if b.chance(0.85):
        operation = b.choice(BINARY[:5] if x.is_a("float") else BINARY[:3])
        b.add(f"{operation}({left}, {right})", x, y)
    elif x.is_a("float"):
        b.wild(f"{b.choice(WILD_BINARY + BINARY[5:])}({left}, {right})", x, y)
    else:
        b.wild(f"{b.choice(WILD_BINARY[:2])}({left}, {right})", x, y)


def operators(b: Builder) -> None:
    """Operators of Python, which promote and broadcast."""
    x = b.pick("number", narrow=False)
    y: Var | str = (
        b.choice(("2", "0.5", "-1", "3.0")) if b.chance(0.4) else b.like(x.shape[b.rng.randint(0, x.rank) :], x.dtype)
    )
    b.add("{0} " + b.choice(("+", "-", "*")) + " {1}", *((x, y) if b.chance(0.7) else (y, x)))


def special_function(b: Builder) -> None:
    x = b.argument(b.shape((0, 2)), "float32", "positive")
    operation = b.choice((*SPECIAL, "lax.betainc"))
    if operation == "lax.betainc":
        b.wild(
            "lax.betainc({0}, {1}, {2})",
            x,
            b.argument(x.shape, "float32", "positive"),
            b.argument(x.shape, "float32", "unit"),
        )
    elif operation == "lax.polygamma":
        b.wild("lax.polygamma(jnp.full_like({0}, 1.0), {0})", x)
    elif operation == "lax.zeta":
        b.wild("lax.zeta({0} + 1.5, {1})", x, b.argument(x.shape, "float32", "positive"))
    else:
        b.wild(operation + "({0}, {1})", x, b.argument(x.shape, "float32", "positive"))


def powers(b: Builder) -> None:
    x = b.pick("inexact")
    draw = b.rng.random()
    if draw < 0.5:
        b.wild("lax.integer_pow({0}, {n})", x, n=b.choice((-2, -1, 0, 1, 2, 3, 4)))
    elif draw < 0.75:
        b.wild("{0} ** {n}", x, n=b.choice((2, 3, 0.5, -1.0, 2.0)))
    else:
        b.wild("lax.pow({0}, jnp.full({0}.shape, {n}))", x, n=b.choice((2, 3)))


def integers(b: Builder) -> None:
    x = b.pick("int")
    if b.chance(0.3):
        b.add(b.choice(INTEGER_UNARY) + "({0})", x)
        return
    text, y = second(b, x)
    if b.chance(0.2):
        b.add(f"{b.choice(SHIFTS)}({{0}}, {text})", x, y)
    elif b.chance(0.1):
        b.add("lax.integer_pow({0}, {n})", x, n=b.choice((0, 1, 2, 3)))
    else:
        b.add(f"{b.choice(INTEGER)}({{0}}, {text})", x, y)


def bits(b: Builder) -> None:
    x = b.pick("bits")
    if b.chance(0.2):
        b.add("lax.bitwise_not({0})", x)
    else:
        b.add(b.choice(BITS) + "({0}, {1})", x, b.like(x.shape, x.dtype))


def comparison(b: Builder) -> None:
    x = b.pick("real" if b.chance(0.8) else "any")
    text, y = second(b, x)
    operation = b.choice(COMPARISONS if x.is_a("real") else COMPARISONS[:2])
    if x.is_a("float") and b.chance(0.15):
        b.add(f"{b.choice(('lax.eq_to_p', 'lax.lt_to_p', 'lax.le_to_p'))}.bind({{0}}, {text})", x, y)
    else:
        b.add(f"{operation}({{0}}, {text})", x, y)


def finite(b: Builder) -> None:
    b.add("lax.is_finite({0})", b.pick("float"))


def selection(b: Builder) -> None:
    x = b.pick("any")
    draw = b.rng.random()
    if draw < 0.55:
        which = b.like(x.shape if b.chance(0.8) else (), "bool")
        b.add("lax.select_n({0}, {1}, {2})", which, x, b.like(x.shape, x.dtype))
    elif draw < 0.7:
        which = b.argument(x.shape, "int32", low=0, high=3)
        b.add("lax.select_n({0}, {1}, {2}, {3})", which, x, b.like(x.shape, x.dtype), b.like(x.shape, x.dtype))
    elif draw < 0.85 and x.is_a("float"):
        b.add(
            (
                f"jnp.where({{0}} {b.choice(('>', '>=', '<'))} 0, {{0}}, "
                f"{b.choice(('0.0', '0.1 * {0}', '-{0}', 'jnp.nan'))})"
            ),
            x,
        )
    else:
        b.add("jnp.where({0}, {1}, 0)", b.like(x.shape, "bool"), x)


def clamp(b: Builder) -> None:
    x = b.pick("real")
    if b.chance(0.5):
        low, high = b.choice((("0", "6"), ("-1", "1"), ("0", "1"), ("1", "0"), ("-2", "3")))
        if x.is_a("int") and low.startswith("-"):
            low = "0"
        b.add(f"lax.clamp(jnp.asarray({low}, {{0}}.dtype), {{0}}, jnp.asarray({high}, {{0}}.dtype))", x)
    elif b.chance(0.5):
        b.add("jnp.clip({0}, {low}, {high})", x, low=0, high=b.choice((6, 1, 2)))
    else:
        b.add("lax.clamp({1}, {0}, {2})", x, b.like(x.shape, x.dtype), b.like(x.shape, x.dtype))


def conversion(b: Builder) -> None:
    x = b.pick("any", narrow=True)
    if x.is_a("complex"):
        b.add("lax.real({0})", x)
        return
    if b.chance(0.2) and not x.is_narrow:
        b.wild(
            "lax.convert_element_type(lax.convert_element_type({0}, {narrow}), {wide})",
            x,
            narrow=b.choice((*EIGHT_BITS, "int4", "uint4", "float8_e4m3b11fnuz")),
            wide=str(x.dtype),
        )
        return
    kinds = ("float", "int", "bool") if not x.is_a("float") else ("float", "float", "float", "bool")
    to = b.dtype(b.choice(kinds))
    b.add(b.choice(("lax.convert_element_type({0}, {to})", "{0}.astype({to})")), x, to=to)


def narrow(b: Builder) -> None:
    """Numbers of eight bits and fewer, which come and go by conversion."""
    x = b.argument(b.shape((0, 3)), b.choice((*EIGHT_BITS, "int4", "uint4")), low=0, high=5)
    y = b.add("{0}.astype({to})", x, to="float32" if b.chance(0.7) or x.is_a("int") else "bfloat16")
    z = b.add(b.choice(("lax.tanh({0})", "{0} * 0.5", "lax.max({0}, jnp.zeros_like({0}))")), y)
    b.add("{0}.astype({to})", z, to=str(x.dtype))


def bitcast(b: Builder) -> None:
    x = b.pick("real", where=lambda v: v.dtype.itemsize in (2, 4))
    to = {2: ("int16", "uint16", "bfloat16", "float16"), 4: ("int32", "uint32", "float32")}[x.dtype.itemsize]
    b.wild("lax.bitcast_convert_type({0}, {to})", x, to=b.choice(to))


def reduced_precision(b: Builder) -> None:
    b.add("lax.reduce_precision({0}, {e}, {m})", b.pick("float"), e=b.choice((5, 8)), m=b.choice((2, 7, 10)))


def complex_parts(b: Builder) -> None:
    x = b.pick("float", where=lambda v: v.dtype.itemsize >= 4)
    y = b.add("lax.complex({0}, {1})", x, b.like(x.shape, x.dtype))
    if b.chance(0.5):
        b.add(b.choice(("lax.real({0})", "lax.imag({0})", "lax.abs({0})", "lax.conj({0})")), y)


def shared(b: Builder) -> None:
    """An element-wise chain whose links are read twice."""
    x = b.pick("float", rank=(1, 4))
    y = b.tame(b.choice(("lax.tanh({0})", "jax.nn.relu({0})", "{0} * 0.5", "lax.logistic({0})")), x)
    z = b.add(b.choice(("{0} + {1}", "{0} * {1}", "lax.max({0}, {1})", "{0} - {1}", "{1} - {0} * {0}")), x, y)
    if b.chance(0.5):
        b.add("{0} * {1}", y, z)


def chain(b: Builder) -> None:
    x = b.pick("float", rank=(1, 4))
    for _ in range(b.rng.randint(2, 5)):
        if b.chance(0.6):
            text, y = second(b, x)
            x = b.add(f"{b.choice(BINARY[:5])}({{0}}, {text})", x, y)
        else:
            x = b.tame(b.choice(TAME) + "({0})", x)


def others(b: Builder) -> None:
    x = b.pick("float")
    b.add(
        b.choice(
            (
                "lax.copy_p.bind({0})",
                "(lax.dce_sink({0}), {0})[1]",
                "lax.optimization_barrier({0})",
                "lax.tie_p.bind({0}, {0})",
                "jax.ad_checkpoint.checkpoint_name({0}, 'x')",
                "jnp.copy({0})",
            )
        ),
        x,
    )


OPERATIONS = {
    unary: 5, accurate: 1, complex_unary: 0.7, binary: 6, operators: 2, special_function: 0.25, powers: 0.7,
    integers: 1.2, bits: 0.5, comparison: 1, finite: 0.2, selection: 1.5, clamp: 0.8, conversion: 1.2, narrow: 0.3,
    bitcast: 0.3, reduced_precision: 0.3, complex_parts: 0.4, shared: 1, chain: 2.5, others: 0.4,
}  # fmt: skip
