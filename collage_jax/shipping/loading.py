"""``collage_jax.load``: a file -> ``Loaded``, with kernels where they can run and XLA alone where they cannot."""

from __future__ import annotations

import os
import warnings
from dataclasses import dataclass
from typing import Any, TypeAlias

import jax

from ..costs import told
from .archive import Archive
from .loaded import Loaded
from .opening import Arrays, Opening
from .programs import PLATFORM

Given: TypeAlias = str | os.PathLike[str] | bytes | bytearray | memoryview


def load(given: Given, /, *frozen: Any, strict: bool = False, compile: bool = True) -> Loaded:
    """The function that ``collage_jax.export`` wrote: the same numbers by the same kernels; nothing is tuned.

    Where kernels cannot run (a library is missing or another version, another instruction set) the program is used that
    XLA alone runs, with one ``RuntimeWarning`` that says why.

    Args:
      given: the file's path, or what ``Exported.serialize`` gave.
      frozen: the frozen arguments, if it was exported with ``bake_frozen=False``; they are packed now.
      strict: raise ``RuntimeError`` instead of that warning.
      compile: compile every signature now, so that the first call is a warm one, and notice a kernel that cannot be
        built. False leaves both to the first call of each, which then fails.

    Raises:
      ValueError: for a file that is none, damaged, of a newer format, or calls what nobody registered here.
      TypeError: for frozen arguments that do not fit.
      OSError: for a file that cannot be read.
    """
    if jax.default_backend() != PLATFORM:
        raise ValueError(
            f"JAX's default backend must be {PLATFORM}, for which the file was made, got {jax.default_backend()}; set "
            f"JAX_PLATFORMS={PLATFORM}"
        )
    reading = _Reading(given, frozen)
    loaded, problems = reading.loaded({})
    if compile and (failed := _compiled(loaded)):
        loaded, problems = reading.loaded(failed)
        _compiled(loaded)
    if problems:
        why = "; ".join(dict.fromkeys(problems))
        message = f"{loaded.manifest.name} runs by XLA alone, without the kernels it was exported with: {why}"
        if strict:
            raise RuntimeError(f"{message}; export it here, or load it with strict=False")
        warnings.warn(message, RuntimeWarning, stacklevel=2)
    return loaded


def _compiled(loaded: Loaded) -> dict[int, str]:
    """Why signatures cannot be compiled here with their kernels, by number; raises for those that have none."""
    failed: dict[int, str] = {}
    for number, has_kernels in enumerate(loaded.has_kernels):
        try:
            loaded.compile(number)
        except Exception as error:
            if not has_kernels:
                raise
            failed[number] = f"a kernel cannot be built here: {told(error)}"
    return failed


@dataclass(frozen=True, eq=False)
class _Reading:
    """A file, and the frozen arguments that come with it."""

    given: Given
    frozen: tuple[Any, ...]

    def loaded(self, excluded: dict[int, str], plain: bool = False) -> tuple[Loaded, list[str]]:
        """The function, and why kernels of it cannot run here.

        ``excluded`` says of signatures, by number, why theirs must not; ``plain`` leaves out all kernels.
        """
        with Archive(self.given) as archive:
            manifest = archive.manifest
            if bool(self.frozen) != manifest.awaits_frozen:
                wanted = "its frozen arguments, load(path, *frozen)" if manifest.awaits_frozen else "the path alone"
                raise TypeError(
                    f"{archive.source} must be loaded with {wanted}, got {len(self.frozen)} more; see export"
                )
            arrays = Arrays(archive)
            opened = [
                Opening(archive, signature, arrays, self.frozen).entrance(excluded.get(number), plain)
                for number, signature in enumerate(manifest.signatures)
            ]
            has_plain = all(signature.plain is not None for signature in manifest.signatures)
            again = (lambda: self.loaded({}, plain=True)[0]) if has_plain and not plain else None
            entrances = [entrance for entrance, _ in opened]
            return Loaded(entrances, manifest, archive.digest, again), [why for _, why in opened if why is not None]
