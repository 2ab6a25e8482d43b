"""Which backends there are, and which of them a function may use."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import jax

from ..graph.region import Region
from .base import Backend, Unsupported

REFERENCE = "xla"


@dataclass(frozen=True)
class BackendInfo:
    """What ``collage_jax.backends()`` says of a backend; ``unavailable`` is the reason, None if it can be used."""

    name: str
    kind: str
    platforms: tuple[str, ...]
    version: str
    unavailable: str | None

    @property
    def available(self) -> bool:
        return self.unavailable is None


@cache
def _builtin() -> dict[str, Backend]:
    """The backends of this package: every sibling module or package that holds a ``BACKEND``."""
    package = importlib.import_module(__package__ or "")
    found = (_of_module(m.name) for m in pkgutil.iter_modules(package.__path__))
    return {b.name: b for b in sorted(filter(None, found), key=lambda b: (b.name != REFERENCE, b.name))}


def _of_module(name: str) -> Backend | None:
    try:
        return getattr(importlib.import_module(f"{__package__}.{name}"), "BACKEND", None)
    except Exception as error:  # a broken backend must not break the others
        if name == REFERENCE:
            raise
        return _Broken(name, f"its module cannot be imported: {type(error).__name__}: {error}")


class _Broken(Backend):
    """In place of a backend whose module cannot be imported."""

    kind = "unknown"
    platforms = ("cpu", "gpu", "tpu")

    def __init__(self, name: str, reason: str) -> None:
        self.name, self._reason = name, reason

    def available(self) -> Unsupported:
        return Unsupported(self._reason)

    def emit(self, region: Region) -> Callable[..., Any]:
        raise ValueError(self._reason)


def reference() -> Backend:
    """The backend that runs everything."""
    return _builtin()[REFERENCE]


def get(name: str) -> Backend:
    """The backend called ``name``; ``ValueError`` with the known names if there is none."""
    known = _builtin()
    if name not in known:
        raise ValueError(f"no backend is called {name!r}; known: {', '.join(sorted(known))}")
    return known[name]


def backends() -> tuple[BackendInfo, ...]:
    """Every known backend: name, kind, platforms, version and, if it cannot be used here, the reason."""
    return tuple(_info(backend) for backend in _builtin().values())


def _info(backend: Backend) -> BackendInfo:
    reason = why_unavailable(backend)
    version = backend.version() if reason is None else ""
    return BackendInfo(backend.name, backend.kind, backend.platforms, version, reason)


def why_unavailable(backend: Backend) -> str | None:
    """Why ``backend`` cannot be used in this process on JAX's default device, or None."""
    platform = jax.default_backend()
    if platform not in backend.platforms:
        return f"runs on {', '.join(backend.platforms)}, and JAX's default backend is {platform}"
    try:
        refusal = backend.available()
        if refusal is None:
            backend.version()  # part of every cost's key, so it must not fail later
    except Exception as error:  # a broken backend must not break the function
        return f"{type(error).__name__}: {error}"
    return None if refusal is None else refusal.reason


def usable(names: Sequence[str] | None) -> tuple[list[Backend], dict[str, str]]:
    """Backends to place on, the reference left out, and for each other allowed one the reason it cannot be used.

    ``names`` None means every known one.
    """
    chosen = [get(n) for n in names] if names is not None else list(_builtin().values())
    reasons = {b.name: why_unavailable(b) for b in chosen if b.name != REFERENCE}
    good = [b for b in chosen if b.name != REFERENCE and reasons[b.name] is None]
    return good, {name: reason for name, reason in reasons.items() if reason is not None}
