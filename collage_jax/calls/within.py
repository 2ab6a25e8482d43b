"""Calls while JAX traces: each becomes one operation, which is placed when it is lowered.

A trace has no arrays to time on: they are drawn. Frozen arguments are frozen there only where they are no part of the
trace; weights that are differentiated, say, are packed by each call, and placed with that in their cost.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from numbers import Integral
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp

from .. import _compat
from ..graph.contents import holds
from ..graph.ir import Value
from ..lowering.build import Lowered, compiled_prepare
from ..measure.inputs import draw
from ..sites import primitive
from ..sites.site import Run, Site
from ..switches import in_force
from ..tuning.stages import Settings
from .between import Parted, can_be_parted, has_crossings
from .deciding import Call, decide
from .frozen import FrozenSets
from .signature import Roles

#: From flat arguments to flat results, if that can be, and the structure of the result.
Made: TypeAlias = tuple[Callable[[Sequence[Any]], list[Any]] | None, Any]

#: While a function is traced that is placed as a whole, with every decorated function in it: the axes of the mesh that
#: it is traced on one device of. What each device does inside of that function is none of the whole.
_WHOLE: ContextVar[frozenset[Any] | None] = ContextVar("_WHOLE", default=None)


@contextmanager
def as_a_whole() -> Iterator[None]:
    """Decorated functions that are called inside are as undecorated ones: something larger is placed."""
    token = _WHOLE.set(_compat.manual_axes())
    try:
        yield
    finally:
        _WHOLE.reset(token)


class Within:
    """The calls within traces of a function: ``plain`` and ``undonated`` are ``jax.jit`` of it."""

    def __init__(self, plain: Any, undonated: Any, roles: Roles, settings: Settings, name: str) -> None:
        self._plain = plain
        self._undonated = undonated
        self._roles = roles
        self._settings = settings
        self._name = name
        self._known_calls: dict[Hashable, Made] = {}
        self._frozen_sets = FrozenSets()
        self._lock = threading.RLock()

    def __call__(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """The call, with frozen arguments in their positions."""
        if (
            in_force().off
            or _WHOLE.get() == _compat.manual_axes()
            or any(map(_compat.is_partitioned, jax.tree.leaves((args, kwargs))))
        ):
            return self._plain(*args, **kwargs)
        roles = self._roles
        frozen = [args[i] for i in roles.frozen]
        if frozen and not any(map(_compat.is_traced, jax.tree.leaves(frozen))) and not is_spread(frozen):
            given = roles.open(args)
            held = self._frozen_sets.find(frozen)
            run, out_tree = held.put(self._key(given, kwargs), lambda: self._made(args, kwargs, closed=True))
        else:
            given = args
            run, out_tree = self._known(args, kwargs)
        if run is None:
            return self._plain(*args, **kwargs)
        return jax.tree.unflatten(out_tree, run(jax.tree.leaves(roles.dynamic(given, kwargs))))

    def place(self, original: Any) -> Run | None:
        """The closed jaxpr ``original``, which is this function or made from it, with kernels; None for XLA alone."""
        if in_force().off:
            return None
        if holds(original, "while"):
            return None  # how often it runs depends on numbers, and drawn ones may never end it
        with jax.ensure_compile_time_eval():
            arrays = drawn(original.in_avals)
            reference = partial(jax.jit(_compat.jaxpr_as_fun(original)), *arrays)
            tuned = decide(Call(original, (), arrays, reference, self._name), self._settings)
            if tuned.lowered is None:
                return None
            return whole(tuned.lowered, (), compiled_prepare(tuned.lowered)())

    def clear(self) -> None:
        """Forget every program."""
        with self._lock:
            self._known_calls.clear()
            self._frozen_sets = FrozenSets()

    def _key(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Hashable:
        leaves = jax.tree.leaves(self._roles.dynamic(args, kwargs))
        return self._roles.key(args, kwargs), tuple(_compat.varying(_compat.typeof(leaf)) for leaf in leaves)

    def _known(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Made:
        key = self._key(args, kwargs)
        with self._lock:
            found = self._known_calls.get(key)
            if found is None:
                found = self._made(args, kwargs, closed=False)
                if found[0] is not None:
                    self._known_calls[key] = found
        return found

    def _made(self, args: tuple[Any, ...], kwargs: dict[str, Any], closed: bool) -> Made:
        """The call for these arguments, the frozen ones ``closed`` over, and the structure of its result.

        None for what cannot be taken out of the trace: side effects, a function that closes over values of the trace.
        """
        leaves, tree = jax.tree.flatten(self._roles.dynamic(args, kwargs))

        def traced(leaves: Iterable[Any]) -> Any:
            dynamic_args, dynamic_kwargs = jax.tree.unflatten(tree, leaves)
            with as_a_whole():
                full = self._roles.with_static(args, dynamic_args)
                return self._undonated.trace(*full, **{**kwargs, **dynamic_kwargs})

        is_mapped = bool(_compat.manual_axes())
        found = traced(leaves if is_mapped else map(_shape_of, leaves))
        is_crossing = has_crossings(found.jaxpr)
        if is_mapped and not is_crossing:
            if not _compat.vary_alike(found.jaxpr):
                return None, None
            found = traced(map(_shape_of, leaves))  # as if there was no mesh: a program for one device
        original = found.jaxpr
        fits = is_mapped and can_be_parted(original) if is_crossing else not original.effects
        if not fits or len(original.in_avals) != len(leaves) or _compat.holds_tracers(original):
            return None, None
        if closed:
            original = _closed_over(original, leaves, self._roles.frozen_leaves(args))
        if is_crossing:
            return Parted(original, self.place, self._name), found.out_tree
        return partial(primitive.bind, site=Site(original, self.place, self._name)), found.out_tree


def drawn(avals: Sequence[Any], seed: int = 0) -> list[Any]:
    """An array for each of ``avals``."""
    arrays = draw([Value(aval) for aval in avals], "positive", seed)
    return [_compat.with_aval(array, aval) for array, aval in zip(arrays, avals, strict=True)]


def is_spread(arguments: Any) -> bool:
    """True if an array among ``arguments`` lies on several devices."""
    shardings = (getattr(leaf, "sharding", None) for leaf in jax.tree.leaves(arguments))
    return any(len(getattr(sharding, "device_set", ())) > 1 for sharding in shardings)


def why_xla_alone(arguments: Any) -> str | None:
    """A note on why a program of these ``arguments`` is XLA's alone, before anybody looks at it; None if it is not."""
    if is_spread(arguments):
        return "Arguments are spread over several devices: XLA alone partitions the program."
    shapes = (getattr(leaf, "shape", ()) for leaf in jax.tree.leaves(arguments))
    if any(not isinstance(size, Integral) for shape in shapes for size in shape):
        return "Arguments have symbolic sizes: kernels are for those that are known."
    return None


