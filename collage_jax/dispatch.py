"""The decorated function: finds the program for a call and rides on ``jax.jit``'s own dispatch.

A warm call costs what ``jax.jit`` costs and one look at whether JAX is tracing; with frozen arguments, one comparison of
object identities more. Signatures are met inside ``jax.jit``'s own trace: the function it traces looks the program up and
raises ``_Untuned`` if there is none, whereupon it is tuned outside of any trace and the call made again.
"""

from __future__ import annotations

import functools
import threading
import types
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any

import jax

from . import _compat
from .frozen import FrozenSets
from .measure.inputs import draw
from .placement import Placement
from .report import table
from .signature import Roles, key_of, roles_of
from .tuning import Settings, Tuned, tune


class _Untuned(Exception):
    """Raised while ``jax.jit`` traces a signature that has no program yet."""


@dataclass(frozen=True, eq=False)
class Program:
    """What serves one signature. ``call(prepared, *args, **kwargs)``, frozen arguments replaced by None, if it is placed."""

    key: Hashable
    tuned: Tuned
    out_tree: Any
    frozen_leaves: tuple[int, ...]
    prepare: Callable[..., Any] | None = None
    call: Callable[..., Any] | None = None


class Jitted:
    """A function decorated with ``collage_jax.jit``."""

    def __init__(
        self,
        fun: Callable[..., Any],
        settings: Settings,
        frozen: tuple[int, ...],
        static_argnums: Any,
        static_argnames: Any,
        donate_argnums: Any,
        donate_argnames: Any,
    ) -> None:
        functools.update_wrapper(self, fun)
        self._fun = fun
        self._settings = settings
        self._roles = roles_of(fun, frozen, static_argnums, static_argnames, donate_argnums, donate_argnames)
        self._static = {"static_argnums": static_argnums, "static_argnames": static_argnames}
        self._donate = {"donate_argnums": donate_argnums, "donate_argnames": donate_argnames}
        #: Plain ``jax.jit``: under other transformations, with ``tune="off"``, and where XLA alone is fastest.
        self._plain = jax.jit(fun, **self._static, **self._donate)
        self._placed = jax.jit(self._traced, **self._static, **self._donate)
        self._programs: dict[Hashable, Program] = {}
        self._frozen_sets = FrozenSets()
        self._lock = threading.RLock()
        self._off = settings.tune == "off"

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if self._off or not _compat.is_top_level():
            return self._plain(*args, **kwargs)
        if self._roles.frozen:
            return self._call_frozen(args, kwargs)
        try:
            return self._placed(*args, **kwargs)
        except _Untuned:
            pass
        self._program(args, kwargs)
        return self._placed(*args, **kwargs)

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        return self if instance is None else types.MethodType(self, instance)

    def __repr__(self) -> str:
        return f"<collage_jax.jit of {self._fun!r}>"

    def placement(self, *args: Any, **kwargs: Any) -> Placement:
        """The placement for these arguments (arrays or ``jax.ShapeDtypeStruct``), tuning if that was not done yet."""
        return self._program(*self._normalised(args, kwargs)).tuned.placement

    def explain(self, *args: Any, **kwargs: Any) -> str:
        """A table of the placement: regions, backend, time, runner-ups, refusals with their reasons."""
        return table(self.placement(*args, **kwargs))

    def lower(self, *args: Any, **kwargs: Any) -> Any:
        """As ``jax.jit(fun).lower``: the placed program for these arguments. Preparing frozen arguments is part of it."""
        return self._inspectable(args, kwargs).lower(*args, **kwargs)

    def trace(self, *args: Any, **kwargs: Any) -> Any:
        """As ``jax.jit(fun).trace``, of the placed program."""
        return self._inspectable(args, kwargs).trace(*args, **kwargs)

    def clear_cache(self) -> None:
        """Forget compiled programs, placements and packed arrays of this function. Costs stay known."""
        with self._lock:
            self._programs.clear()
            self._frozen_sets = FrozenSets()
            self._plain.clear_cache()
            self._placed.clear_cache()

    def _normalised(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        return self._roles.positional(args, kwargs) if self._roles.frozen else (args, kwargs)

    def _inspectable(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if self._off or not _compat.is_top_level():
            return self._plain
        program = self._program(*self._normalised(args, kwargs))
        return self._plain if program.tuned.lowered is None else self._placed

    # -- without frozen arguments --------------------------------------------------------------------------------------

    def _traced(self, *args: Any, **kwargs: Any) -> Any:
        """What ``jax.jit`` traces: the placed program of this signature, or the function itself where XLA is fastest."""
        if self._roles.frozen:
            args, kwargs = self._roles.positional(args, kwargs)
        program = self._programs.get(self._key(args, kwargs))
        if program is None:
            raise _Untuned
        lowered = program.tuned.lowered
        if lowered is None:
            return self._fun(*args, **kwargs)
        leaves = jax.tree.leaves(self._roles.dynamic(args, kwargs))
        held = set(program.frozen_leaves)
        prepared = lowered.prepare(*(leaves[i] for i in program.frozen_leaves))
        results = lowered.run(prepared, *(leaf for i, leaf in enumerate(leaves) if i not in held))
        return jax.tree.unflatten(program.out_tree, results)

    def _key(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Hashable:
        return key_of(self._roles.dynamic(args, kwargs), self._roles.static(args, kwargs))

    # -- tuning --------------------------------------------------------------------------------------------------------

    def _program(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Program:
        """The program for these arguments, tuned now if there is none."""
        key = self._key(args, kwargs)
        with self._lock:
            program = self._programs.get(key)
            if program is None:
                program = self._programs[key] = self._tune(key, args, kwargs)
        return program

    def _tune(self, key: Hashable, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Program:
        measured = jax.jit(self._fun, **self._static)  # nothing is donated: its arguments are used again and again
        traced = measured.trace(*args, **kwargs)
        out_tree = jax.tree.structure(traced.out_info)
        leaves, tree = jax.tree.flatten(self._roles.dynamic(args, kwargs))
        arrays = [_concrete(leaf, i) for i, leaf in enumerate(leaves)]
        dynamic_args, dynamic_kwargs = jax.tree.unflatten(tree, arrays)
        full_args = self._with_static(args, dynamic_args)
        full_kwargs = {**kwargs, **dynamic_kwargs}
        frozen_leaves = self._roles.frozen_leaves(args)
        tuned = tune(
            traced.jaxpr,
            frozen_leaves,
            arrays,
            lambda: jax.tree.leaves(measured(*full_args, **full_kwargs)),
            self._settings,
            spread_over_devices=any(_device_count(leaf) > 1 for leaf in leaves),
        )
        if tuned.lowered is None or not self._roles.frozen:
            return Program(key, tuned, out_tree, frozen_leaves)
        return self._frozen_program(Program(key, tuned, out_tree, frozen_leaves))

    def _with_static(self, args: tuple[Any, ...], dynamic: tuple[Any, ...]) -> tuple[Any, ...]:
        static = dict(self._roles.static(args, {})[0])  # type: ignore[index]
        rest = iter(dynamic)
        return tuple(static[i] if i in static else next(rest) for i in range(len(args)))

    # -- with frozen arguments -----------------------------------------------------------------------------------------

    def _call_frozen(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if len(args) <= self._roles.frozen[-1]:
            args, kwargs = self._roles.positional(args, kwargs)
        held = self._frozen_sets.find([args[i] for i in self._roles.frozen])
        if held.only is not None:
            program, prepared = held.only
            try:
                return self._run(program, prepared, args, kwargs)
            except _Untuned:
                pass
        program = self._program(args, kwargs)
        prepared = held.prepared_for(program, lambda: self._prepare(program, args))
        return self._run(program, prepared, args, kwargs)

    def _run(self, program: Program, prepared: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if program.call is None:
            # `_placed` finds this signature's program, which is the function itself, and notices any other signature.
            return self._placed(*args, **kwargs)
        frozen = self._roles.frozen
        return program.call(prepared, *[None if i in frozen else a for i, a in enumerate(args)], **kwargs)

    def _prepare(self, program: Program, args: tuple[Any, ...]) -> Any:
        if program.prepare is None:
            return None
        leaves = jax.tree.leaves([args[i] for i in sorted(self._roles.frozen)])
        return jax.block_until_ready(program.prepare(*leaves))

    def _frozen_program(self, program: Program) -> Program:
        """``program`` with its preparation and call compiled apart."""
        lowered, roles = program.tuned.lowered, self._roles
        assert lowered is not None
        example: list[Hashable] = []

        def call(prepared: Any, *args: Any, **kwargs: Any) -> Any:
            key = key_of(roles.dynamic(args, kwargs), roles.static(args, kwargs))
            if not example:
                example.append(key)
            elif example[0] != key:
                raise _Untuned
            leaves = jax.tree.leaves(roles.dynamic(args, kwargs))
            return jax.tree.unflatten(program.out_tree, lowered.run(prepared, *leaves))

        shifted = {
            "static_argnums": tuple(n + 1 for n in roles.static_nums),
            "static_argnames": tuple(roles.static_names),
            "donate_argnums": tuple(n + 1 for n in roles.donated_nums),
            "donate_argnames": tuple(roles.donated_names),
        }
        return Program(
            program.key, program.tuned, program.out_tree, program.frozen_leaves, jax.jit(lowered.prepare),
            jax.jit(call, **shifted),
        )  # fmt: skip


def _concrete(leaf: Any, number: int) -> Any:
    """``leaf`` itself, or for a mere shape and dtype an array drawn for it."""
    if isinstance(leaf, jax.ShapeDtypeStruct):
        return draw([_AbstractLeaf(leaf)], seed=number)[0]  # type: ignore[list-item]
    return leaf


@dataclass(frozen=True)
class _AbstractLeaf:
    aval: Any

    @property
    def shape(self) -> tuple[int, ...]:
        return self.aval.shape

    @property
    def dtype(self) -> Any:
        return self.aval.dtype


def _device_count(leaf: Any) -> int:
    sharding = getattr(leaf, "sharding", None)
    return len(sharding.device_set) if sharding is not None and hasattr(sharding, "device_set") else 1
