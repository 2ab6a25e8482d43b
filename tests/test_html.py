"""The page of a placement: well-formed, sufficient to itself, closed to what names bring along; how graphs are laid."""

from __future__ import annotations

import base64
import hashlib
import random
import re
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_placement_files import AWKWARD, FULL, placements, region

from collage_jax.candidates import Refusal
from collage_jax.costs import Failed, Measured
from collage_jax.placement import Place, PlacedRegion, Placement
from collage_jax.report.figures import duration
from collage_jax.report.html import to_html
from collage_jax.report.layers import layers, topological
from collage_jax.report.layout import layout
from collage_jax.report.markup import VOID, Markup, joined, printable, tag
from collage_jax.report.outline import outlines
from collage_jax.report.page.script import SCRIPT
from collage_jax.report.spacing import GAP, apart

SVG = "{http://www.w3.org/2000/svg}"
NOT_TIMED = Measured(0.0, runs=0)


class Page(HTMLParser):
    """Reads a page strictly: each tag that is opened must be closed, in turn. ``texts`` by the tag they stand in."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[tuple[str, str]] = []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append((self.open[-1] if self.open else "", data))

    @property
    def shown(self) -> str:
        return " ".join(" ".join(text for kind, text in self.texts if kind not in ("style", "script", "title")).split())


def drawings(text: str) -> list[ElementTree.Element]:
    """The SVG parts of a page, which have to be XML as well."""
    return [ElementTree.fromstring(part) for part in re.findall(r"<svg.*?</svg>", text, re.DOTALL)]


def graph_of(text: str) -> ElementTree.Element:
    return next(drawing for drawing in drawings(text) if drawing.find(f".//{SVG}marker") is not None)


def boxes(graph: ElementTree.Element) -> dict[str, ElementTree.Element]:
    """Boxes of a graph by number."""
    found = [box for box in graph.iter(f"{SVG}g") if "data-box" in box.attrib]
    numbered = {box.attrib["data-box"]: box for box in found}
    assert len(numbered) == len(found)
    return numbered


def words(box: ElementTree.Element) -> list[str]:
    return [text.text or "" for text in box.findall(f"{SVG}text")]


def tooltip(box: ElementTree.Element) -> list[str]:
    return (box.findtext(f"{SVG}title") or "").split("\n")


# The page.


@given(placements())
def test_any_placement_gives_a_well_formed_page(placement):
    text = to_html(placement)
    page = Page(text)
    assert [name for name, _ in page.tags].count("script") == 1
    for drawing in drawings(text):
        if drawing.find(f".//{SVG}marker") is not None:
            numbers = set(boxes(drawing))
            ends = {
                path.attrib[end]
                for path in drawing.iter(f"{SVG}path")
                for end in ("data-from", "data-to")
                if "data-from" in path.attrib
            }
            assert ends <= numbers
    text.encode("utf8")


@pytest.mark.parametrize("text", [*AWKWARD, "<img src=x onerror=alert(1)>", "' onload='alert(1)", "\ud800]]>", "<!--"])
def test_nothing_in_a_name_or_reason_becomes_markup(text):
    hostile = Placement(
        (
            PlacedRegion(
                text,
                (text, text),
                text,
                Measured(3.0, note=text),
                {text: Failed("run", text)},
                text,
                1,
                text,
                (Place("", (0, 1)),),
            ),
            PlacedRegion("xla", (text,), text, Failed("compile", text), {"x" + text: Measured(2.0)}, text),
        ),
        (Refusal((text,), text, text),),
        xla_us=2.0,
        unavailable={text: text},
        notes=(text,),
        program=text,
        environment={text: text},
    )
    found, wanted = Page(to_html(hostile)), Page(to_html(to_plain(hostile)))
    assert [(name, sorted(attributes)) for name, attributes in found.tags] == [
        (name, sorted(attributes)) for name, attributes in wanted.tags
    ]
    assert " ".join(printable(text).split()) in found.shown


def to_plain(placement: Placement) -> Placement:
    """The same placement with a harmless word for each text."""

    def plain(cost: Any) -> Any:
        return (
            replace(cost, note="word" if cost.note else "")
            if isinstance(cost, Measured)
            else replace(cost, reason="word")
        )

    one, two = placement.regions
    ((_, failed),) = one.alternatives.items()
    ((_, timed),) = two.alternatives.items()
    empty = not one.label
    word = "" if empty else "word"
    return replace(
        placement,
        regions=(
            replace(
                one,
                backend=word,
                ops=(word, word),
                label=word,
                cost=plain(one.cost),
                alternatives={word: plain(failed)},
                shapes=word,
            ),
            replace(two, ops=(word,), label=word, cost=plain(two.cost), alternatives={"x" + word: timed}, shapes=word),
        ),
        refusals=(Refusal((word,), word, "word"),),
        unavailable={word: "word"},
        notes=("word",),
        program=word,
        environment={word: "word"},
    )


def test_the_page_needs_nothing_else_and_runs_its_own_script_alone():
    text = to_html(FULL)
    page = Page(text)
    assert not {name for name, _ in page.tags} & {"link", "img", "iframe", "base", "object", "form"}
    assert not [
        name for _, attributes in page.tags for name in attributes if name in ("src", "href") or name.startswith("on")
    ]
    assert "url(" not in re.sub(r"url\(#arrow\)", "", text)
    policy = next(a["content"] for name, a in page.tags if name == "meta" and a.get("http-equiv"))
    script = "".join(part for kind, part in page.texts if kind == "script")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert script == SCRIPT
    assert policy == f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"


def test_the_outcome_stands_first():
    shown = Page(to_html(FULL)).shown
    for part in (
        "2.50\u00d7 times as fast as jax.jit",
        "31.2 us jax.jit",
        "12.5 us as placed",
        "11.0 us predicted (-12.0%)",
    ):
        assert part in shown
    for part in ("2.0e-07 largest error", "3.5 s tuning", "4 distinct regions measured", "device cpu x2", "one two"):
        assert part in shown
    assert "more tuning may find more" in shown
    assert "more tuning" not in Page(to_html(replace(FULL, is_final=True))).shown


def test_predicted_stands_beside_measured_at_the_same_scale():
    page = Page(to_html(FULL))
    widths = [
        a["style"]
        for name, a in page.tags
        if name == "i" and (a["class"] or "") in ("bar plain", "bar accent", "bar hollow")
    ]
    assert widths == ["width:100.00%", "width:40.00%", "width:35.20%", "width:32.00%"]


def test_a_box_shows_region_backend_and_time_and_the_rest_when_pointed_at():
    found = {words(box)[0]: box for box in boxes(graph_of(to_html(FULL))).values() if words(box)}
    box = found["dot+tanh"]
    assert words(box) == ["dot+tanh", "fake  1.50 us"]
    assert tooltip(box) == [
        "dot+tanh",
        "operations: dot_general, tanh",
        "float32[3, 4] -> float32[3, 4]",
        "fake: 1.50 us (spread 0.25 us, 7 runs, error 1.0e-07); a note",
        "in 2 places: 3.00 us, 100.0% of all regions",
        "xla: 9.00 us (spread 0.00 us, 3 runs), 6.00x",
        "other: failed (verify): differs by 1.0",
    ]


def test_boxes_rows_and_legend_share_the_colour_of_their_backend():
    text = to_html(Placement((region("fake", 0), region("other", 1), region("xla", 2))))
    colours = dict(re.findall(r'class="chip (c\d+)"></i><b>(\w+)</b>', text))
    assert sorted(colours.values()) == ["fake", "other", "xla"]
    for box in boxes(graph_of(text)).values():
        label = words(box)[1].split()[0]
        assert colours[box.attrib["class"].split()[-1]] == label
    for name in colours:
        assert re.search(rf"\.{name}\{{--line:#[0-9A-F]{{6}};--fill:#[0-9A-F]{{6}}\}}", text)
    assert "prefers-color-scheme:dark" in text


def test_regions_stand_by_time_with_share_and_runner_ups():
    others = {
        "slow": Measured(50.0),
        "quick": Measured(11.0),
        "bad": Failed("run", "it broke"),
        "late": Failed("budget", "not measured"),
    }
    rows = (replace(region("fake", 0, us=10.0), alternatives=others), region("xla", 1, us=30.0))
    shown = Page(to_html(Placement(rows))).shown
    assert "quick 11.0 us (1.10x) slow 50.0 us (5.00x) bad failed (run) late not measured" in shown
    table = shown[shown.index("backend region shapes") :]
    assert table.index("75.0%") < table.index("25.0%")
    assert "Failed backend operations stage reason n bad op0 run it broke 1" in shown


def test_refusals_and_failures_are_counted_and_many_are_folded():
    refusals = (Refusal(("a", "b"), "fake", "too small"),) * 2 + (Refusal((), "broken", "`propose` failed"),)
    failed = replace(FULL.regions[0], alternatives={"other": Failed("verify", "differs")})
    page = Page(to_html(Placement((failed,), refusals, unavailable={"gone": "no library"})))
    assert "fake a+b too small 2" in page.shown
    assert "broken the whole function `propose` failed 1" in page.shown
    assert "other dot_general+tanh verify differs 2" in page.shown
    assert "gone no library" in page.shown
    assert "details" not in {name for name, _ in page.tags}
    many = tuple(Refusal((f"op{i}",), "fake", "too small") for i in range(40))
    assert "details" in {name for name, _ in Page(to_html(Placement((), many))).tags}


def test_a_function_left_to_xla_has_its_reason_and_no_graph():
    text = to_html(Placement((), notes=("No backend wants any part of this function.",)))
    assert "XLA alone" in Page(text).shown
    assert "No backend wants any part" in Page(text).shown
    assert not drawings(text)


def test_the_page_is_written_whole(tmp_path):
    path = tmp_path / "page.html"
    FULL.to_html(path)
    assert path.read_text("utf8") == to_html(FULL)
    assert [found.name for found in tmp_path.iterdir()] == ["page.html"]


def test_time_is_laid_out_in_program_order_bodies_where_their_node_stands():
    rows = (
        region("fake", 3, us=30.0),
        region("fake", 0, us=10.0),
        region("other", 5, us=40.0, graph="1.jaxpr.0"),
        region("xla", 2, us=20.0),
    )
    (strip, _) = drawings(to_html(Placement(rows, edges={"": ((0, 1), (1, 2), (2, 3))})))
    widths = [(part.attrib["data-rows"], float(part[1].attrib["width"])) for part in strip]
    assert widths == [("1", 100.0), ("2", 400.0), ("3", 200.0), ("0", 300.0)]


def test_durations_have_the_unit_that_suits_them():
    assert [duration(us) for us in (0.5, 9.999, 12.34, 123.4, 1234.0, 56789.0, 2.5e6)] == [
        "0.50 us", "10.00 us", "12.3 us", "123 us", "1.23 ms", "56.8 ms", "2.50 s",
    ]  # fmt: skip


def test_tags_escape_text_and_leave_markup():
    assert tag("b", "<i>", Markup("<i></i>"), title='"&') == '<b title="&quot;&amp;">&lt;i&gt;<i></i></b>'
    assert (
        tag("input", type="search", class_="a", data_x=1.0, aria_label=None)
        == '<input type="search" class="a" data-x="1">'
    )
    assert joined("a", None, tag("br")) == "a<br>"


# What is drawn.


def quiet(node: int) -> PlacedRegion:
    return replace(region("xla", node), cost=NOT_TIMED)


def test_operations_of_xla_that_hang_together_are_one_box():
    rows = (quiet(0), quiet(1), region("fake", 2), quiet(3), replace(quiet(4), alternatives={"fake": Measured(2.0)}))
    outline = outlines(Placement(rows, edges={"": ((0, 1), (1, 2), (2, 3), (3, 4))}))[""]
    assert [box.nodes for box in outline.boxes] == [(0, 1), (2,), (3,), (4,)]
    assert outline.edges == ((0, 1), (1, 2), (2, 3))


def test_operations_of_xla_before_and_after_a_region_are_not_merged_past_it():
    # 0 -> 1 (region) -> 2 and 0 -> 2: as one box, 0 and 2 would feed and read the region.
    rows = (quiet(0), region("fake", 1), quiet(2))
    outline = outlines(Placement(rows, edges={"": ((0, 1), (0, 2), (1, 2))}))[""]
    assert [box.nodes for box in outline.boxes] == [(0,), (1,), (2,)]


def test_nodes_that_the_placement_says_nothing_of_are_drawn_as_xla_s():
    placement = Placement((region("fake", 1),), edges={"": ((0, 1), (1, 2), (2, 3))})
    found = [words(box) for box in boxes(graph_of(to_html(placement))).values()]
    assert found == [["1 operation"], ["op1", "fake  5.00 us"], ["2 operations"]]


def test_a_node_with_bodies_is_not_merged_with_what_surrounds_it():
    rows = (quiet(0), quiet(2), replace(quiet(0), places=(Place("1.jaxpr.0", (0,)),)))
    found = outlines(Placement(rows, edges={"": ((0, 1), (1, 2)), "1.jaxpr.0": ()}))
    assert [(box.nodes, box.bodies) for box in found[""].boxes] == [((0,), ()), ((1,), ("1.jaxpr.0",)), ((2,), ())]
    assert [box.nodes for box in found["1.jaxpr.0"].boxes] == [(0,)]


edge_lists = st.lists(st.tuples(st.integers(0, 11), st.integers(0, 11)).filter(lambda e: e[0] != e[1]), max_size=30)
forward = edge_lists.map(lambda edges: sorted({(min(e), max(e)) for e in edges}))


@given(forward, st.sets(st.integers(0, 11)))
def test_merging_makes_no_circle(edges, busy):
    rows = tuple(region("fake", i) if i in busy else quiet(i) for i in range(12))
    outline = outlines(Placement(rows, edges={"": tuple(edges)}))[""]
    place = {v: i for i, v in enumerate(topological(len(outline.boxes), outline.edges))}
    assert all(place[a] < place[b] for a, b in outline.edges)
    assert sorted(node for box in outline.boxes for node in box.nodes) == list(range(12))


def test_bodies_are_drawn_inside_their_node():
    placement = Placement(
        (
            region("fake", 0),
            region("fake", 0, graph="1.branches.0"),
            region("other", 2, graph="1.branches.1/0.jaxpr.0"),
        ),
        edges={"": ((0, 1),), "1.branches.0": ()},
    )
    graph = graph_of(to_html(placement))
    (holder,) = [box for box in boxes(graph).values() if "branches.0" in words(box)]
    assert words(holder) == ["loop or condition", "branches.0", "branches.1"]
    inside = {words(box)[0] for box in holder.iter(f"{SVG}g") if "data-box" in box.attrib}
    assert inside == {"loop or condition", "op0", "op2"}


# The layout.

sizes = st.lists(st.tuples(st.floats(20, 200), st.floats(20, 80)), min_size=12, max_size=12)


@given(edge_lists, sizes)
def test_boxes_do_not_overlap_and_lie_inside_the_drawing(edges, sizes):
    found = layout(sizes, sorted(set(edges)))
    corners = [(x, y, x + w, y + h) for (x, y), (w, h) in zip(found.corners, sizes, strict=True)]
    for i, (left, top, right, bottom) in enumerate(corners):
        assert min(left, top) >= -1e-6 and right <= found.width + 1e-6 and bottom <= found.height + 1e-6
        for other_left, other_top, other_right, other_bottom in corners[i + 1 :]:
            apart_x = right <= other_left + 1e-6 or other_right <= left + 1e-6
            assert apart_x or bottom <= other_top + 1e-6 or other_bottom <= top + 1e-6


@given(forward, sizes)
def test_edges_go_down_from_box_to_box(edges, sizes):
    found = layout(sizes, edges)
    for (a, b), route in zip(edges, found.routes, strict=True):
        (start_x, start_y), (end_x, end_y) = route[0], route[-1]
        assert found.corners[a][0] <= start_x <= found.corners[a][0] + sizes[a][0]
        assert start_y == pytest.approx(found.corners[a][1] + sizes[a][1])
        assert found.corners[b][0] <= end_x <= found.corners[b][0] + sizes[b][0]
        assert end_y == pytest.approx(found.corners[b][1])
        assert all(one[1] < other[1] + 1e-6 for one, other in pairwise(route))


@given(edge_lists)
def test_an_order_holds_every_vertex_once_even_with_circles(edges):
    assert sorted(topological(12, edges)) == list(range(12))
    found = layers(12, edges)
    assert sorted(v for row in found.order for v in row if v < 12) == list(range(12))


@given(forward)
def test_edges_pass_one_vertex_in_each_layer(edges):
    found = layers(12, edges)
    rank = {v: i for i, row in enumerate(found.order) for v in row}
    for edge, chain in zip(edges, found.chains, strict=True):
        assert chain is not None
        assert (chain[0], chain[-1]) == edge
        assert [rank[v] for v in chain] == list(range(rank[edge[0]], rank[edge[1]] + 1))


def test_edges_that_need_not_cross_do_not():
    rng = random.Random(1)
    names = list(range(15))
    rng.shuffle(names)
    tree = [(names[(i - 1) // 2], names[i]) for i in range(1, 15)]
    found = layers(15, tree)
    places = {v: i for row in found.order for i, v in enumerate(row)}
    rank = {v: i for i, row in enumerate(found.order) for v in row}
    crossed = [
        (one, other)
        for one in tree
        for other in tree
        if rank[one[0]] == rank[other[0]]
        and (places[one[0]] - places[other[0]]) * (places[one[1]] - places[other[1]]) < 0
    ]
    assert not crossed


def test_sources_stand_just_above_what_reads_them():
    found = layers(5, [(0, 1), (1, 2), (2, 3), (4, 3)])
    assert [set(row) for row in found.order] == [{0}, {1}, {2, 4}, {3}]


@given(st.lists(st.tuples(st.floats(-500, 500), st.floats(5, 100), st.floats(0.5, 50)), min_size=1, max_size=9))
def test_boxes_of_a_layer_come_as_near_to_their_wishes_as_their_distance_allows(boxes):
    wanted, widths, weights = (list(part) for part in zip(*boxes, strict=True))
    found = apart(wanted, widths, weights)
    needed = [(a + b) / 2 + GAP for a, b in pairwise(widths)]
    assert all(b - a >= need - 1e-6 for (a, b), need in zip(pairwise(found), needed, strict=True))

    def badness(places: list[float]) -> float:
        return sum(w * (x - t) ** 2 for x, t, w in zip(places, wanted, weights, strict=True))

    # No allowed move of boxes from one on, to the left or to the right, comes nearer: the sum is convex.
    for i in range(len(found)):
        for j in range(i + 1, len(found) + 1):
            for step in (-0.5, 0.5):
                moved = [x + step * (i <= k < j) for k, x in enumerate(found)]
                if all(b - a >= need - 1e-9 for (a, b), need in zip(pairwise(moved), needed, strict=True)):
                    assert badness(moved) >= badness(found) - 1e-3


def test_a_long_chain_with_a_connection_past_each_block_goes_straight_down():
    blocks = 40
    edges = sorted({(i, i + 1) for i in range(4 * blocks)} | {(4 * i, 4 * i + 4) for i in range(blocks)})
    found = layout([(100.0, 30.0)] * (4 * blocks + 1), edges)
    assert found.width < 300


def test_parts_that_do_not_hang_together_are_put_in_rows():
    found = layout([(100.0, 30.0)] * 60, [])
    assert found.width <= 1100
    assert len({y for _, y in found.corners}) > 3


def test_a_graph_of_thousands_of_nodes_is_drawn():
    rows = tuple(region("fake" if i % 3 else "xla", i) for i in range(1500))
    # Like a training step: what is computed first is read again last.
    edges = [(i, i + 1) for i in range(1499)] + [(i, 1499 - i) for i in range(700)]
    graph = graph_of(to_html(Placement(rows, edges={"": tuple(sorted(edges))})))
    assert len(boxes(graph)) == 1500
    assert float(graph.attrib["width"]) < 4000
