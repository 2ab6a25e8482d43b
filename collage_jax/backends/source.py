"""The version of a backend that does not give one: what it is written in."""

from __future__ import annotations

import hashlib
import inspect
from functools import cache
from pathlib import Path


@cache
def source_version(kind: type) -> str:
    """A hash of the file that defines ``kind``, or of the compiled methods where there is no file (a console)."""
    try:
        text = Path(inspect.getfile(kind)).read_bytes()
    except (TypeError, OSError, KeyError):
        methods = (getattr(m, "__code__", None) for _, m in sorted(vars(kind).items(), key=lambda item: item[0]))
        text = b"".join(code.co_code + repr(code.co_names + code.co_varnames).encode() for code in methods if code)
    return f"source {hashlib.sha256(text).hexdigest()[:12]}"