def whole(lowered: Lowered, frozen_leaves: tuple[int, ...], prepared: Any) -> Callable[..., list[Any]]:
    """All of a program, from flat arguments; ``prepared`` was made from arrays it closes over, if nothing is frozen."""
    held = frozenset(frozen_leaves)

    def run(*leaves: Any) -> list[Any]:
        ready = lowered.prepare(*(leaves[i] for i in frozen_leaves)) if prepared is None else prepared
        return lowered.run(ready, *(leaf for i, leaf in enumerate(leaves) if i not in held))

    return run


def _shape_of(leaf: Any) -> jax.ShapeDtypeStruct:
    aval = _compat.typeof(leaf)
    return jax.ShapeDtypeStruct(aval.shape, aval.dtype, weak_type=aval.weak_type)


def _closed_over(original: Any, leaves: Sequence[Any], frozen: Sequence[int]) -> Any:
    """``original`` for its other inputs, those numbered ``frozen`` being ``leaves``' arrays as they are now."""
    with jax.ensure_compile_time_eval():
        values = {i: jnp.array(leaves[i]) for i in frozen}
    fun = _compat.jaxpr_as_fun(original)
    count = len(leaves)

    def opened(*others: Any) -> Any:
        rest = iter(others)
        return fun(*(values[i] if i in values else next(rest) for i in range(count)))

    return _compat.make_closed_jaxpr(opened, [a for i, a in enumerate(original.in_avals) if i not in values])
