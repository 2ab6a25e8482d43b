"""A failing program cut down: as long as it fails in the same way, parts, results, statements and sizes go."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp

from .program import Argument, Function, Options, Part, Program, Statement, function_of
from .running import Outcome

Run = Callable[[Program], Outcome]


def shrunk(program: Program, found: Outcome, run: Run, seconds: float = 120.0) -> tuple[Program, Outcome]:
    """The smallest program near ``program`` that fails as ``found`` says, and how; after ``seconds`` at most."""
    end = time.monotonic() + seconds
    if found.part is not None and len(program.parts) > 1:
        program, found = _first(iter([program.only(found.part)]), program, found, run)
    progress = True
    while progress and time.monotonic() < end:
        progress = False
        for smaller in _smaller(program):
            if time.monotonic() > end:
                break
            if not _is_valid(smaller):
                continue
            tried = run(smaller)
            if tried.verdict == found.verdict:
                program, found, progress = smaller, tried, True
                break
    return program, found


def _first(options: Iterator[Program], program: Program, found: Outcome, run: Run) -> tuple[Program, Outcome]:
    for each in options:
        tried = run(each)
        if tried.verdict == found.verdict:
            return each, tried
    return program, found


def _smaller(program: Program) -> Iterator[Program]:
    """Programs with less in them, those with much less first."""
    if len(program.parts) != 1:
        yield from map(program.only, range(len(program.parts)))
        return
    part = program.parts[0]
    plain = replace(program.options, frozen=(), donated=(), packed=(), static=None, around="")
    if plain != program.options:
        yield replace(program, options=plain)
        for name in ("frozen", "donated", "packed", "static", "around"):
            if (usual := getattr(plain, name)) != getattr(program.options, name):
                yield replace(program, options=replace(program.options, **{name: usual}))
    if part.call != Part.call:
        yield _with(program, replace(part, call=Part.call))
    function = part.function
    if len(function.results) > 1:
        yield from (_with_function(program, replace(function, results=(name,))) for name in function.results)
        for i in range(len(function.results)):
            yield _with_function(program, replace(function, results=function.results[:i] + function.results[i + 1 :]))
    types = types_of(program)
    for i in reversed(range(len(function.statements))):
        yield from _without(program, i, types)
    for argument in part.arguments:
        if argument.data not in ("normal", "positive", "unit"):
            tamer = tuple(replace(a, data="normal") if a is argument else a for a in part.arguments)
            yield _with(program, replace(part, arguments=tamer))
    for size in sorted({d for a in part.arguments for d in a.shape if d > 1}, reverse=True):
        for less in (1, 2, size // 2, size - 1):
            if 0 < less < size:
                yield _with(program, _resized(part, size, less))


def _without(program: Program, place: int, types: dict[str, tuple[tuple[int, ...], str]]) -> Iterator[Program]:
    """The program with statement ``place`` replaced: by one of its operands, or by arguments."""
    (part,) = program.parts
    function = part.function
    gone = function.statements[place]
    rest = function.statements[:place] + function.statements[place + 1 :]
    if len(gone.targets) == 1:
        (target,) = gone.targets
        for operand in gone.operands:
            if types.get(operand) == types.get(target) and operand in types:
                renamed = tuple(_renamed(s, target, operand) for s in rest)
                results = tuple(operand if r == target else r for r in function.results)
                yield _with_function(program, replace(function, statements=renamed, results=results))
    if all(t in types for t in gone.targets):
        made = tuple(Argument(t, *types[t], seed=place) for t in gone.targets)
        cut = replace(function, params=(*function.params, *gone.targets), statements=rest)
        yield _pruned(_with(program, Part(cut, (*part.arguments, *made), part.call)))


def _pruned(program: Program) -> Program:
    """``program`` without statements and arguments that nothing needs."""
    (part,) = program.parts
    needed = set(part.function.results)
    kept: list[Statement] = []
    for statement in reversed(part.function.statements):
        if needed.intersection(statement.targets):
            kept.append(statement)
            needed |= statement.reads()
    named = part.call + "".join(s.template for s in kept)
    arguments = tuple(a for a in part.arguments if a.name in needed or a.name in named)
    function = replace(part.function, params=tuple(a.name for a in arguments), statements=tuple(reversed(kept)))
    return _with(program, Part(function, arguments, part.call))


def types_of(program: Program) -> dict[str, tuple[tuple[int, ...], str]]:
    """Shape and dtype of every variable at the top of the only part."""
    (part,) = program.parts
    found: dict[str, tuple[tuple[int, ...], str]] = {}
    names = tuple(dict.fromkeys((*part.function.params, *(t for s in part.function.statements for t in s.targets))))
    function = replace(part.function, results=names)
    text = Program((replace(part, function=function, call=Part.call),), Options()).text
    try:
        with jax.enable_x64(program.options.x64):
            (results,) = jax.eval_shape(function_of(text), *map(_aval, part.arguments))
    except Exception:  # there are values without a type, such as keys: what cannot be told is not replaced
        return found
    for name, each in zip(names, results, strict=True):
        if not jnp.issubdtype(each.dtype, jax.dtypes.extended):
            found[name] = each.shape, str(each.dtype)
    return found


def _is_valid(program: Program) -> bool:
    if _is_odd(program):
        return True
    try:
        with jax.enable_x64(program.options.x64):
            jax.eval_shape(function_of(program.text), *map(_aval, program.arguments))
    except Exception:
        return False
    return True


def _is_odd(program: Program) -> bool:
    """True for programs that take other arguments than their parts do."""
    return bool(program.options.packed) or program.options.static is not None


def _aval(argument: Argument) -> Any:
    return 1.0 if argument.is_scalar else jax.ShapeDtypeStruct(argument.shape, jnp.dtype(argument.dtype))


def _with(program: Program, part: Part) -> Program:
    return program.with_parts((part,))


def _with_function(program: Program, function: Function) -> Program:
    (part,) = program.parts
    return _pruned(_with(program, replace(part, function=function)))


def _renamed(statement: Statement, old: str, new: str) -> Statement:
    def swap(name: str) -> str:
        return new if name == old else name

    def inside(function: Function) -> Function:
        statements = tuple(_renamed(s, old, new) for s in function.statements)
        return replace(function, statements=statements, results=tuple(map(swap, function.results)))

    functions = {name: inside(function) for name, function in statement.functions.items()}
    return replace(statement, operands=tuple(map(swap, statement.operands)), functions=functions)


def _resized(part: Part, size: int, less: int) -> Part:
    """``part`` with ``less`` wherever ``size`` stands: sizes that belong together are equal as a rule."""

    def of(thing: Any) -> Any:
        if isinstance(thing, bool):
            return thing
        if isinstance(thing, int):
            return less if thing == size else thing
        return tuple(map(of, thing)) if isinstance(thing, tuple) else thing

    statements = tuple(
        replace(s, params={k: of(v) for k, v in s.params.items()}, template=_swapped(s.template, size, less))
        for s in part.function.statements
    )
    arguments = tuple(replace(a, shape=of(a.shape)) for a in part.arguments)
    return Part(replace(part.function, statements=statements), arguments, part.call)


def _swapped(template: str, size: int, less: int) -> str:
    return re.sub(rf"(?<![\w.{{]){size}(?=[,)])", str(less), template)
