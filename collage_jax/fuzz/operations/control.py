"""Conditions and loops, with bodies that hold random statements of their own."""

from __future__ import annotations

from collections.abc import Sequence

from ..builder import Builder, Var


def _body(steps: tuple[int, int], wanted: Sequence[Var]):
    """A body that writes statements and gives results of the types of ``wanted``."""

    def body(inner: Builder, variables: list[Var]) -> list[Var]:
        inner.write(inner.rng.randint(*steps))
        found = []
        for each in wanted:
            fitting = [v for v in inner.vars if v.shape == each.shape and v.dtype == each.dtype and v not in variables]
            if fitting:
                found.append(inner.choice(fitting))
                continue
            kind = "bool" if each.is_a("bool") else "complex" if each.is_a("complex") else "real"
            some = [v for v in inner.vars if v.is_a(kind) and not v.is_narrow]
            found.append(
                inner.as_type(inner.choice(some), each.shape, each.dtype)
                if some
                else inner.argument(each.shape, each.dtype)
            )
        return [
            inner.tame("lax.tanh({0})", v) if v.is_a("float") and not v.is_narrow and inner.chance(0.7) else v
            for v in found
        ]

    return body


def _carried(b: Builder, count: tuple[int, int] = (1, 2)) -> list[Var]:
    return [
        b.pick("any" if b.chance(0.3) else "float", where=lambda v: v.size <= 2048)
        for _ in range(b.rng.randint(*count))
    ]


def _types(variables: Sequence[Var]) -> list[tuple[tuple[int, ...], object]]:
    return [(v.shape, v.dtype) for v in variables]


def condition(b: Builder) -> None:
    operands = _carried(b, (1, 3))
    count = b.choice((2, 2, 2, 3, 1))
    wanted = operands[: b.rng.randint(1, len(operands))]
    branches = {f"g{i}": b.function(_types(operands), _body((1, 3), wanted)) for i in range(count)}
    places = ", ".join(f"{{{i + 1}}}" for i in range(len(operands)))
    if count == 2:
        which = (
            b.argument((), "bool")
            if b.chance(0.5)
            else b.add("jnp.sum(lax.abs({0})) > 1.0", b.pick("float", where=lambda v: v.size > 0))
        )
        b.add_many(f"lax.cond({{0}}, {{g0}}, {{g1}}, {places})", which, *operands, **branches)
    else:
        which = b.argument((), "int32", low=-1, high=4)
        listed = ", ".join(f"{{{name}}}" for name in branches)
        b.add_many(f"lax.switch({{0}}, [{listed}], {places})", which, *operands, **branches)


def while_loop(b: Builder) -> None:
    carry = _carried(b)
    places = ", ".join(f"{{{i}}}" for i in range(len(carry)))
    step = b.function(_types(carry), _body((1, 3), carry))
    unpacked = f"lambda s: (s[0] + 1, *{{step}}({', '.join(f's[{i + 1}]' for i in range(len(carry)))}))"
    if b.chance(0.5):
        b.add_many(
            f"lax.while_loop(lambda s: s[0] < {{n}}, {unpacked}, (0, {places}))",
            *carry,
            step=step,
            n=b.rng.randint(0, 3),
        )
    else:
        inner = ", ".join(f"s[{i}]" for i in range(len(carry)))
        b.add_many(
            f"lax.fori_loop(0, {{n}}, lambda i, s: {{step}}({inner}), ({places},))",
            *carry,
            step=step,
            n=b.rng.randint(0, 3),
        )


def scan(b: Builder) -> None:
    carry, xs = _carried(b), [b.pick("float" if b.chance(0.7) else "any", rank=(1, 4))]
    length = xs[0].shape[0]
    if b.chance(0.3):
        xs.append(b.like((length, *b.shape((0, 2))), "float32"))
    given = [*_types(carry), *((x.shape[1:], x.dtype) for x in xs)]

    def body(inner: Builder, variables: list[Var]) -> list[Var]:
        carried = _body((1, 4), carry)(inner, variables)
        return [*carried, inner.choice(inner.vars)]

    n = len(carry)
    form = "((" + "".join(f"{{{i}}}, " for i in range(n)) + f"), {{{n}}})"
    step = b.function(given, body, form)
    left, right = ", ".join(f"s[{i}]" for i in range(n)), ", ".join(f"t[{i}]" for i in range(len(xs)))
    start, over = ", ".join(f"{{{i}}}" for i in range(n)), ", ".join(f"{{{i + n}}}" for i in range(len(xs)))
    b.add_many(
        (
            f"jax.tree.leaves(lax.scan(lambda s, t: {{step}}({left}, {right}), "
            f"({start},), ({over},), reverse={{reverse}}, unroll={{unroll}}))"
        ),
        *carry,
        *xs,
        step=step,
        reverse=b.chance(0.3),
        unroll=b.choice((1, 1, 1, 2)),
    )


def scanned_layers(b: Builder) -> None:
    """The same layer again and again, its weights stacked."""
    x = b.pick("float", rank=(2, 2), where=lambda v: v.size > 0 and not v.is_narrow and v.shape[1] <= 17)
    n, depth = x.shape[1], b.rng.randint(1, 3)
    w, c = b.like((depth, n, n), x.dtype, "small"), b.like((depth, n), x.dtype)
    act = b.choice(("jax.nn.relu", "jnp.tanh", "jax.nn.gelu"))
    b.add(f"lax.scan(lambda h, p: ({act}(h @ p[0] + p[1]), None), {{0}}, ({{1}}, {{2}}))[0]", x, w, c)


def mapped(b: Builder) -> None:
    x = b.pick("float", rank=(1, 4), where=lambda v: v.size > 0)
    inner = b.function([(x.shape[1:], x.dtype)], lambda i, vs: (i.write(2), [i.choice(i.vars)])[1])
    b.add_many("lax.map({g}, {0})", x, g=inner)


def associative(b: Builder) -> None:
    x = b.pick("float", rank=(1, 3), where=lambda v: v.size > 0)
    b.add(
        "lax.associative_scan({f_}, {0}, axis={axis}, reverse={reverse})".replace(
            "{f_}", b.choice(("jnp.add", "jnp.maximum"))
        ),
        x,
        axis=b.rng.randrange(x.rank),
        reverse=b.chance(0.3),
    )


OPERATIONS = {condition: 1, while_loop: 0.6, scan: 1, scanned_layers: 0.5, mapped: 0.4, associative: 0.2}
