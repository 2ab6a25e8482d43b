"""HTML and SVG made of tags whose text is escaped unless it is markup already."""

from __future__ import annotations

import html
import re

#: What neither HTML nor XML may hold, however it is written: most control characters, halves of pairs.
FORBIDDEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")
#: Tags that have no end.
VOID = frozenset({"br", "input", "meta"})


class Markup(str):
    """Text that is markup: it is put into other markup as it is."""

    __slots__ = ()


def printable(text: str) -> str:
    """``text`` with a mark in place of each character that a page cannot hold."""
    return FORBIDDEN.sub("\ufffd", text)


def escaped(text: str) -> Markup:
    """``text`` so that a page shows it as it is."""
    return text if isinstance(text, Markup) else Markup(html.escape(printable(text)))


def tag(name: str, /, *children: str | None, **attributes: str | float | None) -> Markup:
    """One element. Text among ``children`` is escaped; None is left out, as are attributes that are None.

    ``class_`` stands for ``class``; any other underscore of an attribute's name for a hyphen.
    """
    given = ((key.rstrip("_").replace("_", "-"), value) for key, value in attributes.items() if value is not None)
    start = "".join(f' {key}="{escaped(_text(value))}"' for key, value in given)
    if name in VOID:
        return Markup(f"<{name}{start}>")
    return Markup(f"<{name}{start}>{joined(*children)}</{name}>")


def joined(*parts: str | None) -> Markup:
    """Pieces of markup and text one after the other."""
    return Markup("".join(escaped(part) for part in parts if part is not None))


def _text(value: str | float) -> str:
    """A number without needless digits: a tenth of a pixel is enough."""
    return value if isinstance(value, str) else f"{value:.1f}".removesuffix(".0")
