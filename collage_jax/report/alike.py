"""Reasons that differ in shapes and numbers alone, told once."""

from __future__ import annotations

import re
from collections.abc import Iterable

#: A number by itself, which the 32 of float32 is not.
_NUMBER = re.compile(r"(?<![\w.])-?\d+(\.\d+)?(e[+-]?\d+)?(?!\w)")
#: Several, as a shape or padding has them.
_NUMBERS = re.compile(r"[(\[](#,?)?[)\]]|#(, ?#)+")


def told_once(lines: Iterable[str]) -> list[str]:
    """The first of each set of ``lines`` that differ in shapes and numbers alone, with how many more there are."""
    alike: dict[str, list[str]] = {}
    for line in lines:
        alike.setdefault(_without_numbers(line), []).append(line)
    return [first + (f" (and {len(more)} more like it)" if more else "") for first, *more in alike.values()]


def _without_numbers(line: str) -> str:
    """``line`` with each number, and all of a shape, as ``#``."""
    shorter = _NUMBER.sub("#", line)
    while shorter != line:
        line, shorter = shorter, _NUMBERS.sub("#", shorter)
    return line
