"""Programs that a backend is tried on, and the regions of them that it has to serve."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from typing import Any

import jax

from ..graph.region import Region
from ..problem import Problem, problem_of
from .case import Case
from .findings import said
from .programs import standard


@dataclass(frozen=True, eq=False)
class Program:
    """A case at one set of arguments. ``own`` is False for the standard programs."""

    case: Case
    args: tuple[Any, ...]
    jaxpr: Any
    problem: Problem
    own: bool


@dataclass(frozen=True, eq=False)
class Sample:
    """A region that the backend has to serve; ``graph`` is its graph's name in the program, ``key`` its hash."""

    program: Program
    graph: str
    region: Region
    label: str
    key: str

    def __str__(self) -> str:
        region = self.region
        types = f"{', '.join(map(repr, region.entries))} -> {', '.join(map(repr, region.exits))}"
        return f"{self.program.case.name}: {'+'.join(region.ops)}: {types}"


def program_of(case: Case, args: tuple[Any, ...], own: bool) -> Program:
    """``case`` traced at ``args``, as tuning traces it; ``ValueError`` where it cannot be."""
    try:
        jaxpr = jax.jit(case.fun).trace(*args).jaxpr
    except Exception as error:
        raise ValueError(
            f"a case must be a function that jax.jit can trace at its arguments, got {said(error)} in {case.name!r}; "
            "correct the function or the arguments"
        ) from error
    return Program(case, args, jaxpr, problem_of(jaxpr, ()), own)


@cache
def standard_programs() -> tuple[Program, ...]:
    """The programs that every backend is tried on."""
    return tuple(program_of(each, each.args, own=False) for each in standard())


def by_program(samples: Iterable[Sample]) -> dict[Program, list[Sample]]:
    """``samples`` by the program they are in."""
    found: dict[Program, list[Sample]] = {}
    for sample in samples:
        found.setdefault(sample.program, []).append(sample)
    return found
