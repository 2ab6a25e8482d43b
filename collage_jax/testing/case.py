"""Cases: functions with arguments at which a backend should find something to run."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from .. import _compat
from ..graph.ir import Value
from ..measure.inputs import draw
from .strategies import drawn, tuples


@dataclass(frozen=True, eq=False)
class Case:
    """``fun`` at ``args``: arrays, scalars, ``jax.ShapeDtypeStruct``, trees of these, or strategies that draw them.

    ``arguments``, if there, is a strategy that draws all arguments together, as a tuple.
    """

    name: str
    fun: Callable[..., Any]
    args: tuple[Any, ...] = ()
    arguments: Any = None

    def examples(self, count: int) -> list[tuple[Any, ...]]:
        """The arguments to try: ``count`` of them where strategies draw them, the smallest first."""
        if self.arguments is not None:
            strategy = self.arguments
        elif any(map(is_strategy, self.args)):
            strategy = tuples(*self.args)
        else:
            return [self.args]
        found = [each if isinstance(each, tuple) else (each,) for each in drawn(strategy, count)]
        return sorted(found, key=_size)


def case(fun: Callable[..., Any], *args: Any, arguments: Any = None, name: str | None = None) -> Case:
    """``fun`` at ``args``, in which the backend under test should find something it can run.

    ``args`` are what ``fun`` takes: arrays, scalars, ``jax.ShapeDtypeStruct`` (numbers are drawn for it), trees of
    these, or hypothesis strategies for them. ``arguments`` in their place is one strategy for a tuple of all arguments,
    such as ``collage_jax.testing.arguments("m k", "k n")`` for shapes that depend on each other.
    """
    if not callable(fun):
        raise TypeError(f"`fun` must be a function of arrays, got {fun!r}; pass the function itself, not its result")
    if arguments is not None and args:
        raise TypeError(f"give `args` or `arguments`, got both; `arguments` draws all of {name_of(fun)}'s arguments")
    if arguments is not None and not is_strategy(arguments):
        raise TypeError(
            f"`arguments` must be a hypothesis strategy for tuples, got {arguments!r}; pass values as `args`"
        )
    return Case(name or name_of(fun), fun, args, arguments)


def name_of(fun: Callable[..., Any]) -> str:
    """What ``fun`` is called."""
    while isinstance(fun, partial):
        fun = fun.func
    return getattr(fun, "__name__", type(fun).__name__)


def is_strategy(thing: Any) -> bool:
    """True for a strategy of hypothesis, which is imported by whoever has one."""
    hypothesis = sys.modules.get("hypothesis.strategies")
    return hypothesis is not None and isinstance(thing, hypothesis.SearchStrategy)


def concrete(args: tuple[Any, ...], seed: int = 0, fresh: bool = False) -> tuple[Any, ...]:
    """``args`` with arrays drawn for shapes alone; with ``fresh``, for all that is an array of floats."""
    leaves, tree = jax.tree.flatten(args)
    return jax.tree.unflatten(tree, list(_concrete(leaves, seed, fresh)))


def _concrete(leaves: list[Any], seed: int, fresh: bool) -> Iterator[Any]:
    for i, leaf in enumerate(leaves):
        aval = _compat.typeof(leaf)
        if isinstance(leaf, jax.ShapeDtypeStruct) or (fresh and jnp.issubdtype(aval.dtype, jnp.inexact)):
            yield draw([Value(aval)], "normal", 1000 * seed + i)[0]
        else:
            yield leaf


def _size(args: tuple[Any, ...]) -> int:
    return sum(_compat.typeof(leaf).size for leaf in jax.tree.leaves(args))
