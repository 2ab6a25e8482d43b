"""``collage_jax.jit``: composes the stages behind ``jax.jit``'s own dispatch."""

from __future__ import annotations

import functools
import os
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from numbers import Integral, Real
from typing import Any

from .backends import registry
from .calls.dispatch import Jitted
from .config import checked_allowed, checked_mode, checked_seconds, config
from .patterns.vocabulary import why_no_region
from .placement import Placement
from .switches import Switches, also, checked_names
from .tuning.stages import Settings


def jit(
    fun: Callable[..., Any] | None = None,
    *,
    backends: Iterable[str] | None = None,
    frozen_argnums: int | Sequence[int] = (),
    tune: str | None = None,
    budget_s: float | None = None,
    tolerance: float | None = None,
    placement: Placement | str | os.PathLike[str] | None = None,
    disable_backends: Iterable[str] = (),
    disable_regions: Iterable[str] = (),
    deterministic: bool = False,
    static_argnums: int | Sequence[int] | None = None,
    static_argnames: str | Iterable[str] | None = None,
    donate_argnums: int | Sequence[int] | None = None,
    donate_argnames: str | Iterable[str] | None = None,
) -> Any:
    """``jax.jit`` with a choice of kernels.

    The first call with new shapes and dtypes traces ``fun``, finds what the registered backends can run, checks each
    candidate against XLA, times them on this machine and keeps the fastest placement; XLA alone is always among them
    and is used if nothing is clearly faster. Later calls go straight through ``jax.jit``'s dispatch.

    Args:
      fun: what ``jax.jit`` accepts: a function of arrays and pytrees, or a method. Without it a decorator is returned.
      backends: names of the backends to allow; None means every available one. ``"xla"`` is always allowed. A form of a
        backend, such as ``"mine@1"``, stands for that form alone.
      frozen_argnums: positions of arguments that are passed unchanged call after call (weights at inference). What
        depends on them alone is computed once and packed into the kernels' own layouts. Other arrays than before are
        noticed and packed again; NumPy arrays are compared by content, since they can change in place.
      tune: ``"two-level"`` (default), ``"op-level"``, ``"cached"`` (time nothing: known costs, else XLA),
        ``"again"`` (as the default, whatever was decided before) or ``"off"`` (plain ``jax.jit``).
      budget_s: bound on tuning in seconds of wall-clock time for each signature (default 60).
      tolerance: largest allowed difference from ``jax.jit``, relative to the largest output; by default 5e-5 for
        float32, 3e-2 for 16-bit floats.
      placement: a ``Placement``, or the path of a saved one, to use instead of tuning. It is checked first: calls of
        another program than it was made for raise ``ValueError``; where the machine or a library differs from when it
        was made, kernels are compared with XLA, and what cannot run here or is not right stays with XLA.
      disable_backends, disable_regions: names of backends, and of regions as ``explain`` prints them or of operations,
        that XLA is to run instead, beside those that ``collage_jax.config`` switches off.
      deterministic: the same bits in every call and process with the same libraries, on machines of one kind. Nothing
        is chosen by times: kernels run where ``placement`` or ``config.placements`` says so and their backends promise
        the same bits each time, XLA everywhere else.
      static_argnums, static_argnames, donate_argnums, donate_argnames: as in ``jax.jit``.

    Returns:
      A callable with ``placement(*args)``, ``explain(*args)``, ``lower``, ``trace`` and ``clear_cache``.

    Raises:
      TypeError, ValueError: for arguments outside these rules, naming the rule, the value and the remedy.
    """
    if fun is None:
        return functools.partial(
            jit,
            backends=backends,
            frozen_argnums=frozen_argnums,
            tune=tune,
            budget_s=budget_s,
            tolerance=tolerance,
            placement=placement,
            disable_backends=disable_backends,
            disable_regions=disable_regions,
            deterministic=deterministic,
            static_argnums=static_argnums,
            static_argnames=static_argnames,
            donate_argnums=donate_argnums,
            donate_argnames=donate_argnames,
        )
    if not callable(fun):
        raise TypeError(f"`fun` must be callable, got {type(fun).__name__}; pass the function itself, not its result")
    with _naming("COLLAGE_JAX_BACKENDS", backends):
        names = checked_backends(backends)
    _check_configured_switches()
    mode = config.tune if tune is None else checked_mode("`tune`", tune, "omit it for")
    seconds = config.budget_s if budget_s is None else checked_seconds("`budget_s`", budget_s, "omit it for")
    switches = _checked_switches(disable_backends, disable_regions, deterministic)
    settings = Settings(names, mode, seconds, _checked_tolerance(tolerance), switches)
    frozen = checked_argnums("frozen_argnums", frozen_argnums)
    pinned = _checked_placement(placement)
    return Jitted(fun, settings, frozen, static_argnums, static_argnames, donate_argnums, donate_argnames, pinned)


