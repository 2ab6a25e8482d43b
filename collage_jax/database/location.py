"""Where the database of this user's costs is."""

from __future__ import annotations

import os
import sys
import warnings
from pathlib import Path

VARIABLE = "COLLAGE_JAX_CACHE_DIR"
FILE_NAME = "costs.sqlite"


def cache_directory(setting: str | None = None) -> Path | None:
    """The directory for what is kept between runs; None if nothing is to be kept.

    It is ``setting``, else the environment's ``COLLAGE_JAX_CACHE_DIR``, where ``"off"`` and the empty text mean none;
    if neither is set, ``collage_jax`` in the user's cache directory.
    """
    chosen = os.environ.get(VARIABLE) if setting is None else setting
    if chosen is None:
        return _default()
    return None if chosen.strip().lower() in ("", "off") else _home_expanded(Path(chosen))


def costs_file(setting: str | None = None) -> Path | None:
    """The database file in ``cache_directory(setting)``; None if nothing is to be kept."""
    directory = cache_directory(setting)
    return None if directory is None else directory / FILE_NAME


def _default() -> Path | None:
    caches = _user_caches()
    return None if caches is None else caches / "collage_jax"


def _user_caches() -> Path | None:
    given = os.environ.get("LOCALAPPDATA" if sys.platform == "win32" else "XDG_CACHE_HOME", "")
    # The XDG specification has relative paths ignored. macOS has no such variable.
    if sys.platform != "darwin" and os.path.isabs(given):
        return Path(given)
    usual = {"win32": "~/AppData/Local", "darwin": "~/Library/Caches"}
    return _home_expanded(Path(usual.get(sys.platform, "~/.cache")))


def _home_expanded(path: Path) -> Path | None:
    try:
        return path.expanduser()
    except RuntimeError:  # a user without an entry in the system's list, as in some containers
        warnings.warn(
            f"the home directory of {path} is not known, so costs live in memory, for this process alone. Set "
            f'{VARIABLE} to a directory ("off" for none).',
            RuntimeWarning,
            stacklevel=3,
        )
        return None
