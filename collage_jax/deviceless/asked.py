"""What is to be placed: a function, or one under ``jax.jit`` or ``collage_jax.jit`` with what that was given."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from .. import _compat
from ..api import checked_argnums, checked_backends
from ..calls.dispatch import Jitted, unbound
from ..calls.signature import Roles, roles_of
from ..switches import NOTHING, Switches

_ROLES = ("static_argnums", "static_argnames", "donate_argnums", "donate_argnames")


@dataclass(frozen=True, eq=False)
class Asked:
    """``fun`` undecorated; ``backends`` are those allowed, ``first`` arguments that come before those of the call."""

    fun: Callable[..., Any]
    roles: Roles
    backends: tuple[str, ...] | None
    switches: Switches
    first: tuple[Any, ...]


def asked(fun: Any, backends: Iterable[str] | None, frozen_argnums: Any, static_argnums: Any) -> Asked:
    """``fun`` with what it was decorated with; arguments that are not None stand instead of that.

    Raises ``TypeError`` or ``ValueError`` for those that are none.
    """
    if not callable(fun):
        raise TypeError(f"`fun` must be callable, got {type(fun).__name__}; pass the function itself, not its result")
    fun, first = unbound(fun)
    options: dict[str, Any] = {}
    frozen: Sequence[int] = ()
    switches = NOTHING
    if isinstance(fun, Jitted):
        _, (fun, settings, frozen, *given, _) = fun.__reduce__()  # what it is pickled as
        options = dict(zip(_ROLES, given, strict=True))
        backends, switches = settings.backends if backends is None else backends, settings.switches
    elif (found := _compat.jitted(fun)) is not None:
        fun, options = found
    if static_argnums is not None:
        options = {**options, "static_argnums": static_argnums, "static_argnames": None}
    if frozen_argnums is not None:
        frozen = checked_argnums("frozen_argnums", frozen_argnums)
    roles = roles_of(fun, frozen, *(options.get(name) for name in _ROLES))
    return Asked(fun, roles, checked_backends(backends), switches, first)
