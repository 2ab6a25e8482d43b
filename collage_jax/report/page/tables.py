"""The tables of the page: regions with their runner-ups, what failed, what was refused, what was not there."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from ...costs import Cost, Failed, Measured
from ...placement import PlacedRegion, Placement
from ..figures import against, measurement, ranked, short
from ..markup import Markup, joined, tag
from ..palette import Colour
from .drawing import classes

#: Longer tables of reasons are folded.
MANY = 12
#: Headings of columns of numbers.
NUMBERS = frozenset({"n", "each", "share", "error"})
_ARRAY = re.compile(r"\[[^\]]*\]")


def regions(placement: Placement, colours: Mapping[str, Colour]) -> Markup | None:
    """Regions by total time, each with what else could run it; None if there are none."""
    if not placement.regions:
        return None
    all_us = sum(region.total_us for region in placement.regions)
    ordered = sorted(enumerate(placement.regions), key=lambda item: -item[1].total_us)
    headings = ("backend", "region", "shapes", "n", "each", "share", "error", "others")
    largest_us = ordered[0][1].total_us
    rows = (_row(number, region, all_us, largest_us, classes(colours)) for number, region in ordered)
    search = tag("input", type="search", placeholder="Filter regions", aria_label="Filter regions", class_="filter")
    bar = tag("div", tag("h2", "Regions and runner-ups"), search, class_="bar-of-tools")
    return tag("section", bar, _table(headings, rows, "regions"))


def _row(number: int, region: PlacedRegion, all_us: float, largest_us: float, names: Mapping[str, str]) -> Markup:
    others = [_other(name, cost, region.cost, names) for name, cost in ranked(region)]
    ops = None if region.ops == (region.label,) else tag("small", ", ".join(region.ops))
    share = region.total_us / all_us if region.total_us else 0.0
    error = region.cost.error if isinstance(region.cost, Measured) else None
    width = f"width:{100 * region.total_us / largest_us:.1f}%" if share else ""
    bar = tag("i", class_=f"bar {names[region.backend]}", style=width) if share else None
    cells = (
        tag("td", tag("i", class_=f"chip {names[region.backend]}"), region.backend, class_="backend"),
        tag("td", tag("span", region.label), ops),
        tag("td", tag("small", _unbroken(region.shapes)), class_="shapes"),
        _number(str(region.count), region.count),
        _number(short(region.cost), _us(region.cost), title=measurement(region.cost)),
        _number(f"{share:.1%}" if share else "", share, bar),
        _number("" if error is None else f"{error:.1e}" if error else "0", error or 0.0),
        tag("td", tag("ul", *others, class_="others") if others else None),
    )
    return tag("tr", *cells, data_rows=str(number), class_=None if region.total_us else "idle")


def _unbroken(shapes: str) -> str:
    """``shapes`` so that a line may end between arrays, not inside of one."""
    return _ARRAY.sub(lambda found: found[0].replace(" ", "\u00a0"), shapes).replace("->", "\u2192")


def _other(name: str, cost: Cost, chosen: Cost, names: Mapping[str, str]) -> Markup:
    ratio = against(cost, chosen)
    text = f"{name} {short(cost)}" + (f" ({ratio})" if ratio else "")
    return tag("li", tag("i", class_=f"chip {names[name]}"), text, title=f"{name}: {measurement(cost)}")


def _us(cost: Cost) -> float:
    return cost.median_us if isinstance(cost, Measured) else 0.0


def failures(placement: Placement) -> Markup | None:
    """What was tried and went wrong, equal failures as one; None if nothing did."""
    found: list[tuple[str, ...]] = []
    for region in placement.regions:
        for name, cost in ((region.backend, region.cost), *region.alternatives.items()):
            if isinstance(cost, Failed) and cost.stage != "budget":
                found += [(name, "+".join(region.ops), cost.stage, cost.reason)] * region.count
    return _counted("Failed", ("backend", "operations", "stage", "reason", "n"), found)


def refusals(placement: Placement) -> Markup | None:
    """What backends would not run and why, equal refusals as one; None if nothing was refused."""
    found = [(r.backend, "+".join(r.ops) or "the whole function", r.reason) for r in placement.refusals]
    return _counted("Refused", ("backend", "operations", "reason", "n"), found)


def unavailable(placement: Placement) -> Markup | None:
    """Backends that could not be used and why; None if all could."""
    missing = placement.unavailable or {}
    if not missing:
        return None
    rows = (tag("tr", tag("td", name, class_="backend"), tag("td", reason)) for name, reason in missing.items())
    return tag("section", tag("h2", "Not available"), _table(("backend", "reason"), rows))


def _counted(title: str, headings: Sequence[str], found: Iterable[tuple[str, ...]]) -> Markup | None:
    counts: dict[tuple[str, ...], int] = {}
    for cells in found:
        counts[cells] = counts.get(cells, 0) + 1
    if not counts:
        return None
    rows = (
        tag("tr", tag("td", name, class_="backend"), *(tag("td", cell) for cell in cells), _number(str(n), n))
        for (name, *cells), n in sorted(counts.items(), key=lambda item: (item[0][0], -item[1]))
    )
    table = _table(headings, rows)
    if len(counts) <= MANY:
        return tag("section", tag("h2", title), table)
    return tag("section", tag("details", tag("summary", tag("h2", f"{title} ({len(counts)} reasons)")), table))


def _number(text: str, value: float, *more: Markup | None, title: str | None = None) -> Markup:
    return tag("td", text, *more, class_="number", data_value=f"{value:.9g}", title=title)


def _table(headings: Sequence[str], rows: Iterable[Markup], name: str | None = None) -> Markup:
    named = (tag("th", h, scope="col", class_="number" if h in NUMBERS else None) for h in headings)
    head = tag("thead", tag("tr", *named))
    return tag("div", tag("table", head, tag("tbody", joined(*rows)), id=name), class_="wide", tabindex="0")
