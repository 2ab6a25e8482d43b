"""A placement's graph as SVG: boxes by backend, the bodies of loops and conditions inside theirs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from ...candidates import XLA
from ...placement import Placement
from ..figures import details, short
from ..layout import Layout, Point, layout
from ..markup import Markup, joined, tag
from ..outline import Box, Outline, is_quiet, outlines
from ..palette import Colour

CHARACTER, LINE, PADDING = 6.7, 15.0, 9.0
#: Names longer than this are cut; they stand in full in what is shown when pointed at.
LONGEST = 30
MARGIN = 12.0
BODY_GAP, HEADER = 14.0, 24.0


def drawing(placement: Placement, colours: Mapping[str, Colour]) -> Markup | None:
    """The graph, None if nothing is known of it. Boxes have the class of their backend's colour (see ``classes``)."""
    painter = _Painter(placement, colours)
    if not painter.outlines[""].boxes:
        return None
    (width, height), inside = painter.graph("")
    arrow = tag("path", d="M0 0L8 4L0 8z")
    size = {"markerWidth": 7.0, "markerHeight": 7.0}
    marker = tag("marker", arrow, id="arrow", viewBox="0 0 8 8", refX=7.0, refY=4.0, orient="auto", **size)
    view = f"0 0 {width + 2 * MARGIN:.0f} {height + 2 * MARGIN:.0f}"
    return tag(
        "svg",
        tag("defs", marker),
        tag("g", inside, transform=f"translate({MARGIN:.0f} {MARGIN:.0f})"),
        xmlns="http://www.w3.org/2000/svg",
        viewBox=view,
        width=width + 2 * MARGIN,
        height=height + 2 * MARGIN,
        role="group",
        aria_label="The program's operations and what runs them",
    )


def classes(colours: Mapping[str, Colour]) -> dict[str, str]:
    """The class that stands for a backend's colour, such as ``c1``."""
    return {name: f"c{i}" for i, name in enumerate(colours)}


