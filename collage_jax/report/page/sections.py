"""What stands above the graph: the outcome in figures, predicted beside measured, and where the time goes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from ...candidates import XLA
from ...placement import PlacedRegion, Placement
from ..figures import details, duration
from ..markup import Markup, joined, tag
from ..palette import Colour
from .drawing import classes

STRIP_WIDTH = 1000.0


def headline(placement: Placement) -> Markup:
    """The whole program in figures, what else decided, and for which circumstances it holds."""
    tiles = (tag("div", tag("b", value), tag("span", name), class_="tile") for name, value in _tiles(placement))
    notes = (tag("li", note) for note in _notes(placement))
    return joined(
        tag("div", *tiles, class_="tiles"),
        tag("ul", *notes, class_="notes"),
        tag("dl", *_environment(placement), class_="environment"),
    )


def _tiles(placement: Placement) -> Iterator[tuple[str, str]]:
    if placement.is_xla:
        yield "what runs it", "XLA alone"
    elif placement.measured_us is not None and placement.xla_us is not None:
        yield "times as fast as jax.jit", f"{placement.speedup:.2f}\u00d7"
    if placement.xla_us is not None:
        yield "jax.jit", duration(placement.xla_us)
    if placement.measured_us is not None and not placement.is_xla:
        yield "as placed", duration(placement.measured_us)
        if placement.predicted_us:
            off = placement.predicted_us / placement.measured_us - 1
            yield f"predicted ({off:+.1%})", duration(placement.predicted_us)
    if placement.error is not None:
        yield "largest error, of the largest output", f"{placement.error:.1e}" if placement.error else "0"
    if placement.tuning_s or placement.distinct_measured:  # not where it was decided before, which a note says
        yield "tuning", f"{placement.tuning_s:.1f} s"
        yield "distinct regions measured", str(placement.distinct_measured)


def _notes(placement: Placement) -> Iterator[str]:
    yield from placement.notes
    if not placement.is_final:
        yield "Not everything was measured within the budget: more tuning may find more."


def _environment(placement: Placement) -> Iterator[Markup]:
    if placement.program:
        yield tag("div", tag("dt", "program"), tag("dd", placement.program[:16]))
    for name, value in placement.environment.items():
        yield tag("div", tag("dt", name), tag("dd", value))


def comparison(placement: Placement) -> Markup | None:
    """Bars of what was predicted beside what was measured; None if nothing was."""
    bars = [
        ("jax.jit, measured", placement.xla_us, "plain"),
        ("as placed, measured", None if placement.is_xla else placement.measured_us, "accent"),
        ("predicted: regions, corrected by whole programs", placement.predicted_us, "hollow"),
        ("predicted: sum of the regions alone", placement.uncorrected_us, "hollow"),
    ]
    known = [(name, us, kind) for name, us, kind in bars if us]
    if placement.xla_us is None or len(known) < 2:
        return None
    largest = max(us for _, us, _ in known)
    rows = (
        tag(
            "tr",
            tag("th", name, scope="row"),
            tag("td", tag("i", class_=f"bar {kind}", style=f"width:{100 * us / largest:.2f}%"), class_="track"),
            tag("td", duration(us), class_="number"),
        )
        for name, us, kind in known
    )
    return tag("section", tag("h2", "Predicted beside measured"), tag("table", *rows, class_="bars"))


def times(placement: Placement, colours: Mapping[str, Colour]) -> Markup | None:
    """Each timed region in program order, as wide as its time, and the backends' shares; None if none was timed."""
    all_us = sum(region.total_us for region in placement.regions)
    if not all_us:
        return None
    names, left, parts = classes(colours), 0.0, []
    for row, region in _in_order(placement):
        width = STRIP_WIDTH * region.total_us / (max(len(region.places), 1) * all_us)
        title = tag("title", "\n".join(details(region, all_us)))
        box = {"x": f"{left:.3f}", "width": f"{width:.3f}", "height": "40"}
        parts.append(tag("g", title, tag("rect", **box), class_=names[region.backend], data_rows=str(row)))
        left += width
    strip = tag(
        "svg",
        *parts,
        xmlns="http://www.w3.org/2000/svg",
        class_="strip",
        viewBox=f"0 0 {STRIP_WIDTH:.0f} 40",
        preserveAspectRatio="none",
        role="group",
        aria_label="Time of each region, in program order",
    )
    explained = (
        "Regions in program order, each as wide as its time alone."
        " What XLA runs may take less inside the program, where it is fused with its neighbours."
    )
    return tag("section", tag("h2", "Where the time goes"), tag("p", explained), strip, legend(placement, colours))


def legend(placement: Placement, colours: Mapping[str, Colour]) -> Markup:
    """The colour of each backend that runs something, with how much it runs."""
    all_us = sum(region.total_us for region in placement.regions)
    items = []
    for name, count in sorted(placement.counts().items(), key=lambda item: (item[0] == XLA, item[0])):
        own_us = sum(region.total_us for region in placement.regions if region.backend == name)
        share = f", {own_us / all_us:.1%} of the time" if own_us else ""
        chip = tag("i", class_=f"chip {classes(colours)[name]}")
        items.append(tag("li", chip, tag("b", name), f" {count} region{'s' if count > 1 else ''}{share}"))
    return tag("ul", *items, class_="legend")


def _in_order(placement: Placement) -> list[tuple[int, PlacedRegion]]:
    """Timed regions at each of their places, by where these stand in the program, bodies where their node stands."""
    found = []
    for row, region in enumerate(placement.regions):
        if region.total_us:
            places = [_position(place.graph, place.nodes) for place in region.places] or [(float("inf"),)]
            found += [(position, row) for position in places]
    return [(row, placement.regions[row]) for _, row in sorted(found)]


def _position(graph: str, nodes: tuple[int, ...]) -> tuple[float, ...]:
    steps = (step.split(".") for step in graph.split("/")) if graph else ()
    outer = tuple(float(number) for node, _, number in steps for number in (node, number))
    return (*outer, float(min(nodes, default=0)))
