"""What somebody may have meant by a name that does not exist."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from typing import Any


def did_you_mean(given: Any, known: Iterable[str], prefix: str = "") -> str:
    """The end of a message: a question after the nearest of ``known``; empty where none is near.

    All names begin with ``prefix``, which makes none of them nearer. The first word of a name may stand for it,
    unless it has but two letters.
    """
    if not isinstance(given, str):
        return ""
    whole = {name.removeprefix(prefix).lower(): name for name in sorted(known, reverse=True)}
    begun = {word: name for short, name in whole.items() if len(word := re.split("[_-]", short)[0]) > 2}
    near = difflib.get_close_matches(given.removeprefix(prefix).lower(), begun | whole, n=1)
    return f"; did you mean {(begun | whole)[near[0]]!r}?" if near else ""
