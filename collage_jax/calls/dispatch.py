"""The decorated function: finds the program for a call and rides on ``jax.jit``'s own dispatch.

A warm call costs what ``jax.jit`` costs (``entry``); with frozen arguments, a comparison of object identities
more. Signatures are met inside ``jax.jit``'s own trace: the function it traces looks the program up and raises
``_Untuned`` if there is none, whereupon it is tuned outside of any trace and the call made again. JAX's transformations
around a placed program act on the original, which the placed one holds (``primitive``).
"""

from __future__ import annotations

import functools
import inspect
import threading
import types
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Any

import jax

from .. import _compat
from ..ffi.entry import Detour, Entry
from ..lowering.build import Lowered, compiled_prepare
from ..placement import Placement
from ..profiling import profile_of
from ..sites import primitive
from ..sites.site import Site
from ..switches import Switches, in_force
from ..tuning.stages import Settings
from .deciding import Call, Tuned, decide
from .frozen import FrozenSets
from .signature import roles_of
from .within import Within, as_a_whole, drawn, is_spread, whole, why_xla_alone


class _Untuned(Detour):
    """Raised while ``jax.jit`` traces a signature that has no program yet."""


class _Interpreted(Detour):
    """Raised where nothing is traced because the user wants to see each step (``jax.disable_jit``)."""


@dataclass(frozen=True, eq=False)
class Program:
    """What serves one signature.

    A placed one has a ``site``, from flat arguments to flat results. With frozen arguments it also has
    ``prepare(*frozen_leaves)`` and ``call(prepared, *args, **kwargs)``, the frozen ones replaced by None. ``under`` are
    the switches that it was made under, and serves under alone: JAX's configuration, by which signatures are told
    apart, holds them.
    """

    tuned: Tuned
    out_tree: Any
    site: Site | None = None
    prepare: Callable[..., Any] | None = None
    call: Callable[..., Any] | None = None
    under: Switches = field(default_factory=in_force)


