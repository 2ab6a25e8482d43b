"""The arguments of a call: which are static, frozen or traced, and what about them decides the program."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax

from .. import _compat


@dataclass(frozen=True)
class Roles:
    """Positions and names of a function's arguments by role; positions count from 0."""

    static_nums: tuple[int, ...]
    static_names: frozenset[str]
    frozen: tuple[int, ...]
    donated_nums: tuple[int, ...]
    donated_names: frozenset[str]
    parameters: tuple[str, ...] | None

    def dynamic(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Traced arguments, in the order in which ``jax.jit`` flattens them."""
        static = self._static_places(len(args))
        positional = tuple(a for i, a in enumerate(args) if i not in static)
        return positional, {k: v for k, v in kwargs.items() if k not in self.static_names}

    def static(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Hashable:
        """Static arguments with their places, and types: 1, 1.0 and True are equal and mean different programs."""
        placed = tuple((i, type(args[i]), args[i]) for i in sorted(self._static_places(len(args))))
        return placed, tuple((k, type(v), v) for k, v in sorted(kwargs.items()) if k in self.static_names)

    def key(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Hashable:
        """Equal for calls that one program serves; raises ``ValueError`` if a static argument has no hash."""
        key = key_of(self.dynamic(args, kwargs), self.static(args, kwargs))
        try:
            hash(key)
        except TypeError as error:
            raise ValueError(f"static arguments must be hashable: {error}; give a tuple for a list") from error
        return key

    def with_static(self, args: Sequence[Any], dynamic: Sequence[Any]) -> tuple[Any, ...]:
        """``args`` with the traced ones replaced by ``dynamic``."""
        static = self._static_places(len(args))
        rest = iter(dynamic)
        return tuple(a if i in static else next(rest) for i, a in enumerate(args))

    def open(self, args: Sequence[Any]) -> tuple[Any, ...]:
        """``args`` with the frozen ones replaced by None."""
        return tuple(None if i in self.frozen else a for i, a in enumerate(args))

    def frozen_leaves(self, args: Sequence[Any]) -> tuple[int, ...]:
        """Numbers of the flat traced inputs that belong to frozen arguments."""
        numbers: list[int] = []
        count = 0
        static = self._static_places(len(args))
        for i, argument in enumerate(args):
            if i in static:
                continue
            leaves = len(jax.tree.leaves(argument))
            if i in self.frozen:
                numbers += range(count, count + leaves)
            count += leaves
        return tuple(numbers)

    def shifted(self) -> dict[str, Any]:
        """``jax.jit``'s arguments for a function that takes one more argument before all others."""
        return {
            "static_argnums": tuple(n if n < 0 else n + 1 for n in self.static_nums),
            "static_argnames": tuple(self.static_names),
            "donate_argnums": tuple(n if n < 0 else n + 1 for n in self.donated_nums),
            "donate_argnames": tuple(self.donated_names),
        }

    def passed(self, count: int) -> tuple[int, ...]:
        """Places of the arguments, among ``count`` positional ones, that are neither static nor frozen."""
        held = self._static_places(count).union(self.frozen)
        return tuple(i for i in range(count) if i not in held)

    def donated(self, count: int) -> frozenset[int]:
        """Places of the donated arguments among ``count`` positional ones."""
        return frozenset(n % count for n in self.donated_nums if -count <= n < count)

    def _static_places(self, count: int) -> set[int]:
        """Places of the static arguments among ``count`` positional ones."""
        return {n for number in self.static_nums if 0 <= (n := number if number >= 0 else count + number) < count}

    def positional(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The call with every frozen argument in its position, also if it was given by name."""
        last = max(self.frozen)
        if last < len(args):
            return args, kwargs
        kwargs = dict(kwargs)
        names = (self.parameters or ())[len(args) : last + 1]
        if len(args) + len(names) <= last or any(n not in kwargs for n in names):
            raise TypeError(
                f"`frozen_argnums` names argument {last}, the call has {len(args)} positional ones; pass the frozen "
                "arguments, and those before them, on every call"
            )
        return args + tuple(kwargs.pop(n) for n in names), kwargs


def roles_of(
    fun: Callable[..., Any],
    frozen: Sequence[int],
    static_nums: Any,
    static_names: Any,
    donate_nums: Any,
    donate_names: Any,
) -> Roles:
    """Check the roles against each other and the function's own signature."""
    nums, names = _compat.infer_static(fun, static_nums, static_names)
    donated, donated_names = _compat.infer_static(fun, donate_nums, donate_names)
    parameters = _positional_parameters(fun)
    count = len(parameters) if parameters is not None else None
    frozen = tuple(dict.fromkeys(_in_range(n, count, parameters) for n in frozen))
    for role, others in (("static", nums), ("donated", donated)):
        clash = sorted(set(frozen) & {n % count if n < 0 and count else n for n in others})
        if clash:
            raise ValueError(
                f"argument {clash[0]} cannot be both frozen and {role}: `frozen_argnums`={tuple(frozen)}, "
                f"{role} arguments {tuple(others)}; take it out of one of the two"
            )
    return Roles(
        tuple(nums), frozenset(names), tuple(sorted(frozen)), tuple(donated), frozenset(donated_names), parameters
    )


def _in_range(number: int, count: int | None, parameters: Sequence[str] | None) -> int:
    if count is None:
        if number < 0:
            raise ValueError(f"`frozen_argnums` must be >= 0 for a function with *args, got {number}; count from 0")
        return number
    if not -count <= number < count:
        raise ValueError(
            f"`frozen_argnums` must name one of the {count} positional arguments ({', '.join(parameters or ())}), "
            f"got {number}; count from 0"
        )
    return number % count


def _positional_parameters(fun: Callable[..., Any]) -> tuple[str, ...] | None:
    """Names of the positional parameters; None if their number is open or unknown."""
    try:
        parameters = inspect.signature(fun).parameters.values()
    except (ValueError, TypeError):
        return None
    if any(p.kind is p.VAR_POSITIONAL for p in parameters):
        return None
    return tuple(p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD))


def key_of(dynamic: Any, static: Hashable) -> Hashable:
    """Equal for calls that one program serves: tree, shapes, dtypes, weak types, static values, JAX's configuration."""
    leaves, tree = jax.tree.flatten(dynamic)
    return tree, tuple(map(_leaf_key, leaves)), static, _compat.trace_config()


def _leaf_key(leaf: Any) -> Hashable:
    aval = _compat.typeof(leaf)
    return aval.shape, aval.dtype, aval.weak_type
