"""Writes a random program statement by statement, and traces each, so that shapes and dtypes are JAX's own."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from .program import NAMES, Argument, Function, Statement

#: Elements of the largest array.
LARGEST = 24576

FLOATS = ("float32",) * 16 + ("bfloat16", "bfloat16", "float16", "float16")
DOUBLES = ("float64",) * 6 + FLOATS
INTS = ("int32",) * 6 + ("int8", "uint8", "int16", "uint16", "uint32")
EIGHT_BITS = ("float8_e4m3fn", "float8_e5m2")
DIMENSIONS = (0,) + (1,) * 8 + (2, 3, 4, 5, 6, 7, 8) * 10 + (9, 13, 16, 17) * 3

KINDS: dict[str, tuple[Any, ...]] = {
    "float": (jnp.floating,),
    "int": (jnp.integer,),
    "bool": (jnp.bool_,),
    "complex": (jnp.complexfloating,),
    "inexact": (jnp.inexact,),
    "real": (jnp.floating, jnp.integer),
    "number": (jnp.number,),
    "bits": (jnp.integer, jnp.bool_),
    "any": (jnp.generic,),
}


class Misfit(Exception):
    """What was drawn does not go together: something else is drawn in its place."""


@dataclass(frozen=True)
class Var:
    """A variable of the program. ``is_wild`` marks one that may hold huge numbers, NaN or infinities."""

    name: str
    shape: tuple[int, ...]
    dtype: Any
    is_wild: bool = False

    @property
    def rank(self) -> int:
        return len(self.shape)

    @property
    def size(self) -> int:
        return int(np.prod(self.shape, dtype=np.int64))

    def is_a(self, kind: str) -> bool:
        """True if the dtype is of a kind of ``KINDS``."""
        return any(jnp.issubdtype(self.dtype, each) for each in KINDS[kind])

    @property
    def is_narrow(self) -> bool:
        """True for eight bits and fewer, which most operations do not take."""
        if self.is_a("float"):
            return jnp.finfo(self.dtype).bits <= 8
        return self.is_a("int") and jnp.iinfo(self.dtype).bits < 8


class Builder:
    """A function in the making. Must be used inside of a trace of JAX's, which learns nothing but shapes from it."""

    def __init__(
        self,
        rng: random.Random,
        step: Callable[[Builder], None],
        numbers: Iterator[int] | None = None,
        outer: Builder | None = None,
    ) -> None:
        self.rng = rng
        self.outer = outer
        self._step = step
        self.x64 = outer.x64 if outer else jnp.result_type(float) == "float64"
        self.special = 0.0
        #: True for a function that may read nothing that lies around it.
        self.is_closed = False
        self.depth = outer.depth + 1 if outer else 0
        self.misfits: Counter[str] = outer.misfits if outer else Counter()
        self.arguments: list[Argument] = []
        self.params: list[str] = []
        self.statements: list[Statement] = []
        self.vars: list[Var] = []
        self._numbers = outer._numbers if outer else (numbers or count())
        self._env: dict[str, Any] = dict(outer._env) if outer else dict(NAMES)

    # -- what to draw from ---------------------------------------------------------------------------------------------

    def chance(self, share: float) -> bool:
        return self.rng.random() < share

    def choice(self, things: Sequence[Any]) -> Any:
        return self.rng.choice(things)

    def dtype(self, kind: str) -> str:
        """A dtype of one of ``KINDS``."""
        if kind in ("float", "inexact", "real", "number", "any"):
            if kind != "float" and self.chance(0.25):
                return self.dtype({"inexact": "complex", "any": self.choice(["int", "bool"])}.get(kind, "int"))
            return self.choice(DOUBLES if self.x64 else FLOATS)
        if kind in ("int", "bits"):
            if kind == "bits" and self.chance(0.3):
                return "bool"
            return self.choice((*INTS, "int64", "uint64") if self.x64 else INTS)
        if kind == "complex":
            return "complex128" if self.x64 and self.chance(0.5) else "complex64"
        return "bool"

    def dim(self) -> int:
        return self.choice(DIMENSIONS)

    def shape(self, rank: int | tuple[int, int] = (0, 4)) -> tuple[int, ...]:
        """A shape of this rank, or of one within these bounds, that is not too large."""
        rank = self.rng.randint(*rank) if isinstance(rank, tuple) else rank
        shape: list[int] = []
        for _ in range(rank):
            dim = self.dim()
            shape.append(dim if dim * int(np.prod(shape)) <= 1024 else self.choice((1, 2)))
        return tuple(shape)

    def axes(self, rank: int, least: int = 1) -> tuple[int, ...]:
        """Some axes in ascending order, at least ``least``."""
        return tuple(sorted(self.rng.sample(range(rank), self.rng.randint(least, rank))))

    # -- variables -----------------------------------------------------------------------------------------------------

    def argument(self, shape: Sequence[int], dtype: Any, data: str | None = None, low: int = -4, high: int = 5) -> Var:
        """A new argument of the program; in a function inside of it, a variable from around it, or a constant."""
        shape, dtype = tuple(shape), jnp.dtype(dtype)
        if self.outer is not None:
            # What numbers are asked for matters where only some make sense.
            if data is None and (low, high) == (-4, 5) and not self.is_closed:
                return self._adopt(self.outer.like(shape, dtype))
            number = low if jnp.issubdtype(dtype, jnp.integer) else 0.5
            return self.add(f"jnp.full({shape}, {number}).astype({str(dtype)!r})")
        if int(np.prod(shape, dtype=np.int64)) > LARGEST:
            raise Misfit(f"an argument of {shape}")
        usual = ("normal",) * 8 + ("positive", "wide", "small")
        held: str = data or ("special" if self.chance(self.special) else self.choice(usual))
        may_be_scalar = not shape and held == "normal" and dtype in ("float32", "int32") and not self.x64
        is_scalar = may_be_scalar and self.chance(0.3)
        seed = self.rng.randrange(1 << 30)
        made = Argument(f"x{next(self._numbers)}", shape, str(dtype), seed, held, low, high, is_scalar)
        self.arguments.append(made)
        self.params.append(made.name)
        self._env[made.name] = _placeholder(shape, dtype)
        var = Var(made.name, shape, dtype, held in ("wide", "special"))
        self.vars.append(var)
        return var

    def parameter(self, shape: Sequence[int], dtype: Any) -> Var:
        """A parameter of a function inside of the program."""
        name = f"a{next(self._numbers)}"
        self.params.append(name)
        self._env[name] = _placeholder(tuple(shape), dtype)
        var = Var(name, tuple(shape), jnp.dtype(dtype))
        self.vars.append(var)
        return var

    def pick(
        self,
        kind: str = "float",
        rank: tuple[int, int] = (0, 5),
        where: Callable[[Var], bool] = lambda var: True,
        shape: Sequence[int] | None = None,
        narrow: bool = False,
        data: str | None = None,
    ) -> Var:
        """A variable of one of ``KINDS``, or a new argument. Wild ones are seldom used again."""
        fitting = [
            v
            for v in self.vars
            if v.is_a(kind)
            and rank[0] <= v.rank <= rank[1]
            and where(v)
            and (narrow or not v.is_narrow)
            and (shape is None or v.shape == tuple(shape))
        ]
        if data is None and fitting and self.chance(0.85):
            fitting = [v for v in fitting if not v.is_wild] if self.chance(0.9) else fitting
            if fitting:
                return fitting[-1] if self.chance(0.5) else self.choice(fitting)
        given = shape is not None
        for _ in range(8):
            tried = Var(
                "", tuple(shape or ()) if given else self.shape((rank[0], min(rank[1], 4))), jnp.dtype(self.dtype(kind))
            )
            if where(tried):
                return self.argument(tried.shape, tried.dtype, data)
        raise Misfit(f"no {kind} of rank {rank} fits")

    def like(self, shape: Sequence[int], dtype: Any, data: str | None = None) -> Var:
        """A variable of this shape and dtype, or a new argument."""
        shape, dtype = tuple(shape), jnp.dtype(dtype)
        fitting = [v for v in self.vars if v.shape == shape and v.dtype == dtype and not v.is_wild]
        if data is None and fitting and self.chance(0.6):
            return self.choice(fitting)
        return self.argument(shape, dtype, data)

    def as_type(self, var: Var, shape: Sequence[int], dtype: Any) -> Var:
        """``var`` made into an array of this shape and dtype."""
        shape, dtype = tuple(shape), jnp.dtype(dtype)
        if var.shape == shape and var.dtype == dtype:
            return var
        if var.dtype != dtype:
            source = self.add("lax.real({0})", var) if var.is_a("complex") and dtype.kind != "c" else var
            var = self.add(f"lax.convert_element_type({{0}}, {str(dtype)!r})", source)
        if var.shape == shape:
            return var
        if var.rank:
            if dtype.kind == "b":
                var = self.add("jnp.any({0})", var)
            elif dtype.kind == "c":
                var = self.add("jnp.sum({0})", var)
            else:
                var = self.add("jnp.max({0}, initial=0).astype({dtype})", var, dtype=str(dtype))
        return self.add(f"jnp.broadcast_to({{0}}, {shape})", var)

    def write(self, steps: int) -> None:
        """Some random statements, of all kinds."""
        for _ in range(steps):
            self._step(self)

    # -- statements ----------------------------------------------------------------------------------------------------

    def add(self, template: str, *operands: Var | str, **params: Any) -> Var:
        """A statement of one result."""
        return self._added(template, operands, params, unpacks=False)[0]

    def add_many(self, template: str, *operands: Var | str, **params: Any) -> list[Var]:
        """A statement of several results."""
        return self._added(template, operands, params, unpacks=True)

    def wild(self, template: str, *operands: Var | str, **params: Any) -> Var:
        """A statement whose result may be huge or not a number."""
        var = self._added(template, operands, params, unpacks=False)[0]
        return self._renamed(Var(var.name, var.shape, var.dtype, True))

    def tame(self, template: str, *operands: Var | str, **params: Any) -> Var:
        """A statement whose result is small whatever its operands are."""
        var = self._added(template, operands, params, unpacks=False)[0]
        return self._renamed(Var(var.name, var.shape, var.dtype, False))

    def function(
        self,
        parameters: Iterable[tuple[Sequence[int], Any]],
        body: Callable[[Builder, list[Var]], Sequence[Var]],
        form: str = "",
        decorator: str = "",
        tail: Callable[[str], Sequence[str]] = lambda name: (),
    ) -> Function:
        """A function inside of this one, whose ``body`` writes statements and says what comes out."""
        inner = Builder(self.rng, self._step, outer=self)
        variables = [inner.parameter(shape, dtype) for shape, dtype in parameters]
        params = tuple(inner.params)
        results = body(inner, variables)
        name = f"f{next(self._numbers)}"
        named = tuple(v.name for v in results)
        return Function(name, params, tuple(inner.statements), named, form, decorator, tuple(tail(name)))

    @contextmanager
    def attempt(self, what: str) -> Iterator[None]:
        """What is drawn inside stands only if all of it goes together."""
        kept = len(self.statements), len(self.vars), len(self.arguments), len(self.params)
        try:
            yield
        except Exception as error:  # JAX says what is wrong with what was drawn, in exceptions of any kind
            said = str(error).splitlines()[0][:100] if str(error) else ""
            self.misfits[f"{what}: {type(error).__name__}: {said}"] += 1
            for held, length in zip((self.statements, self.vars, self.arguments, self.params), kept, strict=True):
                del held[length:]

    def finished(self, name: str, results: Sequence[Var]) -> Function:
        """The function as it is, with what it does not need left out, but for a few statements."""
        needed = {v.name for v in results}
        kept: list[Statement] = []
        for statement in reversed(self.statements):
            if needed.intersection(statement.targets) or self.chance(0.02):
                kept.append(statement)
                needed |= statement.reads()
        held = [a for a in self.arguments if a.name in needed or self.chance(0.1)]
        self.arguments = held
        return Function(name, tuple(a.name for a in held), tuple(reversed(kept)), tuple(v.name for v in results))

    def _adopt(self, var: Var) -> Var:
        assert self.outer is not None
        self._env[var.name] = self.outer._env[var.name]
        return var

    def _renamed(self, var: Var) -> Var:
        self.vars = [var if v.name == var.name else v for v in self.vars]
        return var

    def _added(self, template: str, operands: Sequence[Var | str], params: dict[str, Any], unpacks: bool) -> list[Var]:
        functions = {k: f for k, f in params.items() if isinstance(f, Function)}
        plain = {k: v for k, v in params.items() if k not in functions}
        names = tuple(o if isinstance(o, str) else o.name for o in operands)
        statement = Statement((), template, names, plain, functions, unpacks)
        env = dict(self._env)
        for function in functions.values():
            exec("\n".join(function.lines()), env)
        result = eval(statement.expression, env)
        found = list(jax.tree.leaves(result)) if unpacks else [result]
        if any(getattr(r, "size", 0) > LARGEST for r in found):
            raise Misfit(f"{template}: too large")
        targets = tuple(f"v{next(self._numbers)}" for _ in found)
        self.statements.append(Statement(targets, template, names, plain, functions, unpacks))
        is_wild = any(isinstance(o, Var) and o.is_wild for o in operands)
        made = []
        for name, array in zip(targets, found, strict=True):
            array = jnp.asarray(array) if isinstance(array, (int, float, bool, complex)) else array
            self._env[name] = array
            made.append(
                Var(name, tuple(array.shape), array.dtype, is_wild and jnp.issubdtype(array.dtype, jnp.inexact))
            )
        self.vars += made
        return made


def _placeholder(shape: tuple[int, ...], dtype: Any) -> Any:
    return lax.full(shape, 0, dtype)
