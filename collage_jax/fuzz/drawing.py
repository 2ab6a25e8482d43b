"""Random programs by their number: the same seed gives the same program, on every machine with the same JAX."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import count
from typing import Any

import jax
import jax.numpy as jnp

from .. import _compat
from .builder import Builder, Var
from .data import aval_of
from .operations import HOLDERS, MOTIFS, SINGLE
from .program import Function, Options, Part, Program, function_of

#: Programs that share one function, so that they are compiled together.
TOGETHER = 6

#: Share of the motifs of backends among what is drawn at the top of a program.
MOTIF_SHARE = 0.5
#: Functions within functions within functions hold no further ones.
DEEPEST = 2


def step(builder: Builder) -> None:
    """One more operation, or a motif."""
    table = MOTIFS if builder.chance(MOTIF_SHARE / (1 + 2 * builder.depth)) else SINGLE
    (operation,) = builder.rng.choices(list(table), list(table.values()))
    if builder.depth < DEEPEST or operation not in HOLDERS:
        with builder.attempt(operation.__name__):
            operation(builder)


@dataclass(frozen=True)
class Drawn:
    """A program with the primitives in each of its parts, and what did not go together while it was drawn."""

    program: Program
    primitives: Counter[str]
    misfits: Counter[str]


def drawn(seed: int) -> Drawn:
    """Programs number ``seed``, several in one."""
    rng = random.Random(f"collage {seed}")
    x64 = rng.random() < 0.12
    with jax.enable_x64(x64):
        numbers, misfits, primitives = count(), Counter[str](), Counter[str]()
        special = 0.3 if rng.random() < 0.12 else 0.0
        parts: list[Part] = []
        around = _around(rng)
        while len(parts) < (1 if around else TOGETHER):
            part = _part(rng, numbers, misfits, primitives, special)
            if part is not None:
                parts.append(part)
        options = _options(rng, parts, around, x64)
    return Drawn(Program(tuple(parts), options, seed), primitives, misfits)


def _part(
    rng: random.Random, numbers: Iterator[int], misfits: Counter[str], primitives: Counter[str], special: float
) -> Part | None:
    builder = Builder(rng, step, numbers)
    builder.special, builder.misfits = special, misfits
    made: list[Function] = []

    def write() -> None:
        builder.write(rng.choice((1, 2, 2, 3, 3, 4, 5, 6, 8)))
        if builder.statements:
            made.append(builder.finished(f"g{next(numbers)}", _results(builder)))

    jax.make_jaxpr(write)()
    if not made:
        return None
    part = Part(made[0], tuple(builder.arguments))
    for call in _calls(builder, part):
        changed = replace(part, call=call)
        try:
            traced = traced_part(changed)
        except Exception as error:
            misfits[f"call {call.split('(')[0]}: {_said(error)}"] += 1
            continue
        primitives.update(set(names_in(traced)))
        return changed
    return None


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).splitlines()[0][:100] if str(error) else ''}"


def traced_part(part: Part) -> Any:
    """The jaxpr of ``part``."""
    function = function_of(Program((part,), Options()).text)
    return jax.make_jaxpr(function)(*(aval_of(a) for a in part.arguments))


def names_in(jaxpr: Any) -> Iterator[str]:
    """Names of all primitives in a jaxpr, those inside of others too."""
    for eqn in _compat.open_jaxpr(jaxpr)[0].eqns:
        yield eqn.primitive.name
        for inner in jax.tree.leaves(list(eqn.params.values()), is_leaf=_compat.is_jaxpr):
            if _compat.is_jaxpr(inner):
                yield from names_in(inner)


def _results(builder: Builder) -> list[Var]:
    """What comes out: what nothing reads, and now and then something else, an argument, or the same twice."""
    made = [v for v in builder.vars if not v.name.startswith("x")]
    read = set[str]().union(*(s.reads() for s in builder.statements)) if builder.statements else set()
    last = [v for v in made if v.name not in read][-4:] or made[-1:]
    if builder.chance(0.25):
        last.append(builder.choice(made))
    if builder.chance(0.04):
        last.append(builder.choice(builder.vars))
    if builder.chance(0.04):
        last.append(last[0])
    return last


def _calls(builder: Builder, part: Part) -> Iterator[str]:
    """How the function may be called, the plain way last: its derivative, a batch of it, and the like."""
    arguments = part.arguments
    floats = [
        i
        for i, a in enumerate(arguments)
        if jnp.issubdtype(jnp.dtype(a.dtype), jnp.floating) and jnp.finfo(a.dtype).bits > 8
    ]
    draw = builder.rng.random()
    params = [a.name for a in arguments]
    if draw < 0.12 and floats:
        moving = sorted(builder.rng.sample(floats, builder.rng.randint(1, min(3, len(floats)))))
        yield f"jax.grad({TOTAL}, {tuple(moving)})({{all}})"
    elif draw < 0.18 and floats:
        moving = sorted(builder.rng.sample(floats, builder.rng.randint(1, min(3, len(floats)))))
        names = ", ".join(params[i] for i in moving)
        inner = ", ".join(f"t{params[i]}" if i in moving else params[i] for i in range(len(params)))
        lambdas = ", ".join(f"t{params[i]}" for i in moving)
        tangents = ", ".join(f"jnp.full_like({params[i]}, 0.5)" for i in moving)
        yield (
            f"jax.tree.leaves(jax.jvp(lambda {lambdas}: {FLOATS_ONLY.format(inner=inner)}, ({names},), ({tangents},)))"
        )
    elif draw < 0.24 and floats:
        moving = builder.choice(floats)
        yield f"jax.tree.leaves(jax.value_and_grad({TOTAL}, {moving})({{all}}))"
    elif draw < 0.27 and floats:
        one = builder.choice(floats)
        yield (
            f"(jax.grad(lambda *p: jnp.sum(jnp.sin(jax.grad({TOTAL}, {one})(*p).astype('float32'))), {one})({{all}}),)"
        )
    elif draw < 0.34 and any(not a.is_scalar for a in arguments):
        batched = ["0" if not a.is_scalar and builder.chance(0.7) else "None" for a in arguments]
        if "0" in batched:
            stacked = ", ".join(
                f"jnp.stack([{a.name}, {a.name}])" if x == "0" else a.name
                for a, x in zip(arguments, batched, strict=True)
            )
            yield f"jax.vmap({{f}}, in_axes=({', '.join(batched)},))({stacked})"
    elif draw < 0.38:
        yield f"{builder.choice(('jax.jit', 'jax.checkpoint'))}({{f}})({{all}})"
    yield "{f}({all})"


#: A number made of all that a function gives, to be differentiated.
TOTAL = (
    "lambda *p: sum((jnp.sum(jnp.real(y).astype('float32')) for y in "
    "{f}(*p) if jnp.issubdtype(y.dtype, jnp.inexact)), jnp.float32(0))"
)
FLOATS_ONLY = "[y for y in {{f}}({inner}) if jnp.issubdtype(y.dtype, jnp.inexact)]"


def _around(rng: random.Random) -> str:
    """What is done with the decorated function, if anything."""
    if rng.random() > 0.04:
        return ""
    return rng.choice(
        (
            "jax.jit({f})",
            "jax.vmap({f}, in_axes=None, axis_size=2)",
            "jax.checkpoint({f})",
            (
                "jax.grad(lambda *p, **k: sum((jnp.sum(jnp.real(y).astype('float32')) for y in jax.tree.leaves({f}(*p, "
                "**k)) if jnp.issubdtype(y.dtype, jnp.inexact)), jnp.float32(0)), FLOATS, allow_int=True)"
            ),
        )
    )


def _options(rng: random.Random, parts: list[Part], around: str, x64: bool) -> Options:
    arguments = [a for part in parts for a in part.arguments]
    arrays = [a for a in arguments if not a.is_scalar]
    share = rng.choice((0, 0, 0.3, 0.6)) if not around else 0
    frozen = tuple(a.name for a in arrays if rng.random() < share)
    open_ = [a.name for a in arguments if a.name not in frozen]
    packed = tuple(n for n in open_ if rng.random() < 0.4) if rng.random() < 0.25 and not around else ()
    donated = (
        tuple(a.name for a in arrays if a.name in open_ and a.name not in packed and rng.random() < 0.3)
        if rng.random() < 0.15 and not around
        else ()
    )
    return Options(
        costs=rng.randrange(1 << 30),
        frozen=frozen,
        donated=donated,
        packed=packed,
        static=rng.randint(0, 3) if rng.random() < 0.1 and not around else None,
        around=around,
        x64=x64,
    )
