"""What somebody may have meant by a name that does not exist."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any


def did_you_mean(given: Any, known: Iterable[str], prefix: str = "") -> str:
    """The end of a message: a question after the nearest of ``known``; empty where none is near.

    All names begin with ``prefix``, which makes none of them nearer.
    """
    if not isinstance(given, str):
        return ""
    rest = {name.removeprefix(prefix).lower(): name for name in known}
    near = difflib.get_close_matches(given.removeprefix(prefix).lower(), rest, n=1)
    return f"; did you mean {rest[near[0]]!r}?" if near else ""
