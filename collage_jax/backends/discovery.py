"""Which backends come with the library and with installed packages, and what makes an object one."""

from __future__ import annotations

import importlib
import pkgutil
import reprlib
from collections.abc import Callable, Sequence
from functools import cache
from importlib import metadata
from typing import Any

from ..graph.region import Region
from ..patterns.language import Pattern
from .base import KINDS, Backend, Unsupported

REFERENCE = "xla"

#: Where packages announce backends: each entry point is a ``Backend``, or what makes one when it is called.
ENTRY_POINTS = "collage_jax.backends"


@cache
def builtin() -> dict[str, Backend]:
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


@cache
def of_packages() -> dict[str, Backend]:
    """The backends that installed packages announce; one that cannot be had stands there with the reason."""
    found: dict[str, Backend] = {}
    for point in metadata.entry_points(group=ENTRY_POINTS):
        backend = _of_entry_point(point)
        where = f"{backend.name!r} of {point.value}"
        if backend.name in found or backend.name in builtin():
            backend = _Broken(f"{backend.name} ({point.value})", f"the name of {where} is taken by another backend")
        found[backend.name] = backend
    return found


def _of_entry_point(point: metadata.EntryPoint) -> Backend:
    try:
        held = point.load()
        backend = held if isinstance(held, Backend) else held()
        check(backend)
    except Exception as error:  # a broken package must not break the function
        return _Broken(point.name, f"its entry point {point.value} failed: {type(error).__name__}: {error}")
    return backend


def check(backend: Any) -> None:
    """Raise unless ``backend`` can be registered."""
    if isinstance(backend, type) and issubclass(backend, Backend):
        raise TypeError(f"`backend` must be an instance, got the class {backend.__name__}; write {backend.__name__}()")
    if not isinstance(backend, Backend):
        raise TypeError(f"`backend` must be a collage_jax.Backend, got {type(backend).__name__}; derive from it")
    kind = type(backend).__name__
    if not isinstance(backend.name, str) or not backend.name.strip() or "," in backend.name:
        raise ValueError(f"{kind}.name must be a name without commas, got {backend.name!r}; it is used in `backends=`")
    if backend.kind not in KINDS:
        raise ValueError(f"{kind}.kind must be one of {', '.join(map(repr, KINDS))}, got {backend.kind!r}")
    if isinstance(backend.platforms, str) or not all(isinstance(p, str) for p in backend.platforms):
        raise TypeError(f"{kind}.platforms must be a tuple of names, got {backend.platforms!r}; such as ('cpu',)")
    if not isinstance(backend.deterministic, bool):
        raise TypeError(f"{kind}.deterministic must be True or False, got {backend.deterministic!r}; write one of them")
    if not isinstance(backend.patterns, Sequence):
        raise TypeError(f"{kind}.patterns must be a list of Patterns, got {backend.patterns!r}")
    for pattern in backend.patterns:
        if not isinstance(pattern, Pattern):
            raise TypeError(
                f"{kind}.patterns must hold Patterns, got {reprlib.repr(pattern)}; write Pattern('a name', the term)"
            )
