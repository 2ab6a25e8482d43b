"""A placement as a file: JSON that says what it is, read strictly, so that a damaged or foreign one is told apart.

Nothing in a file is run or looked up; it gives numbers and text. Members that this version does not know are passed
over, so that later versions may add some without a new format.
"""

from __future__ import annotations

import json
import numbers
import os
from collections.abc import Mapping
from dataclasses import asdict, fields
from typing import IO, Any

from ..costs import Cost, Estimated, Failed
from ..placement import PlacedRegion, Placement
from ..whole_file import replacing
from .decoding import FORMAT, KIND, placement_of
from .fields import parse

#: A larger file is none of ours: a placement of 1000 nodes takes about half a megabyte.
LARGEST_BYTES = 64 << 20
REMEDY = "give a file that Placement.save wrote"


def to_json(placement: Placement) -> str:
    """``placement`` as JSON text.

    Raises ``ValueError`` for what could not be read again, such as a time that is NaN.
    """
    document = {"kind": KIND, "format": FORMAT} | {f.name: getattr(placement, f.name) for f in fields(placement)}
    document["regions"] = [_region(region) for region in placement.regions]
    document["refusals"] = [asdict(refusal) for refusal in placement.refusals]
    text = "{\n" + ",\n".join(f"{json.dumps(name)}: {_written(value)}" for name, value in document.items()) + "\n}\n"
    placement_of(parse(text, "this placement", "use one that collage_jax.jit made"))
    return text


def from_json(text: str) -> Placement:
    """The placement that ``to_json`` wrote. Raises ``ValueError`` if ``text`` is not one, or of a newer format."""
    return placement_of(parse(text, "this text", "give text that Placement.to_json wrote"))


def save(placement: Placement, path: str | os.PathLike[str]) -> None:
    """Write ``placement`` to ``path``, whole or not at all."""
    write_text(path, to_json(placement))


def load(path: str | os.PathLike[str]) -> Placement:
    """The placement that ``save`` wrote to ``path``.

    Raises ``ValueError`` if it is something else or of a newer format, ``OSError`` if it cannot be read.
    """
    source = os.fspath(path)
    with opened(path, REMEDY) as file:
        data = file.read(LARGEST_BYTES + 1)
    if len(data) > LARGEST_BYTES:
        raise ValueError(f"{source}: must have at most {LARGEST_BYTES >> 20} MiB, got more; {REMEDY}")
    try:
        text = data.decode("utf8")
    except UnicodeDecodeError as error:
        raise ValueError(f"{source}: must be text in UTF-8 ({error}); {REMEDY}") from None
    return placement_of(parse(text, source, REMEDY))


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Put ``text`` at ``path`` in UTF-8. Others see the old file or the new one, never a part."""
    with replacing(path) as file:
        file.write(text.encode("utf8"))


def opened(path: str | os.PathLike[str], remedy: str) -> IO[bytes]:
    """The file at ``path``, to be read; ``OSError`` with ``remedy`` if it cannot be."""
    try:
        return open(path, "rb")
    except OSError as error:
        said = type(error)(f"{os.fspath(path)}: must be a file that can be read ({error.strerror}); {remedy}")
        said.errno = error.errno
        raise said from None


def _written(value: Any) -> str:
    """JSON with a line for each region and refusal, so that files can be compared line by line."""
    if isinstance(value, list) and value:
        return "[\n " + ",\n ".join(map(_written, value)) + "\n]"
    return json.dumps(value, default=_plain)


def _plain(value: Any) -> Any:
    """What ``json`` does not know by itself: NumPy's scalars and read-only mappings."""
    if isinstance(value, numbers.Integral):
        return int(value)
    if isinstance(value, numbers.Real):
        return float(value)
    if isinstance(value, Mapping):
        return dict(value)
    raise ValueError(f"a placement must hold text, numbers and mappings of them, got {value!r}; convert it first")


def _region(region: PlacedRegion) -> dict[str, Any]:
    written = {f.name: getattr(region, f.name) for f in fields(region)}
    written["cost"] = _cost(region.cost)
    written["alternatives"] = {name: _cost(cost) for name, cost in region.alternatives.items()}
    written["places"] = [asdict(place) for place in region.places]
    return written


def _cost(cost: Cost) -> dict[str, Any]:
    kind = "failed" if isinstance(cost, Failed) else "estimated" if isinstance(cost, Estimated) else "measured"
    return {"status": kind} | asdict(cost)
