"""``collage_jax.jit``: composes the stages behind ``jax.jit``'s own dispatch."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from numbers import Integral, Real
from typing import Any

from .backends import registry
from .calls.dispatch import Jitted
from .config import TUNE_MODES, config
from .placement import Placement
from .spelling import did_you_mean
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
      tune: ``"two-level"`` (default), ``"op-level"``, ``"cached"`` (time nothing: known costs, else XLA) or ``"off"``
        (plain ``jax.jit``).
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
    with _naming("COLLAGE_JAX_TUNE", tune):
        mode = _checked_tune(tune)
    with _naming("COLLAGE_JAX_BUDGET_S", budget_s):
        seconds = _checked_budget(budget_s)
    with _naming("COLLAGE_JAX_DISABLE_BACKENDS", None):
        _check_known(config.disable_backends)
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
    _check_known(off)
    return Switches(False, tuple(sorted(off)), tuple(sorted(checked_names("disable_regions", regions))), deterministic)


def _check_known(backends: Iterable[str]) -> None:
    for name in backends:
        if registry.get(name.partition("@")[0]).name == registry.REFERENCE:
            raise ValueError("`disable_backends` must leave 'xla', which runs what nobody else does; take it out")


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
    names = config.backends if names is None else names
    if names is None:
        return None
    if isinstance(names, str):
        raise TypeError(f"`backends` must be a sequence of names, got the string {names!r}; write [{names!r}]")
    if not isinstance(names, Iterable):
        raise TypeError(f"`backends` must be a sequence of names, got {names!r}; omit it to allow every one")
    names = tuple(names)
    for name in names:
        if not isinstance(name, str):
            raise TypeError(f"`backends` must hold names, got {name!r}; see collage_jax.backends() for those there are")
        registry.get(name)
    return tuple(dict.fromkeys(names))


def _checked_tune(mode: str | None) -> str:
    mode = config.tune if mode is None else mode
    if mode not in TUNE_MODES:
        remedy = did_you_mean(mode, TUNE_MODES) or f"; omit it for {TUNE_MODES[0]!r}"
        raise ValueError(f"`tune` must be one of {', '.join(map(repr, TUNE_MODES))}, got {mode!r}{remedy}")
    return mode


def _checked_budget(seconds: float | None) -> float:
    seconds = config.budget_s if seconds is None else seconds
    if not isinstance(seconds, Real) or isinstance(seconds, bool):
        raise TypeError(f"`budget_s` must be a number of seconds, got {type(seconds).__name__}; omit it for 60")
    if not seconds >= 0:
        raise ValueError(f"`budget_s` must be >= 0 seconds, got {seconds}; omit it for 60")
    return float(seconds)


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