@contextmanager
def disabled(*, backends: Iterable[str] | None = None, regions: Iterable[str] | None = None) -> Iterator[None]:
    """Switch kernels off in this thread, in functions that were called before too: a context, or a decorator.

    Without arguments everything runs as ``jax.jit`` runs it. ``backends`` and ``regions`` switch off those alone, as
    the arguments ``disable_backends`` and ``disable_regions`` of ``collage_jax.jit`` do. As under
    ``jax.default_matmul_precision``, programs are traced and compiled anew inside; both kinds are kept.
    """
    everything = backends is None and regions is None
    with also(Switches(off=True) if everything else _checked_switches(backends, regions, False)):
        yield


def _checked_switches(backends: Iterable[str] | None, regions: Iterable[str] | None, deterministic: bool) -> Switches:
    if not isinstance(deterministic, bool):
        raise TypeError(f"`deterministic` must be True or False, got {deterministic!r}; give one of them")
    off = checked_names("disable_backends", backends)
    for name in off:
        registry.get(name.partition("@")[0])
    _check_leaves_reference(off)
    held = checked_names("disable_regions", regions)
    _warn_of_no_regions(held, stacklevel=4)
    return Switches(False, tuple(sorted(off)), tuple(sorted(held)), deterministic)


def _check_configured_switches() -> None:
    """Names that the configuration switches off and nothing has are warned of: backends may be registered later."""
    with _naming("COLLAGE_JAX_DISABLE_BACKENDS", None):
        _check_leaves_reference(config.disable_backends)
    for name in config.disable_backends:
        if (why := registry.why_unknown(name)) is not None:
            where = "set in collage_jax.config or by COLLAGE_JAX_DISABLE_BACKENDS"
            warnings.warn(f"`disable_backends`, {where}: {why}", stacklevel=1)
    _warn_of_no_regions(config.disable_regions, stacklevel=2)


def _check_leaves_reference(backends: Iterable[str]) -> None:
    if any(name.partition("@")[0] == registry.REFERENCE for name in backends):
        raise ValueError("`disable_backends` must leave 'xla', which runs what nobody else does; take it out")


def _warn_of_no_regions(names: Iterable[str], stacklevel: int) -> None:
    for name in names:
        if (why := why_no_region(name)) is not None:
            warnings.warn(f"`disable_regions` {why}", stacklevel=stacklevel)


@contextmanager
def _naming(variable: str, given: Any) -> Iterator[None]:
    """Errors about a value that was not ``given`` say where it comes from."""
    try:
        yield
    except (TypeError, ValueError) as error:
        if given is not None:
            raise
        raise type(error)(f"{error} (the value is collage_jax.config's, set there or by {variable})") from None


def checked_backends(names: Iterable[str] | None) -> tuple[str, ...] | None:
    """The names, or None for every backend, as ``backends=`` and the configuration give them."""
    names = config.backends if names is None else checked_allowed(names, "omit it")
    for name in names or ():
        registry.get(name)
    return names


def _checked_tolerance(tolerance: float | None) -> float | None:
    if tolerance is None:
        return None
    if not isinstance(tolerance, Real) or isinstance(tolerance, bool):
        raise TypeError(f"`tolerance` must be a number, got {tolerance!r}; omit it for the default of each dtype")
    if not tolerance >= 0:
        raise ValueError(f"`tolerance` must be a number >= 0, got {tolerance!r}; omit it for the default of each dtype")
    return float(tolerance)


def _checked_placement(placement: Placement | str | os.PathLike[str] | None) -> Placement | None:
    if placement is None or isinstance(placement, Placement):
        return placement
    if isinstance(placement, (str, os.PathLike)):
        return Placement.load(placement)
    raise TypeError(
        f"`placement` must be a Placement or the path of a saved one, got {type(placement).__name__}; "
        "see Placement.save"
    )


def checked_argnums(name: str, argnums: int | Sequence[int]) -> tuple[int, ...]:
    """Positions of arguments, given as the argument ``name``."""
    numbers = tuple(argnums) if isinstance(argnums, Iterable) else (argnums,)
    for number in numbers:
        if not isinstance(number, Integral) or isinstance(number, bool):
            raise TypeError(f"`{name}` must hold integers, got {number!r}; give positions of arguments, counted from 0")
    return tuple(map(int, numbers))
