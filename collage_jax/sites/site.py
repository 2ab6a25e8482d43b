"""A program as JAX's transformations meet it: each makes another program of it, placed in its turn when it is lowered.

Only JAX's public transformations are used, on ``original`` as a function, so that they compose to any order. What they
made is kept, so that a loop of eager calls neither traces nor places again.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import jax

from .. import _compat
from ..switches import in_force

Run = Callable[..., Sequence[Any]]
Place = Callable[[Any], Run | None]


class Site:
    """The closed jaxpr ``original``, flat, and ``run``, which computes the same with kernels.

    If that is not given, ``place(original)`` is asked for it once it is needed; None means that XLA alone is to run it.
    What transformations make of this program is placed by ``place`` too. ``name`` is for the reader.
    """

    def __init__(self, original: Any, place: Place, name: str, run: Run | None = None) -> None:
        self.original = _compat.without_dead_code(original)
        self.name = name
        self._place = place
        self._made: dict[Hashable, Any] = {} if run is None else {("run", in_force()): run}
        self._lock = threading.RLock()

    def __repr__(self) -> str:
        return f"<site of {self.name}>"

    @property
    def plain(self) -> Run:
        """``original`` as a function: what XLA runs and transformations act on."""
        return _compat.jaxpr_as_fun(self.original)

    @property
    def run(self) -> Run:
        """What computes ``original`` here as far as the switches in force allow; decided now if it was not."""
        return self._once(("run", in_force()), lambda: self._place(self.original) or self.plain)

    def compiled(self, call: Callable[..., Any]) -> Callable[..., Any]:
        """``jax.jit`` of ``call``, which binds this site; made once."""
        return self._once("compiled", lambda: jax.jit(call))

    def linearized(self, moving: tuple[int, ...]) -> Linearized:
        """This program where only the inputs ``moving`` change."""
        return self._once(("linearized", moving), lambda: _linearize(self, moving))

    def transposed(self, linear: tuple[int, ...], live: tuple[int, ...]) -> Site:
        """From the other inputs, then cotangents of the outputs ``live``, to cotangents of the inputs ``linear``."""
        return self._once(("transposed", linear, live), lambda: _transpose(self, linear, live))

    def batched(self, axes: tuple[int | None, ...], avals: Sequence[Any]) -> tuple[Site, tuple[int | None, ...]]:
        """This program for inputs of ``avals``, with a batch in ``axes``, and where its outputs have it: first.

        Outputs that nothing batched reaches have none.
        """

        def make() -> tuple[Site, tuple[int | None, ...]]:
            reached = _reached(self.original, [axis is not None for axis in axes])
            out_axes = tuple(0 if is_batched else None for is_batched in reached)
            vmapped = jax.vmap(lambda *ys: tuple(self.plain(*ys)), in_axes=axes, out_axes=out_axes)
            return self.derived(vmapped, avals), out_axes

        return self._once(("batched", axes, tuple(avals)), make)

    def derived(self, fun: Callable[..., Sequence[Any]], avals: Sequence[Any]) -> Site:
        """The site of ``fun``, flat, which was made from this one."""
        return Site(_compat.make_closed_jaxpr(fun, avals), self._place, self.name)

    def _once(self, what: Hashable, make: Callable[[], Any]) -> Any:
        with self._lock:
            if what not in self._made:
                self._made[what] = make()
            return self._made[what]


@dataclass(frozen=True, eq=False)
class Linearized:
    """A program and its derivative at a point.

    ``value`` gives the results, then what the derivative needs besides inputs and results. ``residuals`` says where
    each of the derivative's first inputs is found: its number among inputs, results and those. ``tangent`` takes them
    and the changes of the moving inputs, and gives the changes of the results numbered ``changing``.
    """

    value: Site
    tangent: Site
    residuals: tuple[int, ...]
    changing: tuple[int, ...]


def _linearize(site: Site, moving: tuple[int, ...]) -> Linearized:
    avals = list(site.original.in_avals)
    count = len(site.original.out_avals)
    changing = tuple(i for i, a in enumerate(site.original.out_avals) if a.to_tangent_aval().dtype != jax.dtypes.float0)
    structure: list[Any] = []

    def value(*operands: Any) -> list[Any]:
        def of_moving(*xs: Any) -> tuple[Any, ...]:
            return tuple(site.plain(*_merged(operands, moving, xs)))

        results, push = jax.linearize(of_moving, *(operands[i] for i in moving))
        residuals, tree = jax.tree.flatten(push)
        structure[:] = [tree]
        return [*results, *residuals]

    traced = _compat.make_closed_jaxpr(value, avals)
    (tree,) = structure

    def tangent(*operands: Any) -> list[Any]:
        split = len(operands) - len(moving)
        changes = jax.tree.unflatten(tree, operands[:split])(*operands[split:])
        return [changes[i] for i in changing]

    residual_avals = traced.out_avals[count:]
    changes = [avals[i].to_tangent_aval() for i in moving]
    kept, residuals = _forwarded(traced, count)
    whole = _compat.jaxpr_as_fun(traced)
    return Linearized(
        site.derived(lambda *xs: [y for i, y in enumerate(whole(*xs)) if i in kept], avals),
        site.derived(tangent, [*residual_avals, *changes]),
        residuals,
        changing,
    )


def _forwarded(traced: Any, count: int) -> tuple[frozenset[int], tuple[int, ...]]:
    """Which outputs of ``traced`` have to be given, and where each after the first ``count`` is found.

    Places count inputs first, then given outputs. An output that is an input, or another output, is not given again.
    """
    jaxpr, _ = _compat.open_jaxpr(traced)
    places = {var: i for i, var in enumerate(jaxpr.invars)}
    given = list(range(count))
    for i, var in enumerate(jaxpr.outvars[:count]):
        if not isinstance(var, _compat.Literal):
            places.setdefault(var, len(jaxpr.invars) + i)
    found: list[int] = []
    for i, var in enumerate(jaxpr.outvars[count:], count):
        place = None if isinstance(var, _compat.Literal) else places.get(var)
        if place is None:
            place = len(jaxpr.invars) + len(given)
            given.append(i)
            if not isinstance(var, _compat.Literal):
                places[var] = place
        found.append(place)
    return frozenset(given), tuple(found)


def _transpose(site: Site, linear: tuple[int, ...], live: tuple[int, ...]) -> Site:
    avals = list(site.original.in_avals)
    known = [i for i in range(len(avals)) if i not in linear]
    cotangents = [site.original.out_avals[i].to_tangent_aval() for i in live]

    def back(*operands: Any) -> list[Any]:
        held, given = operands[: len(known)], operands[len(known) :]
        everything = dict(zip(known, held, strict=True))

        def forward(*xs: Any) -> list[Any]:
            full = everything | dict(zip(linear, xs, strict=True))
            results = site.plain(*(full[i] for i in range(len(avals))))
            return [results[i] for i in live]

        shapes = [jax.ShapeDtypeStruct(avals[i].shape, avals[i].dtype) for i in linear]
        return list(jax.linear_transpose(forward, *shapes)(list(given)))

    return site.derived(back, [*(avals[i] for i in known), *cotangents])


def _reached(closed: Any, starts: Sequence[bool]) -> list[bool]:
    """For each output of a closed jaxpr, whether any of the inputs in ``starts`` may change it."""
    jaxpr, _ = _compat.open_jaxpr(closed)
    reached = {var for var, is_start in zip(jaxpr.invars, starts, strict=True) if is_start}

    def is_reached(var: Any) -> bool:
        return not isinstance(var, _compat.Literal) and var in reached

    for eqn in jaxpr.eqns:
        if any(map(is_reached, eqn.invars)):
            reached.update(eqn.outvars)
    return list(map(is_reached, jaxpr.outvars))


def _merged(operands: Sequence[Any], places: Sequence[int], replacements: Sequence[Any]) -> list[Any]:
    merged = list(operands)
    for i, replacement in zip(places, replacements, strict=True):
        merged[i] = replacement
    return merged
