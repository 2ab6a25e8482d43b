"""What a file says of itself: which members there are, and what each signature of the function is made of.

Read strictly, for anybody may have written it: it gives numbers and text, and nothing in it is run or looked up.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from hashlib import sha256

from ..report.fields import Field, parse
from .arrays import ArraySpec, spec_from

KIND = "collage_jax.program"
#: Of files. A later version of the library reads earlier ones; members that it does not know are passed over.
FORMAT = 1
#: The member that holds the manifest.
NAME = "manifest.json"
REMEDY = "give a file that collage_jax.export wrote, or export it anew"


@dataclass(frozen=True)
class Member:
    """A member of the file: how long it is, and the digest of what it holds."""

    bytes: int
    sha256: str

    @classmethod
    def of(cls, data: bytes) -> Member:
        return cls(len(data), sha256(data).hexdigest())


@dataclass(frozen=True)
class Signature:
    """One set of shapes and dtypes, and its programs, by name of the member each is in.

    ``placed`` is what ``jax.export`` made of the function with kernels, None if XLA alone runs it; ``plain`` of the
    function without, None if it was left out. Both take a list of arrays first: ``packed`` and ``frozen``, by number in
    the manifest. If frozen arguments come when the file is loaded these are None; ``plain`` takes the tuple of those
    arguments, and ``prepare`` makes of it what ``placed`` takes.

    ``backends`` are those that run something, with their versions; ``calls`` the foreign functions called. ``inputs``
    and ``outputs`` are for the reader.
    """

    placed: str | None
    plain: str | None
    prepare: str | None
    packed: tuple[int, ...] | None
    frozen: tuple[int, ...] | None
    placement: str
    backends: Mapping[str, str]
    calls: tuple[str, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


@dataclass(frozen=True)
class Manifest:
    """``name`` is the function's; ``made_with`` the versions and the machine that made the file.

    ``donated_nums`` and ``donated_names`` are of the arguments that are passed in each call. ``vjp_order`` is how often
    ``plain`` can be differentiated.
    """

    name: str
    made_with: Mapping[str, str]
    members: Mapping[str, Member]
    arrays: tuple[ArraySpec, ...]
    signatures: tuple[Signature, ...]
    donated_nums: tuple[int, ...] = ()
    donated_names: tuple[str, ...] = ()
    vjp_order: int = 0

    @property
    def awaits_frozen(self) -> bool:
        """True if frozen arguments come when the file is loaded."""
        return any(s.prepare is not None or (s.plain is not None and s.frozen is None) for s in self.signatures)

    def to_json(self) -> bytes:
        """The same text for the same contents, in any process."""
        document = {"kind": KIND, "format": FORMAT} | asdict(self)
        return json.dumps(document, indent=1, sort_keys=True, allow_nan=False).encode()


def read(text: bytes, source: str) -> Manifest:
    """The manifest that ``to_json`` wrote; ``ValueError`` if ``text`` is none, or of a newer format."""
    try:
        decoded = text.decode("utf8")
    except UnicodeDecodeError as error:
        raise ValueError(f"{source}: the manifest must be text in UTF-8 ({error}); {REMEDY}") from None
    document = parse(decoded, f"{source}, the manifest", REMEDY)
    if document.member("kind").text() != KIND:
        document.member("kind").fail(repr(KIND))
    if (made := document.member("format")).whole(1) > FORMAT:
        made.fail(f"at most {FORMAT}, which this version of collage_jax reads")
    manifest = Manifest(
        document.member("name").text(),
        document.member("made_with").entries(Field.text),
        document.member("members").entries(lambda f: Member(f.member("bytes").whole(), f.member("sha256").text())),
        document.member("arrays").items(spec_from),
        document.member("signatures").items(_signature),
        document.member("donated_nums").items(Field.whole),
        document.member("donated_names").items(Field.text),
        document.member("vjp_order").whole(),
    )
    _check(manifest, document)
    return manifest


def _signature(field: Field) -> Signature:
    def numbers(name: str) -> tuple[int, ...] | None:
        return field.member(name).optional(lambda f: f.items(Field.whole))

    def member(name: str) -> str | None:
        return field.member(name).optional(Field.text)

    return Signature(
        member("placed"),
        member("plain"),
        member("prepare"),
        numbers("packed"),
        numbers("frozen"),
        field.member("placement").text(),
        field.member("backends").entries(Field.text),
        field.member("calls").items(Field.text),
        field.member("inputs").items(Field.text),
        field.member("outputs").items(Field.text),
    )


def _check(manifest: Manifest, document: Field) -> None:
    """That what the manifest names is there."""
    signatures = document.member("signatures")
    if not manifest.signatures:
        signatures.fail("a list of one signature or more")
    for signature in manifest.signatures:
        if signature.placed is None and signature.plain is None:
            signatures.fail("signatures that have a program each")
        if any(n >= len(manifest.arrays) for n in (*(signature.packed or ()), *(signature.frozen or ()))):
            signatures.fail(f"signatures whose arrays are among the {len(manifest.arrays)} of the file")
        programs = (signature.placed, signature.plain, signature.prepare, signature.placement)
        for name in (*filter(None, programs), *(array.file for array in manifest.arrays)):
            if name not in manifest.members:
                document.member("members").fail(f"the file's members, {name!r} among them")
