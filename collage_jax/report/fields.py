"""Values read from a file that anybody may have written: every one is checked, every complaint says where it stands."""

from __future__ import annotations

import json
import math
import reprlib
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn, TypeVar

T = TypeVar("T")

#: Larger numbers are no measurements; sums and products of these are finite, and each whole one is a float.
LARGEST, LARGEST_WHOLE = 1e200, 2**53


class _NotJson(Exception):
    """What the parser's hooks found wrong."""


@dataclass(frozen=True)
class Field:
    """A value of a JSON document: ``where`` it stands, such as ``regions[3].cost``, and in which ``source``.

    The methods return the value as the type asked for and raise ``ValueError`` if it is not of that type; every such
    message ends with ``remedy``.
    """

    value: Any
    where: str
    source: str
    remedy: str

    def fail(self, rule: str) -> NoReturn:
        """Raise ``ValueError``: this value breaks ``rule``."""
        raise ValueError(f"{self.source}: {self.where} must be {rule}, got {reprlib.repr(self.value)}; {self.remedy}")

    def member(self, name: str) -> Field:
        """A member that the object must have."""
        members = self._object()
        if name not in members:
            raise ValueError(f"{self.source}: {self.where} must have the member {name!r}; {self.remedy}")
        return self._inside(members[name], f"{self.where}.{name}")

    def items(self, read: Callable[[Field], T]) -> tuple[T, ...]:
        """The items of a list, each read by ``read``."""
        if not isinstance(self.value, list):
            self.fail("a list")
        return tuple(read(self._inside(item, f"{self.where}[{i}]")) for i, item in enumerate(self.value))

    def entries(self, read: Callable[[Field], T]) -> dict[str, T]:
        """The members of an object by name, each read by ``read``."""
        members = self._object()
        return {name: read(self._inside(value, f"{self.where}[{name!r}]")) for name, value in members.items()}

    def optional(self, read: Callable[[Field], T]) -> T | None:
        """None, or what ``read`` makes of the value."""
        return None if self.value is None else read(self)

    def text(self) -> str:
        if not isinstance(self.value, str):
            self.fail("a string")
        return self.value

    def flag(self) -> bool:
        if not isinstance(self.value, bool):
            self.fail("true or false")
        return self.value

    def whole(self, least: int = 0) -> int:
        """A whole number from ``least`` to ``LARGEST_WHOLE``."""
        if not isinstance(self.value, int) or isinstance(self.value, bool) or self.value < least:
            self.fail(f"a whole number of {least} or more")
        if self.value > LARGEST_WHOLE:
            self.fail(f"at most {LARGEST_WHOLE}")
        return self.value

    def number(self) -> float:
        """A finite number of 0 or more, at most ``LARGEST``."""
        rule = "a finite number of 0 or more"
        if not isinstance(self.value, (int, float)) or isinstance(self.value, bool):
            self.fail(rule)
        try:
            number = float(self.value)
        except OverflowError:
            self.fail(rule)
        if not math.isfinite(number) or number < 0:
            self.fail(rule)
        if number > LARGEST:
            self.fail(f"at most {LARGEST:g}")
        return number

    def positive(self) -> float:
        """A finite number above 0."""
        if self.number() == 0:
            self.fail("a number above 0")
        return self.number()

    def _object(self) -> Mapping[str, Any]:
        if not isinstance(self.value, dict):
            self.fail("an object")
        return self.value

    def _inside(self, value: Any, where: str) -> Field:
        return Field(value, where.removeprefix("the document."), self.source, self.remedy)


def parse(text: str, source: str, remedy: str) -> Field:
    """``text`` as a JSON document.

    Raises ``ValueError`` if it is none, has NaN or infinities, or names a member twice.
    """
    try:
        value = json.loads(text, object_pairs_hook=_members, parse_constant=_refused)
    except _NotJson as problem:
        raise ValueError(f"{source}: {problem}; {remedy}") from None
    except RecursionError:
        raise ValueError(f"{source}: lists and objects must not be this deep inside each other; {remedy}") from None
    except ValueError as error:  # what the parser says of its own, the limit on digits of a number among it
        raise ValueError(f"{source}: must be JSON ({error}); {remedy}") from None
    return Field(value, "the document", source, remedy)


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name, times in Counter(names).items() if times > 1)
        raise _NotJson(f"an object must name each member once, got {twice!r} twice")
    return members


def _refused(name: str) -> NoReturn:
    raise _NotJson(f"numbers must be finite, got {name}")
