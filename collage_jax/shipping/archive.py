"""The file: a zip of members that are stored as they are, with a manifest that has the size and digest of each."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Iterable, Mapping
from functools import cached_property
from io import BytesIO
from typing import IO, NoReturn

from ..report.files import opened
from ..whole_file import replacing
from .manifest import NAME, REMEDY, Manifest, Member, read

#: What a zip has for the time of each member: the same, so that the same contents are the same bytes.
_TIME = (1980, 1, 1, 0, 0, 0)
#: The largest manifest: one of 1000 arrays takes about a quarter of a megabyte.
_LARGEST_MANIFEST = 64 << 20


def write(file: IO[bytes], manifest: Manifest, members: Mapping[str, bytes]) -> None:
    """Write everything to ``file``."""
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for name, data in {NAME: manifest.to_json(), **members}.items():
            archive.writestr(zipfile.ZipInfo(name, _TIME), data)


def save(path: str | os.PathLike[str], manifest: Manifest, members: Mapping[str, bytes]) -> None:
    """Put the file at ``path``. Others see the old one or the new one, never a part."""
    with replacing(path) as file:
        write(file, manifest, members)


class Archive:
    """A file that was written before, or its bytes. It is open for as long as it is read (``with``).

    Every method raises ``ValueError`` for what is no such file, or damaged, ``OSError`` for one that cannot be read.
    """

    def __init__(self, given: str | os.PathLike[str] | bytes | bytearray | memoryview) -> None:
        self._file: IO[bytes]
        if isinstance(given, (bytes, bytearray, memoryview)):
            self.source, self._file = "the data given", BytesIO(given)
        elif isinstance(given, (str, os.PathLike)):
            self.source, self._file = os.fspath(given), opened(given, REMEDY)
        else:
            raise TypeError(f"a file must be given by its path or as bytes, got {type(given).__name__}; {REMEDY}")
        try:
            self._zip = zipfile.ZipFile(self._file)
            self._check(self._zip.infolist(), self._file.seek(0, os.SEEK_END))
        except (zipfile.BadZipFile, zipfile.LargeZipFile, NotImplementedError, ValueError, EOFError) as error:
            self._file.close()
            said = (
                str(error) if isinstance(error, _Broken) else f"{self.source}: must be a whole zip ({error}); {REMEDY}"
            )
            raise ValueError(said) from None

    def __enter__(self) -> Archive:
        return self

    def __exit__(self, *_: object) -> None:
        self._zip.close()
        self._file.close()

    @cached_property
    def manifest(self) -> Manifest:
        """What the file says of itself, its members being those that are there."""
        manifest = read(self._manifest_text, self.source)
        there = set(self._zip.namelist()) - {NAME}
        for name in sorted(there.symmetric_difference(manifest.members)):
            self.fail(
                f"must have the members of its manifest and no others, {'has' if name in there else 'lacks'} {name!r}"
            )
        return manifest

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the manifest, which has that of everything else: equal for files of the same contents."""
        return Member.of(self._manifest_text).sha256

    def member(self, name: str) -> bytes:
        """What the member called ``name`` holds, as the manifest says."""
        data = self._read(name)
        if Member.of(data) != self.manifest.members[name]:
            self.fail(f"{name} must have the size and the digest that the manifest says; it is damaged")
        return data

    def fail(self, problem: str) -> NoReturn:
        """Raise ``ValueError``: this file has ``problem``."""
        raise ValueError(f"{self.source}: {problem}; {REMEDY}")

    @cached_property
    def _manifest_text(self) -> bytes:
        return self._read(NAME)

    def _read(self, name: str) -> bytes:
        try:
            return self._zip.read(name)
        except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError) as error:
            self.fail(f"{name} cannot be read ({error})")

    def _check(self, members: Iterable[zipfile.ZipInfo], file_bytes: int) -> None:
        """That members are stored as they are, each by itself: no file is larger in memory than on disk."""
        names: set[str] = set()
        total_bytes = 0
        for member in members:
            problem = None
            total_bytes += member.file_size
            if member.filename in names:
                problem = "is there twice"
            elif member.compress_type != zipfile.ZIP_STORED or member.file_size != member.compress_size:
                problem = "is compressed, and none must be"
            elif total_bytes > file_bytes:
                problem = "is larger than the file"
            elif member.flag_bits & 1:
                problem = "is encrypted, and none must be"
            elif member.filename == NAME and member.file_size > _LARGEST_MANIFEST:
                problem = f"must have at most {_LARGEST_MANIFEST >> 20} MiB"
            if problem is not None:
                raise _Broken(f"{self.source}: the member {member.filename!r} {problem}; {REMEDY}")
            names.add(member.filename)
        if NAME not in names:
            raise _Broken(f"{self.source}: must have a member {NAME!r}; {REMEDY}")


class _Broken(ValueError):
    """What is wrong, said in full."""
