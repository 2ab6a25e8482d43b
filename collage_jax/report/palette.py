"""A colour for each backend, apart for people with any kind of colour vision, in light and dark."""

from __future__ import annotations

from dataclasses import dataclass

from ..candidates import XLA
from ..placement import Placement

#: Okabe and Ito's colours, with the yellow darkened so that a line of it can be seen on white.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#56B4E9", "#B8A50F")
#: XLA's, which is always there and is what the others are set against.
NEUTRAL = "#8A919C"
PAPER, INK = "#FFFFFF", "#14171C"


@dataclass(frozen=True)
class Colour:
    """``line`` draws on white and ``bright`` on dark; ``light`` and ``dark`` fill what stands under text there.

    ``dashed`` sets equal colours apart.
    """

    line: str
    light: str
    bright: str
    dark: str
    dashed: bool = False


def palette(placement: Placement) -> dict[str, Colour]:
    """Colours of all backends that run or could run a region, XLA first, the others by name."""
    named = {r.backend for r in placement.regions} | {name for r in placement.regions for name in r.alternatives}
    colours = {XLA: _colour(NEUTRAL, dashed=False)}
    for i, name in enumerate(sorted(named - {XLA})):
        colours[name] = _colour(COLOURS[i % len(COLOURS)], dashed=i >= len(COLOURS))
    return colours


def _colour(line: str, *, dashed: bool) -> Colour:
    bright = _mixed(line, PAPER, 0.75)
    return Colour(line, _mixed(line, PAPER, 0.18), bright, _mixed(bright, INK, 0.2), dashed)


def _mixed(one: str, other: str, share: float) -> str:
    pairs = zip(bytes.fromhex(one[1:]), bytes.fromhex(other[1:]), strict=True)
    return "#" + "".join(f"{round(a * share + b * (1 - share)):02X}" for a, b in pairs)