class _Painter:
    """Draws graphs into each other; each box gets a number of its own, by which edges name their ends."""

    def __init__(self, placement: Placement, colours: Mapping[str, Colour]) -> None:
        self.placement = placement
        self.outlines = outlines(placement)
        self.classes = classes(colours)
        self.all_us = sum(region.total_us for region in placement.regions)
        self.largest_us = max((r.total_us / r.count for r in placement.regions), default=0.0)
        self.drawn = 0

    def graph(self, name: str) -> tuple[Point, Markup]:
        """Size and content of a drawing of one graph."""
        outline = self.outlines[name]
        inner = [self._bodies(box) for box in outline.boxes]
        sizes = [size for size, _ in inner]
        found = layout(sizes, outline.edges)
        first = self.drawn
        self.drawn += len(outline.boxes)
        boxes = (
            self._box(box, first + i, sizes[i], inner[i][1], found.corners[i]) for i, box in enumerate(outline.boxes)
        )
        return (found.width, found.height), joined(_edges(outline, found, first), *boxes)

    def _bodies(self, box: Box) -> tuple[Point, Markup | None]:
        """The size of a box, and what is drawn inside it: the graphs of a loop or condition."""
        if not box.bodies:
            lines = self._lines(box)
            width = max(map(len, lines)) * CHARACTER + 2 * PADDING
            return (max(width, 60.0), len(lines) * LINE + 2 * PADDING - 2), None
        left, height, drawn = BODY_GAP, 0.0, []
        for body in box.bodies:
            (width, own), inside = self.graph(body)
            caption = body.rpartition("/")[2].partition(".")[2]
            width = max(width, len(caption) * CHARACTER)
            text = tag("text", caption, class_="caption", x=left, y=HEADER + LINE)
            moved = tag("g", inside, transform=f"translate({left:.1f} {HEADER + LINE + 8:.1f})")
            drawn.append(joined(text, moved))
            left, height = left + width + BODY_GAP, max(height, own)
        return (max(left, 130.0), height + HEADER + LINE + 8 + BODY_GAP), joined(*drawn)

    def _lines(self, box: Box) -> tuple[str, ...]:
        ops = self._ops(box)
        if len(box.rows) != 1 or len(box.nodes) > len(ops):
            count = f"{len(box.nodes)} operation{'s' if len(box.nodes) > 1 else ''}"
            return (count, _cut(", ".join(_counted(ops)))) if ops else (count,)
        region = self.placement.regions[box.rows[0]]
        if is_quiet(region):
            return (_cut(region.label),)
        times = f" x{region.count}" if not box.nodes and region.count > 1 else ""
        return _cut(region.label + times), f"{_cut(region.backend)}  {short(region.cost)}"

    def _ops(self, box: Box) -> list[str]:
        return [op for row in box.rows for op in self.placement.regions[row].ops]

    def _box(self, box: Box, number: int, size: Point, inside: Markup | None, corner: Point) -> Markup:
        width, height = size
        regions = [self.placement.regions[row] for row in box.rows]
        backend = regions[0].backend if regions else XLA
        kind = "holder" if box.bodies else "rest" if all(map(is_quiet, regions)) else "region"
        parts = [tag("title", "\n".join(self._details(box))), tag("rect", class_="frame", rx=5.0, **_size(size))]
        if inside is not None:
            parts += [tag("text", "loop or condition", class_="name", x=PADDING, y=17.0), inside]
        else:
            first, *others = self._lines(box)
            parts.append(tag("text", first, class_="name", x=PADDING, y=PADDING + 11))
            parts += [tag("text", line, class_="cost", x=PADDING, y=PADDING + 11 + LINE) for line in others]
        if len(regions) == 1 and self.largest_us and regions[0].total_us:
            share = regions[0].total_us / regions[0].count / self.largest_us
            parts.append(tag("rect", class_="time", y=height - 4, width=max(2.0, share * width), height=4.0))
        return tag(
            "g",
            *parts,
            class_=f"box {kind} {self.classes[backend]}",
            transform=f"translate({corner[0]:.1f} {corner[1]:.1f})",
            data_box=str(number),
            data_rows=" ".join(map(str, dict.fromkeys(box.rows))) or None,
        )

    def _details(self, box: Box) -> list[str]:
        if box.bodies:
            return ["A loop or condition: its bodies are placed by themselves."]
        if len(box.rows) == 1:
            return details(self.placement.regions[box.rows[0]], self.all_us)
        counted = ", ".join(_counted(self._ops(box))) or "Which they are was not recorded."
        return ["Operations that XLA fuses as it likes; none was timed alone.", counted]


def _edges(outline: Outline, found: Layout, first: int) -> Markup:
    paths = (
        tag(
            "path",
            d=_path(route),
            class_="edge straight" if len(route) == 2 and _is_long(route) else "edge",
            data_from=str(first + a),
            data_to=str(first + b),
            marker_end="url(#arrow)",
        )
        for (a, b), route in zip(outline.edges, found.routes, strict=True)
    )
    return tag("g", *paths, class_="edges")


def _is_long(route: Sequence[Point]) -> bool:
    """True if the edge passes layers, or points up, with nothing to guide it."""
    return not 0 < route[1][1] - route[0][1] < 120


def _path(route: Sequence[Point]) -> str:
    """Curves through the gaps between layers, straight down through them."""
    (x, y), *others = route
    parts = [f"M{x:.1f} {y:.1f}"]
    for i, (to_x, to_y) in enumerate(others):
        half = (to_y - y) / 2
        parts.append(
            f"L{to_x:.1f} {to_y:.1f}"
            if i % 2
            else f"C{x:.1f} {y + half:.1f} {to_x:.1f} {to_y - half:.1f} {to_x:.1f} {to_y:.1f}"
        )
        x, y = to_x, to_y
    return "".join(parts)


def _size(size: Point) -> dict[str, float]:
    return {"width": size[0], "height": size[1]}


def _counted(ops: Sequence[str]) -> list[str]:
    return [f"{op} x{n}" if n > 1 else op for op, n in Counter(ops).most_common()]


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "\u2026"
