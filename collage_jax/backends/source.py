"""The version of a backend that does not give one: what it is written in."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import CodeType
from typing import Any

from ..host_functions import Digest


def state_version(backend: Any) -> str:
    """A hash of what the instance holds, and of what its class does as far as its own package says."""
    kind = type(backend)
    own = {k: v for k, v in vars(kind).items() if not k.startswith("__") and not k.startswith("_abc")}
    try:
        return Digest(kind.emit).of([own, vars(backend)]).hex()[:12]
    except Exception:  # what cannot be read counts by the file alone
        return ""


@cache
def source_version(kind: type) -> str:
    """A hash of the file that defines ``kind``; of its methods where there is none or it is the script that runs.

    A class of a script goes to other processes by value, where its file is not known: it must have the same version.
    """
    return f"source {hashlib.sha256(_file(kind) or _methods(kind)).hexdigest()[:12]}"


def _file(kind: type) -> bytes:
    if kind.__module__ == "__main__":
        return b""
    try:
        return Path(inspect.getfile(kind)).read_bytes()
    except (TypeError, OSError, KeyError):
        return b""


def _methods(kind: type) -> bytes:
    members = sorted(vars(kind).items(), key=lambda item: item[0])
    codes = [code for _, member in members if isinstance(code := getattr(member, "__code__", None), CodeType)]
    return repr([part for code in codes for part in _parts(code)]).encode()


def _parts(code: CodeType) -> Iterator[object]:
    """What ``code`` does, the functions inside it too."""
    yield code.co_code
    yield code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _parts(constant)
        else:
            yield sorted(map(repr, constant)) if isinstance(constant, frozenset) else repr(constant)
