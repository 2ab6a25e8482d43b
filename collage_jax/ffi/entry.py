"""How a call enters: ``Entry`` passes it on to ``_serve`` and, if that raises a ``Detour``, to ``_detoured``.

Written in C++ because a Python frame costs half a microsecond, a tenth of the smallest call of ``jax.jit``; in Python
where the extension was not built.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any


class Detour(Exception):
    """Raised where a call must take another way than the fast one."""


class Entry:
    """``self(*args, **kwargs)`` is ``self._serve(*args, **kwargs)`` or the detour from it."""

    _serve: Callable[..., Any]
    _detoured: Callable[[type[Detour], tuple[Any, ...], dict[str, Any]], Any]

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        try:
            return self._serve(*args, **kwargs)
        except Detour as detour:
            kind = type(detour)
        return self._detoured(kind, args, kwargs)  # outside the handler, so that errors do not drag ours along


if not TYPE_CHECKING:
    try:
        _built = importlib.import_module("collage_jax._entry")
    except ImportError:
        pass
    else:
        Detour, Entry = _built.Detour, _built.Entry
