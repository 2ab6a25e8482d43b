"""What a closed jaxpr holds, at any depth."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from .. import _compat


def equations(closed: Any, opens: Callable[[Any], bool] = lambda eqn: True) -> Iterator[Any]:
    """Every equation of ``closed``, and of those in the parameters of one that ``opens``."""
    for eqn in _compat.open_jaxpr(closed)[0].eqns:
        yield eqn
        if opens(eqn):
            for body in _bodies(eqn):
                yield from equations(body, opens)


def has_bodies(eqn: Any) -> bool:
    """True if ``eqn`` holds jaxprs in its parameters."""
    return any(True for _ in _bodies(eqn))


def _bodies(eqn: Any) -> Iterator[Any]:
    for held in eqn.params.values():
        yield from filter(_compat.is_jaxpr, held if isinstance(held, (tuple, list)) else (held,))


def holds(closed: Any, *names: str) -> bool:
    """True if some equation is of a primitive of these ``names``."""
    return any(eqn.primitive.name in names for eqn in equations(closed))
