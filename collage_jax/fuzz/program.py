"""Random programs as data and as text: functions of statements, the arguments they are called with, and how.

The text is what runs, here and in a reproducer, so that nothing but it decides what a program means.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import jax
import jax.ad_checkpoint
import jax.custom_batching
import jax.custom_derivatives
import jax.numpy as jnp
import numpy as np
from jax import lax

#: What the text of a program may name.
NAMES = {"jax": jax, "jnp": jnp, "np": np, "lax": lax}

INDENT = "    "


@dataclass(frozen=True)
class Raw:
    """A parameter that is written as it is, such as ``jnp.float32``."""

    text: str

    def __repr__(self) -> str:
        return self.text


@dataclass(frozen=True)
class Statement:
    """``targets = template``: ``{0}``, ``{1}``, ... stand for operands, names for ``params`` and ``functions``.

    ``{all}`` stands for all operands. ``functions`` are defined just before. ``unpacks`` says that the right-hand side
    is a sequence.
    """

    targets: tuple[str, ...]
    template: str
    operands: tuple[str, ...] = ()
    params: Mapping[str, Any] = field(default_factory=dict)
    functions: Mapping[str, Function] = field(default_factory=dict)
    unpacks: bool = False

    @property
    def expression(self) -> str:
        """The right-hand side."""
        named = {k: repr(v) for k, v in self.params.items()} | {k: f.name for k, f in self.functions.items()}
        return self.template.format(*self.operands, all=", ".join(self.operands), **named)

    def lines(self) -> Iterator[str]:
        for function in self.functions.values():
            yield from function.lines()
        yield f"{', '.join(self.targets)}{',' if self.unpacks and len(self.targets) == 1 else ''} = {self.expression}"

    def reads(self) -> set[str]:
        """Every name that the statement, or a function in it, may read."""
        return set(self.operands).union(*(f.reads() for f in self.functions.values()))


@dataclass(frozen=True)
class Function:
    """``def name(params): statements; return form``, where ``{0}``, ... in ``form`` stand for ``results``.

    An empty form is a tuple of all results. ``decorator`` stands above; ``tail`` are lines after the definition.
    """

    name: str
    params: tuple[str, ...]
    statements: tuple[Statement, ...]
    results: tuple[str, ...]
    form: str = ""
    decorator: str = ""
    tail: tuple[str, ...] = ()

    @property
    def returned(self) -> str:
        """What is returned, as text."""
        if self.form:
            return self.form.format(*self.results, all=", ".join(self.results))
        return f"({', '.join(self.results)}{',' if len(self.results) == 1 else ''})"

    def lines(self) -> Iterator[str]:
        if self.decorator:
            yield self.decorator
        yield f"def {self.name}({', '.join(self.params)}):"
        for statement in self.statements:
            yield from (INDENT + line for line in statement.lines())
        yield f"{INDENT}return {self.returned}"
        yield from self.tail

    def reads(self) -> set[str]:
        return set(self.results).union(*(s.reads() for s in self.statements))


@dataclass(frozen=True)
class Argument:
    """An argument of a program. ``data`` says what numbers it holds (``data.NUMBERS``), ``seed`` which of them.

    ``low`` and ``high`` bound integers, ``high`` excluded. ``is_scalar`` is a Python number, weakly typed.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    seed: int
    data: str = "normal"
    low: int = -4
    high: int = 5
    is_scalar: bool = False


@dataclass(frozen=True)
class Part:
    """One random program: ``function`` called on ``arguments`` as ``call`` says, which gives a tuple.

    In ``call``, ``{f}`` stands for the function and ``{all}`` for its parameters; by default it is ``{f}({all})``.
    """

    function: Function
    arguments: tuple[Argument, ...]
    call: str = "{f}({all})"

    @property
    def called(self) -> str:
        return self.call.format(f=self.function.name, all=", ".join(self.function.params))


@dataclass(frozen=True)
class Options:
    """How ``collage_jax.jit`` is called.

    ``backends`` as there. ``frozen`` and ``donated`` name arguments; those ``packed`` come in one dictionary.
    ``around`` is what is done with the decorated function: ``{f}`` stands for it, ``FLOATS`` for the numbers of
    floating-point arguments. ``static`` is one more argument, a static one. ``costs`` seeds what kernels are said to
    take.
    """

    costs: int = 0
    backends: tuple[str, ...] | None = None
    frozen: tuple[str, ...] = ()
    donated: tuple[str, ...] = ()
    packed: tuple[str, ...] = ()
    static: int | None = None
    around: str = ""
    x64: bool = False


@dataclass(frozen=True)
class Program:
    """Parts in one function; the parts share nothing. ``source``, if there, is the text in place of the parts' own."""

    parts: tuple[Part, ...]
    options: Options
    seed: int = 0
    source: str = ""

    @property
    def arguments(self) -> tuple[Argument, ...]:
        return tuple(a for part in self.parts for a in part.arguments)

    @property
    def text(self) -> str:
        """The program as Python: ``program`` gives a tuple for each part."""
        if self.source:
            return self.source
        lines: list[str] = []
        for part in self.parts:
            lines += [*part.function.lines(), "", ""]
        loose = [a.name for a in self.arguments if a.name not in self.options.packed]
        heads = [*loose, *(["packed"] if self.options.packed else [])]
        heads += [] if self.options.static is None else ["static"]
        lines.append(f"def program({', '.join(heads)}):")
        lines += [f"{INDENT}{name} = packed[{name!r}]" for name in self.options.packed]
        results = [part.called for part in self.parts]
        if self.options.static is not None:
            results.append("(jnp.arange(static),)")
        lines.append(f"{INDENT}return (")
        lines += [f"{INDENT}{INDENT}{result}," for result in results]
        lines.append(f"{INDENT})")
        return "\n".join(lines)

    def only(self, part: int) -> Program:
        """The program with this part alone."""
        return self.with_parts((self.parts[part],))

    def with_parts(self, parts: tuple[Part, ...]) -> Program:
        names = {a.name for part in parts for a in part.arguments}
        options = replace(
            self.options,
            frozen=tuple(n for n in self.options.frozen if n in names),
            donated=tuple(n for n in self.options.donated if n in names),
            packed=tuple(n for n in self.options.packed if n in names),
        )
        return replace(self, parts=parts, options=options)


def function_of(text: str) -> Any:
    """What the text of a program calls ``program``."""
    names = dict(NAMES)
    exec(compile(text, "<program>", "exec"), names)
    return names["program"]
