"""The drawing in Graphviz's language: well-formed whatever the names are, every node in its place and colour."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from test_placement_files import AWKWARD, placements, region

from collage_jax.candidates import XLA
from collage_jax.costs import Failed, Measured
from collage_jax.placement import Place, PlacedRegion, Placement
from collage_jax.report.dot import to_dot
from collage_jax.report.markup import printable
from collage_jax.report.page.style import DARK, LIGHT
from collage_jax.report.palette import COLOURS, palette

TOKEN = re.compile(r'\s+|"(?:[^"\\]|\\.)*"|->|[{}\[\]=;,]|[A-Za-z_][A-Za-z_0-9]*|[0-9.]+', re.DOTALL)


@dataclass
class Cluster:
    """A ``subgraph``, or the whole: what was read of it."""

    name: str
    attributes: dict[str, str] = field(default_factory=dict)
    nodes: dict[str, dict[str, str]] = field(default_factory=dict)
    edges: list[tuple[str, str]] = field(default_factory=list)
    inside: list[Cluster] = field(default_factory=list)

    def all_nodes(self) -> list[str]:
        return [*self.nodes, *(name for inner in self.inside for name in inner.all_nodes())]

    def holding(self, node: str) -> Cluster:
        """The innermost cluster with ``node``."""
        deeper = [inner.holding(node) for inner in self.inside if node in inner.all_nodes()]
        return deeper[0] if deeper else self


def read(text: str) -> Cluster:
    """The language as far as it is used here, strictly: what is not of it raises."""
    tokens, at = [], 0
    while at < len(text):
        found = TOKEN.match(text, at)
        assert found, text[at : at + 40]
        at = found.end()
        if found[0].strip():
            tokens.append(found[0])
    tokens.reverse()
    assert [tokens.pop() for _ in range(3)] == ["digraph", "placement", "{"]
    whole = _statements(tokens, "placement")
    assert not tokens
    return whole


def _statements(tokens: list[str], name: str) -> Cluster:
    found = Cluster(name)
    while (token := tokens.pop()) != "}":
        if token == "subgraph":
            inner = unquoted(tokens.pop())
            assert tokens.pop() == "{"
            found.inside.append(_statements(tokens, inner))
            continue
        following = tokens.pop()
        if following == "->":
            found.edges.append((unquoted(token), unquoted(tokens.pop())))
        elif following == "=":
            found.attributes[token] = unquoted(tokens.pop())
        else:
            assert following == "["
            if token not in ("graph", "node", "edge"):
                assert unquoted(token) not in found.nodes
                found.nodes[unquoted(token)] = _attributes(tokens)
            else:
                _attributes(tokens)
        assert tokens.pop() == ";"
    return found


def _attributes(tokens: list[str]) -> dict[str, str]:
    found = {}
    while True:
        name, sign, value, end = (tokens.pop() for _ in range(4))
        assert sign == "="
        found[name] = unquoted(value)
        if end == "]":
            return found
        assert end == ","


def unquoted(token: str) -> str:
    """What Graphviz shows for a string: escapes and entities undone."""
    if not token.startswith('"'):
        return token
    assert "\n" not in token
    undone = re.sub(r"\\(.)", lambda found: "\n" if found[1] == "n" else found[1], token[1:-1])
    return undone.replace("&amp;", "&")


@given(placements())
def test_every_node_stands_once_and_edges_join_them(placement):
    whole = read(to_dot(placement))
    nodes = whole.all_nodes()
    assert len(nodes) == len(set(nodes))
    placed = {(p.graph, node) for r in placement.regions for p in r.places for node in p.nodes}
    wired = {(name, end) for name, edges in placement.edges.items() for edge in edges for end in edge}
    holders = {
        (name.rpartition("/")[0], int(name.rpartition("/")[2].partition(".")[0])) for name in placement.edges if name
    }
    named = {f"{graph}/{node}" if graph else str(node) for graph, node in placed | wired | holders}
    placeless = {f"region {i}" for i, r in enumerate(placement.regions) if not r.places}
    assert set(nodes) == named | placeless
    assert {end for edge in whole.edges for end in edge} <= set(nodes)
    assert len(whole.edges) == sum(len(set(edges)) for edges in placement.edges.values())


@given(placements())
def test_the_same_placement_gives_the_same_text(placement):
    assert to_dot(placement) == to_dot(placement)


@pytest.mark.parametrize("text", [*AWKWARD, "\\", '"', "\\n", "a\\", "&lt;", "\ud800"])
def test_names_and_reasons_are_shown_as_they_are(text):
    failed = {text: Failed("compile", f"because {text}")}
    placement = Placement(
        (PlacedRegion(text, (f"op {text}",), "", Measured(1.0), failed, "", 1, "", (Place("", (0,)),)),)
    )
    node = read(placement.to_dot()).nodes["0"]
    shown = printable(text).replace("\r", "")
    assert node["label"] == f"op {shown}\n{shown} 1.00 us"
    assert f"{shown}: failed (compile): because {shown}" in node["tooltip"]


def test_a_region_of_several_nodes_is_a_cluster_in_the_colour_of_its_backend():
    placement = Placement((region("fake", 0, 2, us=7.0), region("xla", 1)), edges={"": ((0, 1), (1, 2))})
    whole = read(to_dot(placement))
    colours = palette(placement)
    cluster = whole.holding("0")
    assert cluster is whole.holding("2")
    assert cluster is not whole
    assert cluster.attributes["label"] == "fake: op0+op2, 7.00 us"
    assert cluster.attributes["color"] == cluster.nodes["2"]["color"] == colours["fake"].line
    assert whole.holding("1") is whole
    assert whole.nodes["1"]["fillcolor"] == colours["xla"].light
    assert whole.edges == [("0", "1"), ("1", "2")]


def test_bodies_are_clusters_within_that_of_their_node():
    bodies = {"": ((0, 1),), "1.branches.0": (), "1.branches.1": ((0, 1),), "1.branches.1/1.jaxpr.0": ()}
    placement = Placement(
        (
            region("xla", 0),
            region("fake", 0, graph="1.branches.0"),
            region("fake", 0, graph="1.branches.1"),
            region("fake", 3, graph="1.branches.1/1.jaxpr.0"),
        ),
        edges=bodies,
    )
    whole = read(to_dot(placement))
    (around,) = whole.inside
    assert set(around.nodes) == {"1"}
    assert [inner.attributes["label"] for inner in around.inside] == ["branches.0", "branches.1"]
    assert set(around.inside[1].nodes) == {"1.branches.1/0"}
    (deeper,) = around.inside[1].inside
    assert set(deeper.nodes) == {"1.branches.1/1"}
    assert deeper.inside[0].attributes["label"] == "jaxpr.0"
    assert set(deeper.inside[0].nodes) == {"1.branches.1/1.jaxpr.0/3"}


def test_costs_and_runner_ups_stand_in_the_tooltip():
    cost = Measured(12.5, 0.5, 15, 1e-7)
    others = {"xla": Measured(25.0, 1.0, 15), "slow": Failed("budget", "not measured: the budget was spent")}
    one = PlacedRegion("fake", ("dot", "add"), "dot+add", cost, others, "f[2] -> f[2]", 1, "", (Place("", (0, 1)),))
    tooltip = read(to_dot(Placement((one,)))).holding("0").attributes["tooltip"]
    assert tooltip.split("\n") == [
        "dot+add",
        "operations: dot, add",
        "f[2] -> f[2]",
        "fake: 12.5 us (spread 0.50 us, 15 runs, error 1.0e-07)",
        "12.5 us, 100.0% of all regions",
        "xla: 25.0 us (spread 1.00 us, 15 runs), 2.00x",
        "slow: not measured: the budget was spent",
    ]


def test_a_placement_without_regions_is_an_empty_drawing():
    assert read(to_dot(Placement(()))).all_nodes() == []


def test_each_backend_has_a_colour_of_its_own_and_xla_is_neutral():
    names = [f"backend{i:02}" for i in range(2 * len(COLOURS))]
    placement = Placement(tuple(region(name, i) for i, name in enumerate(names)))
    found = palette(placement)
    assert len(set(found.values())) == len(names) + 1
    assert found[XLA].line not in {found[name].line for name in names}
    assert not any(found[name].dashed for name in names[: len(COLOURS)])
    assert all(found[name].dashed for name in names[len(COLOURS) :])


def _contrast(one: str, other: str) -> float:
    """WCAG's contrast ratio."""

    def luminance(colour: str) -> float:
        parts = [value / 255 for value in bytes.fromhex(colour[1:])]
        linear = [v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def theme(text: str) -> dict[str, str]:
    """The colours that a theme of the page names."""
    return {name.lstrip("-"): value for name, value in (part.split(":") for part in text.split(";"))}


@pytest.mark.parametrize("name", ["xla", *(f"backend{i}" for i in range(len(COLOURS)))])
def test_text_and_lines_can_be_seen_in_light_and_dark(name):
    colour = palette(Placement(tuple(region(f"backend{i}", i) for i in range(len(COLOURS)))))[name]
    for kind, fill in ((LIGHT, colour.light), (DARK, colour.dark)):
        assert _contrast(theme(kind)["ink"], fill) > 7
        assert _contrast(theme(kind)["soft"], fill) > 4.5
    assert _contrast(colour.line, "#ffffff") > 1.8
    assert _contrast(colour.bright, "#14171c") > 3
