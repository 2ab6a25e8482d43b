"""A placement as one page that needs nothing else: no network, and no script to be read."""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import Mapping

from ..placement import Placement
from .files import write_text
from .markup import Markup, joined, tag
from .page import tables
from .page.drawing import drawing
from .page.script import SCRIPT
from .page.sections import comparison, headline, legend, times
from .page.style import style
from .palette import Colour, palette

TITLE = "Placement by collage_jax"
ZOOMS = {"out": "\u2212", "in": "+", "1": "1:1", "width": "Fit width", "whole": "Show all"}


def write_html(placement: Placement, path: str | os.PathLike[str]) -> None:
    """Write ``to_html`` to ``path``, whole or not at all."""
    write_text(path, to_html(placement))


def to_html(placement: Placement) -> str:
    """The page: the outcome, predicted beside measured, the graph by backend, and tables of what else there was."""
    colours = palette(placement)
    sections = (
        comparison(placement),
        times(placement, colours),
        _graph(placement, colours),
        tables.regions(placement, colours),
        tables.failures(placement),
        tables.refusals(placement),
        tables.unavailable(placement),
    )
    main = tag("main", tag("h1", TITLE), headline(placement), *sections)
    body = tag("body", main, tag("script", Markup(SCRIPT)))
    return "<!doctype html>\n" + tag("html", _head(colours), body, lang="en") + "\n"


def _head(colours: Mapping[str, Colour]) -> Markup:
    """Even if some text got past the escaping, only our own script would run, and nothing would be fetched."""
    digest = base64.b64encode(hashlib.sha256(SCRIPT.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"
    return tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=policy),
        tag("meta", name="viewport", content="width=device-width,initial-scale=1"),
        tag("title", TITLE),
        tag("style", Markup(style(colours))),
    )


def _graph(placement: Placement, colours: Mapping[str, Colour]) -> Markup | None:
    drawn = drawing(placement, colours)
    if drawn is None:
        return None
    buttons = (tag("button", text, type="button", data_zoom=name) for name, text in ZOOMS.items())
    bar = (tag("h2", "Graph"), tag("span", *buttons, class_="script"))
    explained = (
        "Each box is a region, the bar at its foot its time. Plain boxes are operations that XLA fuses as it likes."
        " Point at a box for its costs and runner-ups."
    )
    return joined(
        tag(
            "section",
            tag("div", *bar, class_="bar-of-tools"),
            tag("p", explained),
            # Above, where times are shown, it would stand twice.
            None if any(region.total_us for region in placement.regions) else legend(placement, colours),
            tag("div", drawn, class_="stage", tabindex="0"),
        )
    )
