"""Files that others see whole: the old one or the new one, never a part."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[IO[bytes]]:
    """A file to write what shall stand at ``path``, where it is put in the end; nothing changes if that is not reached.

    Raises ``OSError`` naming the remedy for a folder, and for a place in a folder that does not exist.
    """
    target = Path(os.path.realpath(path))  # a link keeps pointing where it did
    if target.is_dir():
        raise IsADirectoryError(f"{os.fspath(path)}: must be a file to write, got a folder; give a name in it")
    if not target.parent.is_dir():
        raise FileNotFoundError(
            f"{os.fspath(path)}: must be in a folder that exists, got {target.parent}; make it first"
        )
    beside = target.with_name(f".{secrets.token_hex(8)}.tmp")
    try:
        with open(beside, "xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, target)
    except BaseException:  # an interrupt too must not leave a part behind
        beside.unlink(missing_ok=True)
        raise
