"""Defaults, from the environment and from code.

``collage_jax.config.tune = "off"`` holds for functions decorated later;
``COLLAGE_JAX_TUNE=off`` for a process.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field, fields
from typing import Any

TUNE_MODES = ("two-level", "op-level", "cached", "off")


def _names(text: str | None) -> tuple[str, ...] | None:
    return tuple(n.strip() for n in text.split(",") if n.strip()) if text else None


def _seconds(variable: str, default: float) -> float:
    text = os.environ.get(variable)
    try:
        return float(text) if text else default
    except ValueError:
        raise ValueError(f"{variable} must be a number of seconds, got {text!r}; unset it for {default:g}") from None


def _switch(variable: str, default: bool) -> bool:
    text = os.environ.get(variable, "").strip().lower()
    known = {"": default, "on": True, "1": True, "true": True, "off": False, "0": False, "false": False}
    if text not in known:
        raise ValueError(f"{variable} must be on or off, got {text!r}; unset it for {'on' if default else 'off'}")
    return known[text]


@dataclass
class Config:
    """What ``collage_jax.jit`` uses where its own argument is None.

    ``tune``: ``COLLAGE_JAX_TUNE``, one of ``TUNE_MODES``. ``backends``: ``COLLAGE_JAX_BACKENDS``, names and commas;
    None allows every one. ``budget_s``: ``COLLAGE_JAX_BUDGET_S``, seconds of tuning for each signature. ``cache_dir``:
    ``COLLAGE_JAX_CACHE_DIR``, where costs and placements are kept; None for the user's cache directory, ``"off"`` to
    keep them in memory. ``worker``: ``COLLAGE_JAX_WORKER``, whether to tune in a process of its own. ``progress``:
    ``COLLAGE_JAX_PROGRESS``, whether to show on a terminal how far tuning has come. ``flush_l2``:
    ``COLLAGE_JAX_FLUSH_L2``, whether kernels that are timed alone on a GPU find nothing in its L2 cache.
    """

    tune: str = field(default_factory=lambda: os.environ.get("COLLAGE_JAX_TUNE") or "two-level")
    backends: tuple[str, ...] | None = field(default_factory=lambda: _names(os.environ.get("COLLAGE_JAX_BACKENDS")))
    budget_s: float = field(default_factory=lambda: _seconds("COLLAGE_JAX_BUDGET_S", 60.0))
    cache_dir: str | None = field(default_factory=lambda: os.environ.get("COLLAGE_JAX_CACHE_DIR") or None)
    worker: bool = field(default_factory=lambda: _switch("COLLAGE_JAX_WORKER", True))
    progress: bool = field(default_factory=lambda: _switch("COLLAGE_JAX_PROGRESS", True))
    flush_l2: bool = field(default_factory=lambda: _switch("COLLAGE_JAX_FLUSH_L2", True))

    def __setattr__(self, name: str, value: Any) -> None:
        known = [f.name for f in fields(self)]
        if name not in known:
            raise AttributeError(f"there is no setting called {name!r}; there are {', '.join(known)}")
        super().__setattr__(name, value)


config = Config()
