"""A backend says what it is: name, kind, platforms, version, whether it can be used."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from ...backends import discovery
from ...backends.base import Backend, Unsupported
from ..findings import Violation, said
from ..subject import Subject

violation = partial(Violation, "description")


def check_description(subject: Subject) -> Iterator[Violation]:
    """What ``register_backend`` demands, and what costs are kept under."""
    backend = subject.backend
    try:
        discovery.check(backend)
    except (TypeError, ValueError) as error:
        yield violation("a backend must be one that can be registered", str(error), "correct it as the message says")
    if not backend.platforms:
        yield violation("`platforms` must name a platform of JAX", repr(backend.platforms), "write ('cpu',)")
    yield from _availability(backend)
    if next(_availability(backend), None) is None and backend.available() is None:
        yield from _version(backend)


def _availability(backend: Backend) -> Iterator[Violation]:
    rule = "`available()` must return None or Unsupported(reason)"
    try:
        first, second = backend.available(), backend.available()
    except Exception as error:
        yield violation(rule, said(error), "return Unsupported(str(error)) where a library cannot be loaded")
        return
    if not (first is None or isinstance(first, Unsupported)):
        yield violation(rule, repr(first), "return None if it can be used")
    elif isinstance(first, Unsupported) and not (isinstance(first.reason, str) and first.reason.strip()):
        yield violation(rule, repr(first), "say why it cannot be used")
    elif first != second:
        yield violation("`available()` must say the same each time", f"{first!r}, then {second!r}", "decide it once")


def _version(backend: Backend) -> Iterator[Violation]:
    rule = "`version()` must be a string with something in it, the same each time"
    remedy = "give the versions of the code and of the libraries whose speed it has: costs are kept under it"
    try:
        first, second = backend.version(), backend.version()
    except Exception as error:
        yield violation(rule, said(error), remedy)
        return
    if not isinstance(first, str) or not first.strip():
        yield violation(rule, repr(first), remedy)
    elif first != second:
        yield violation(rule, f"{first!r}, then {second!r}", remedy)