class Jitted(Entry):
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
        pinned: Placement | None = None,
    ) -> None:
        # What the function carries must not hide our own methods.
        self.__dict__.update((k, v) for k, v in getattr(fun, "__dict__", {}).items() if not hasattr(Jitted, k))
        functools.update_wrapper(self, fun, updated=())
        roles = static_argnums, static_argnames, donate_argnums, donate_argnames
        self._made_of = (fun, settings, frozen, *roles, pinned)
        self._fun = fun
        self._name = getattr(fun, "__name__", type(fun).__name__)
        self._settings = settings
        self._pinned = pinned
        self._roles = roles_of(fun, frozen, static_argnums, static_argnames, donate_argnums, donate_argnames)
        static = {"static_argnums": static_argnums, "static_argnames": static_argnames}
        donate = {"donate_argnums": donate_argnums, "donate_argnames": donate_argnames}
        #: Plain ``jax.jit``: under other transformations, with ``tune="off"``, for arguments spread over devices.
        self._plain = jax.jit(fun, **static, **donate)
        #: The function as it is tuned, and as ``_placed`` holds it where XLA alone is fastest: traced once for both.
        #: Nothing is donated, since tuning uses its arguments again and again.
        self._undonated = jax.jit(fun, inline=True, **static)
        self._placed = jax.jit(_like(fun, self._traced), **static, **donate)
        self._within = Within(self._plain, self._undonated, self._roles, settings, self._name)
        self._programs: dict[Hashable, Program] = {}
        self._frozen_sets = FrozenSets()
        self._lock = threading.RLock()
        self._off = settings.tune == "off"
        #: True once some signature runs on packed frozen arguments; until then nobody needs to look at their identity.
        self._packs = False
        #: Set by the first arguments spread over devices. ``jax.jit`` keeps no failed compilation, so looking at each
        #: call's arguments is cheaper from then on.
        self._looks_for_spread = False
        #: What a call goes to, the cheapest that is right: nothing but this stands between it and ``jax.jit``.
        self._serve = self._plain if self._off else self._placed
        self._detoured = self._take_detour

    def _take_detour(self, kind: type[Detour], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return self._fun(*args, **kwargs) if kind is _Interpreted else self._first_call(args, kwargs)

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        return self if instance is None else Bound(self, instance)

    def __reduce__(self) -> tuple[Any, ...]:
        return Jitted, self._made_of

    def __repr__(self) -> str:
        return f"<collage_jax.jit of {self._fun!r}>"

    def placement(self, *args: Any, **kwargs: Any) -> Placement:
        """The placement for these arguments (arrays or ``jax.ShapeDtypeStruct``), tuning if that was not done yet."""
        if self._off or in_force().off:
            return Placement((), notes=('Plain jax.jit, as tune="off" asks.',))
        return self._program(*self._normalised(args, kwargs)).tuned.placement

    def explain(self, *args: Any, profile: bool = False, **kwargs: Any) -> str:
        """A table of the placement: regions, backend, time, runner-ups, refusals with their reasons.

        ``profile=True`` runs the placed program on these arguments and adds where its time goes: each region inside the
        whole, what it achieves and what the machine could. (A keyword argument of the function's own called ``profile``
        can only be given by position.)
        """
        placement = self.placement(*args, **kwargs)
        return f"{placement}{self._profile(placement, args, kwargs)}" if profile else str(placement)

    def lower(self, *args: Any, **kwargs: Any) -> Any:
        """As ``jax.jit(fun).lower``: the placed program, in which frozen arguments are prepared by each call."""
        return self._inspectable(args, kwargs).lower(*args, **kwargs)

    def trace(self, *args: Any, **kwargs: Any) -> Any:
        """As ``jax.jit(fun).trace``, of the placed program."""
        return self._inspectable(args, kwargs).trace(*args, **kwargs)

    def eval_shape(self, *args: Any, **kwargs: Any) -> Any:
        """As ``jax.jit(fun).eval_shape``."""
        return self._plain.eval_shape(*args, **kwargs)

    def clear_cache(self) -> None:
        """Forget compiled programs, placements and packed arrays of this function. Costs stay known."""
        with self._lock:
            self._programs.clear()
            self._frozen_sets = FrozenSets()
            self._within.clear()
            jitted: Any
            for jitted in (self._plain, self._undonated, self._placed):
                jitted.clear_cache()

    def _normalised(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        return self._roles.positional(args, kwargs) if self._roles.frozen else (args, kwargs)

    def _inspectable(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if self._off or in_force().off or not _compat.is_top_level() or why_xla_alone((args, kwargs)):
            return self._plain
        self._program(*self._normalised(args, kwargs))
        return self._placed

    # -- without frozen arguments --------------------------------------------------------------------------------------

    def _first_call(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """A call of a new signature, or with arguments spread over devices."""
        if not _compat.is_top_level():
            _compat.mend_dispatch(self._placed)
            self._serve = self._look_and_serve
            return self._serve(*args, **kwargs)
        if is_spread((args, kwargs)):
            self._looks_for_spread = True
            self._serve = self._look_and_serve
            return self._plain(*args, **kwargs)
        self._program(*self._normalised(args, kwargs))
        _compat.mend_dispatch(self._placed)
        try:
            return self._serve(*args, **kwargs)
        except (_Untuned, _compat.SpreadOverDevices):  # another thread cleared the cache; arrays closed over are spread
            return self._plain(*args, **kwargs)

    def _look_and_serve(self, *args: Any, **kwargs: Any) -> Any:
        """Calls of a function that has packed frozen arguments, met some spread over devices, or a trace."""
        if in_force().off:
            return self._plain(*args, **kwargs)
        if not _compat.is_top_level():
            return self._traced_call(args, kwargs)
        if self._looks_for_spread and is_spread((args, kwargs)):
            return self._plain(*args, **kwargs)
        return self._call_frozen(args, kwargs) if self._packs else self._placed(*args, **kwargs)

    def _traced_call(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """A call while JAX traces something around it."""
        if _compat.is_interpreting():
            raise _Interpreted
        if self._pinned is not None:  # it is of the whole function at top level
            return self._plain(*args, **kwargs)
        return self._within(*self._normalised(args, kwargs))

    def _traced(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """What ``jax.jit`` traces: the placed program of this signature, or the function where XLA is fastest."""
        if _compat.is_interpreting():
            raise _Interpreted
        args, kwargs = self._normalised(args, kwargs)
        if in_force().off:
            return self._undonated(*args, **kwargs)
        program = self._programs.get(self._roles.key(args, kwargs))
        if program is None:
            raise _Untuned
        if program.site is None:
            return self._undonated(*args, **kwargs)
        leaves = jax.tree.leaves(self._roles.dynamic(args, kwargs))
        return jax.tree.unflatten(program.out_tree, primitive.bind(leaves, program.site))

    # -- tuning --------------------------------------------------------------------------------------------------------

    def _program(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Program:
        """The program for these arguments, tuned now if there is none."""
        note = why_xla_alone((args, kwargs))
        if note is not None:  # not kept: other arguments of this key may be on one device
            return Program(Tuned(Placement((), notes=(note,)), None), self._undonated.trace(*args, **kwargs).out_tree)
        key = self._roles.key(args, kwargs)
        with self._lock:
            program = self._programs.get(key)
            if program is None:
                program = self._programs[key] = self._tune(args, kwargs)
        return program

    def _tune(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Program:
        asked, out_tree = self._asked(args, kwargs)
        tuned = decide(asked, self._settings, self._pinned)
        if tuned.lowered is None:
            return Program(tuned, out_tree)
        prepare = compiled_prepare(tuned.lowered)
        prepared = None if self._roles.frozen else prepare()
        run = whole(tuned.lowered, asked.frozen, prepared)
        site = Site(asked.program, self._within.place, asked.name, run)
        if not self._roles.frozen:
            return Program(tuned, out_tree, site)
        call = self._frozen_call(tuned.lowered, out_tree, self._open_key(args, kwargs))
        self._packs, self._serve = True, self._look_and_serve
        return Program(tuned, out_tree, site, prepare, call)

    def _asked(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Call, Any]:
        """This call as those who decide want it, and the structure of its result."""
        with as_a_whole():
            traced = self._undonated.trace(*args, **kwargs)
        leaves, tree = jax.tree.flatten(self._roles.dynamic(args, kwargs))
        arrays = [_concrete(leaf, i) for i, leaf in enumerate(leaves)]
        dynamic_args, dynamic_kwargs = jax.tree.unflatten(tree, arrays)
        full_args, full_kwargs = self._roles.with_static(args, dynamic_args), {**kwargs, **dynamic_kwargs}
        reference = functools.partial(self._undonated, *full_args, **full_kwargs)
        return Call(traced.jaxpr, self._roles.frozen_leaves(args), arrays, reference, self._name), traced.out_tree

    def _profile(self, placement: Placement, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
        if placement.is_xla:
            return "No profile: XLA runs everything, and only jax.profiler sees into it.\n"
        asked, _ = self._asked(*self._normalised(args, kwargs))
        return str(profile_of(asked, placement, self._settings.now))

    # -- with frozen arguments -----------------------------------------------------------------------------------------

    def _call_frozen(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if len(args) <= self._roles.frozen[-1]:
            args, kwargs = self._roles.positional(args, kwargs)
        held = self._frozen_sets.find([args[i] for i in self._roles.frozen])
        if held.only is not None and held.only[0].under is in_force():
            try:
                return self._run(*held.only, args, kwargs)
            except _Untuned:
                _compat.mend_dispatch(self._placed)
        key = self._open_key(args, kwargs)
        served = held.get(key)
        if served is None:
            if _compat.is_interpreting():
                raise _Interpreted
            if is_spread((args, kwargs)):
                raise _compat.SpreadOverDevices
            served = held.put(key, lambda: self._prepared(args, kwargs))
        return self._run(*served, args, kwargs)

    def _run(self, program: Program, prepared: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if program.call is None:
            # `_placed` finds this signature's program, which is the function itself, and notices any other signature.
            return self._placed(*args, **kwargs)
        return program.call(prepared, *self._roles.open(args), **kwargs)

    def _prepared(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Program, Any]:
        program = self._program(args, kwargs)
        if program.prepare is None:
            return program, None
        leaves = jax.tree.leaves([args[i] for i in self._roles.frozen])
        return program, program.prepare(*leaves)

    def _open_key(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Hashable:
        """The key of the arguments that are not frozen."""
        return self._roles.key(self._roles.open(args), kwargs)

    def _frozen_call(self, lowered: Lowered, out_tree: Any, key: Hashable) -> Callable[..., Any]:
        """The part that runs each call: ``call(prepared, *args, **kwargs)``, for arguments of this key."""

        def call(prepared: Any, *args: Any, **kwargs: Any) -> Any:
            if _compat.is_top_level():
                raise _Interpreted
            if self._roles.key(args, kwargs) != key:
                raise _Untuned
            leaves = jax.tree.leaves(self._roles.dynamic(args, kwargs))
            return _unflatten(out_tree, lowered.run(prepared, *leaves))

        return jax.jit(call, **self._roles.shifted())


def unbound(fun: Any) -> tuple[Any, tuple[Any, ...]]:
    """The function that ``fun`` is, and the instance, if any, that comes before its arguments."""
    return (fun.__func__, (fun.__self__,)) if isinstance(fun, Bound) else (fun, ())


class Bound:
    # A decorated function looked up on an instance: ``functools.partial`` cannot bind its other methods, and a Python
    # method would lose the instance in ``model.apply.explain(x)``.

    __slots__ = ("__func__", "__self__", "__weakref__")

    def __init__(self, function: Jitted, instance: Any) -> None:
        self.__func__ = function
        self.__self__ = instance

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.__func__(self.__self__, *args, **kwargs)

    def placement(self, *args: Any, **kwargs: Any) -> Placement:
        return self.__func__.placement(self.__self__, *args, **kwargs)

    def explain(self, *args: Any, **kwargs: Any) -> str:
        return self.__func__.explain(self.__self__, *args, **kwargs)

    def lower(self, *args: Any, **kwargs: Any) -> Any:
        return self.__func__.lower(self.__self__, *args, **kwargs)

    def trace(self, *args: Any, **kwargs: Any) -> Any:
        return self.__func__.trace(self.__self__, *args, **kwargs)

    def eval_shape(self, *args: Any, **kwargs: Any) -> Any:
        return self.__func__.eval_shape(self.__self__, *args, **kwargs)

    def __reduce__(self) -> tuple[Any, ...]:
        return Bound, (self.__func__, self.__self__)

    @property
    def __doc__(self) -> str | None:  # type: ignore[override]
        return self.__func__.__doc__

    @property
    def __signature__(self) -> inspect.Signature:
        return inspect.signature(types.MethodType(self.__func__._fun, self.__self__))

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__func__, name)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Bound) and self.__func__ is other.__func__ and self.__self__ is other.__self__

    def __hash__(self) -> int:
        return hash((id(self.__func__), id(self.__self__)))

    def __repr__(self) -> str:
        return f"<bound {self.__func__!r} of {self.__self__!r}>"


def _like(fun: Callable[..., Any], body: Callable[[tuple[Any, ...], dict[str, Any]], Any]) -> Callable[..., Any]:
    """``body`` with the name of ``fun`` and its signature, by which ``jax.jit`` finds static arguments."""

    def traced(*args: Any, **kwargs: Any) -> Any:
        return body(args, kwargs)

    inner = fun
    while isinstance(inner, functools.partial):
        inner = inner.func
    traced.__name__ = getattr(inner, "__name__", type(inner).__name__)
    traced.__qualname__ = getattr(inner, "__qualname__", traced.__name__)
    return functools.update_wrapper(traced, fun, updated=())


def _unflatten(out_tree: Any, results: list[Any]) -> Any:
    return jax.tree.unflatten(out_tree, [_compat.for_one_device(r) for r in results[:1]] + results[1:])


def _concrete(leaf: Any, number: int) -> Any:
    """``leaf`` itself, or for a mere shape and dtype an array drawn for it."""
    if not isinstance(leaf, jax.ShapeDtypeStruct):
        return leaf
    return drawn([_compat.typeof(leaf)], number)[0]
