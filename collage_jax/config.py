"""Defaults, and switches of the process, from the environment and from code.

``collage_jax.config.budget_s = 30`` holds for functions decorated later; ``COLLAGE_JAX_BUDGET_S=30`` for a process.
Switches hold at once, for functions decorated before too: ``tune = "off"``, ``disable_backends``, ``disable_regions``
and ``deterministic``.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable
from dataclasses import dataclass, field, fields
from math import inf
from numbers import Real
from typing import Any

from . import spawn, switches
from .spelling import did_you_mean
from .switches import Switches, checked_names

TUNE_MODES = ("two-level", "op-level", "cached", "again", "off")

PREFIX = "COLLAGE_JAX_"
#: What one process of ours tells another.
INTERNAL = frozenset({spawn.VARIABLE, f"{PREFIX}SOURCE_URL"})


def _names(text: str | None) -> tuple[str, ...] | None:
    return tuple(n.strip() for n in text.split(",") if n.strip()) if text else None


def checked_mode(what: str, mode: Any, remedy: str) -> str:
    """One of ``TUNE_MODES``, given as ``what``; ``remedy`` is there for what resembles none."""
    if mode not in TUNE_MODES:
        near = did_you_mean(mode, TUNE_MODES) or f"; {remedy} {TUNE_MODES[0]!r}"
        raise ValueError(f"{what} must be one of {', '.join(map(repr, TUNE_MODES))}, got {mode!r}{near}")
    return mode


def checked_seconds(what: str, seconds: Any, remedy: str) -> float:
    """A time of 0 or more, given as ``what``."""
    if not isinstance(seconds, Real) or isinstance(seconds, bool):
        raise TypeError(f"{what} must be a number of seconds, got {type(seconds).__name__}; {remedy} 60")
    if not 0 <= (time_s := float(seconds)) < inf:
        raise ValueError(f"{what} must be >= 0 seconds and finite, got {seconds}; {remedy} 60")
    return time_s


def checked_allowed(names: Any, remedy: str) -> tuple[str, ...] | None:
    """Names of backends, known or not; None for every one."""
    if names is None:
        return None
    if isinstance(names, str):
        raise TypeError(f"`backends` must be a sequence of names, got the string {names!r}; write [{names!r}]")
    if not isinstance(names, Iterable):
        raise TypeError(f"`backends` must be a sequence of names, got {names!r}; {remedy} to allow every one")
    held: tuple[Any, ...] = tuple(names)
    for name in held:
        if not isinstance(name, str):
            raise TypeError(f"`backends` must hold names, got {name!r}; see collage_jax.backends() for those there are")
    return tuple(dict.fromkeys(held))


def _mode(variable: str) -> str:
    return checked_mode(variable, os.environ.get(variable, "").strip().lower() or TUNE_MODES[0], "unset it for")


def _seconds(variable: str, default: float) -> float:
    text = os.environ.get(variable)
    try:
        seconds = float(text) if text else default
    except ValueError:
        raise ValueError(f"{variable} must be a number of seconds, got {text!r}; unset it for {default:g}") from None
    return checked_seconds(variable, seconds, "unset it for")


def _switch(variable: str, default: bool) -> bool:
    text = os.environ.get(variable, "").strip().lower()
    known = {"": default, "on": True, "1": True, "true": True, "off": False, "0": False, "false": False}
    if text not in known:
        raise ValueError(f"{variable} must be on or off, got {text!r}; unset it for {'on' if default else 'off'}")
    return known[text]


_FLAGS = ("worker", "progress", "flush_l2", "deterministic")
_PATHS = ("cache_dir", "placements")


@dataclass
class Config:
    """What ``collage_jax.jit`` uses where its own argument is None.

    ``tune``: ``COLLAGE_JAX_TUNE``, one of ``TUNE_MODES``; ``"off"`` is a switch. ``backends``:
    ``COLLAGE_JAX_BACKENDS``, names and commas; None allows every one. ``budget_s``: ``COLLAGE_JAX_BUDGET_S``, seconds
    of tuning for each signature. ``cache_dir``: ``COLLAGE_JAX_CACHE_DIR``, where costs and placements are kept; None
    for the user's cache directory, ``"off"`` to keep them in memory. ``worker``: ``COLLAGE_JAX_WORKER``, whether to
    tune in a process of its own. ``progress``: ``COLLAGE_JAX_PROGRESS``, whether to show on a terminal how far tuning
    has come. ``flush_l2``: ``COLLAGE_JAX_FLUSH_L2``, whether kernels that are timed alone on a GPU find nothing in its
    L2 cache. ``placements``: ``COLLAGE_JAX_PLACEMENTS``, a folder with placements to be used where a function has none
    pinned.

    Switches, which go beside those of the function: ``disable_backends``, ``disable_regions``:
    ``COLLAGE_JAX_DISABLE_BACKENDS``, ``COLLAGE_JAX_DISABLE_REGIONS``, names and commas. ``deterministic``:
    ``COLLAGE_JAX_DETERMINISTIC``, the same bits in every call and process.
    """

    tune: str = field(default_factory=lambda: _mode("COLLAGE_JAX_TUNE"))
    backends: tuple[str, ...] | None = field(default_factory=lambda: _names(os.environ.get("COLLAGE_JAX_BACKENDS")))
    budget_s: float = field(default_factory=lambda: _seconds("COLLAGE_JAX_BUDGET_S", 60.0))
    cache_dir: str | None = field(default_factory=lambda: os.environ.get("COLLAGE_JAX_CACHE_DIR") or None)
    worker: bool = field(default_factory=lambda: _switch("COLLAGE_JAX_WORKER", True))
    progress: bool = field(default_factory=lambda: _switch("COLLAGE_JAX_PROGRESS", True))
    flush_l2: bool = field(default_factory=lambda: _switch("COLLAGE_JAX_FLUSH_L2", True))
    placements: str | None = field(default_factory=lambda: os.environ.get("COLLAGE_JAX_PLACEMENTS") or None)
    disable_backends: tuple[str, ...] = field(
        default_factory=lambda: _names(os.environ.get("COLLAGE_JAX_DISABLE_BACKENDS")) or ()
    )
    disable_regions: tuple[str, ...] = field(
        default_factory=lambda: _names(os.environ.get("COLLAGE_JAX_DISABLE_REGIONS")) or ()
    )
    deterministic: bool = field(default_factory=lambda: _switch("COLLAGE_JAX_DETERMINISTIC", False))

    def __setattr__(self, name: str, value: Any) -> None:
        known = [f.name for f in fields(self)]
        if name not in known:
            near = did_you_mean(name, known)
            raise AttributeError(f"there is no setting called {name!r}; there are {', '.join(known)}{near}")
        if name == "tune":
            checked_mode("`tune`", value, "the default is")
        if name == "budget_s":
            value = checked_seconds("`budget_s`", value, "the default is")
        if name == "backends":
            value = checked_allowed(value, "set it to None")
        if name in ("disable_backends", "disable_regions"):
            value = checked_names(name, value)
        if name in _FLAGS and not isinstance(value, bool):
            raise TypeError(f"`{name}` must be True or False, got {value!r}; set it to one of them")
        if name in _PATHS and not isinstance(value, (str, os.PathLike, type(None))):
            raise TypeError(f"`{name}` must be a path or None, got {value!r}; set it to the path as a text")
        super().__setattr__(name, os.fspath(value) if isinstance(value, os.PathLike) else value)
        if self is globals().get("config"):
            switches.throw(self.switches)

    @property
    def switches(self) -> Switches:
        """What these settings switch off."""
        return Switches(
            self.tune == "off",
            tuple(sorted(self.disable_backends)),
            tuple(sorted(self.disable_regions)),
            self.deterministic,
        )


#: The environment variables that are read, by setting.
VARIABLES = {f.name: PREFIX + f.name.upper() for f in fields(Config)}


def unknown_variables() -> list[str]:
    """Variables of the environment that look like ours and mean nothing."""
    return sorted(n for n in os.environ if n.startswith(PREFIX) and n not in INTERNAL.union(VARIABLES.values()))


config = Config()
switches.throw(config.switches)
for _name in unknown_variables():
    warnings.warn(
        f"the environment has {_name}, which means nothing to collage_jax: it reads {', '.join(VARIABLES.values())}"
        f"{did_you_mean(_name, VARIABLES.values(), PREFIX)}",
        stacklevel=1,
    )
