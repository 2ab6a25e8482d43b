"""A placement's graphs in Graphviz's language: every node, coloured by what runs it.

A region of several nodes is a cluster, a loop or condition one with its bodies inside.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from ..placement import PlacedRegion, Placement
from .figures import details, short
from .markup import printable
from .outline import bodies, graph_names, is_quiet
from .palette import Colour, palette

HEAD = """\
  graph [fontname="Helvetica", fontsize=11, rankdir=TB, compound=true, ranksep=0.3, nodesep=0.2];
  node [shape=box, style="filled", fontname="Helvetica", fontsize=10, height=0.3, margin="0.1,0.04"];
  edge [color="#8A919C", arrowsize=0.6];"""
PLAIN = {"fillcolor": "#FFFFFF", "color": "#8A919C", "style": "filled,rounded"}


def to_dot(placement: Placement) -> str:
    """``placement`` as a ``digraph``; the same placement gives the same text. Tooltips hold the costs."""
    drawing = _Drawing(placement)
    lines = ["digraph placement {", HEAD, *drawing.graph("", 1), *drawing.placeless(), *drawing.edges(), "}"]
    return "\n".join(lines) + "\n"


class _Drawing:
    """What is looked up again and again: which places are in which graph, colours, costs as text."""

    def __init__(self, placement: Placement) -> None:
        self.placement = placement
        self.colours = palette(placement)
        self.names = graph_names(placement)
        self.bodies = bodies(self.names)
        self.places: dict[str, list[tuple[tuple[int, ...], PlacedRegion]]] = {name: [] for name in self.names}
        for region in placement.regions:
            for place in region.places:
                self.places[place.graph].append((place.nodes, region))
        all_us = sum(region.total_us for region in placement.regions)
        self.tooltips = {id(region): "\n".join(details(region, all_us)) for region in placement.regions}

    def graph(self, name: str, depth: int) -> Iterator[str]:
        """The nodes of one graph, those in bodies inside it too."""
        holders = self.bodies.get(name, {})
        known = {*holders, *(node for nodes, _ in self.places[name] for node in nodes)}
        for nodes, region in sorted(self.places[name], key=lambda item: item[0]):
            yield from self._region(name, nodes, region, depth)
        for node, inside in sorted(holders.items()):
            yield from self._control(name, node, inside, depth)
        for node in sorted({end for edge in self.placement.edges.get(name, ()) for end in edge} - known):
            # The placement says nothing of it, so XLA runs it.
            yield _line(depth, f"{_id(name, node)} [{_attributes(label=f'operation {node}', **PLAIN)}];")

    def _region(self, graph: str, nodes: tuple[int, ...], region: PlacedRegion, depth: int) -> Iterator[str]:
        colour, tooltip = self.colours[region.backend], self.tooltips[id(region)]
        if len(nodes) == 1:
            label = _last(region.ops) + ("" if is_quiet(region) else f"\n{region.backend} {short(region.cost)}")
            yield _line(
                depth, f"{_id(graph, nodes[0])} [{_attributes(label=label, tooltip=tooltip, **_node(colour))}];"
            )
            return
        yield _line(depth, f"subgraph {_quoted(f'cluster {graph} {nodes[0] if nodes else region.key}')} {{")
        label = f"{region.backend}: {region.label}, {short(region.cost)}"
        style = "dashed" if colour.dashed else "solid"
        yield _line(depth + 1, _attributes("; ", label=label, tooltip=tooltip, color=colour.line, style=style) + ";")
        for op, node in zip(region.ops, nodes, strict=False):
            yield _line(depth + 1, f"{_id(graph, node)} [{_attributes(label=op, tooltip=tooltip, **_node(colour))}];")
        yield _line(depth, "}")

    def _control(self, graph: str, node: int, bodies: Iterable[str], depth: int) -> Iterator[str]:
        yield _line(depth, f"subgraph {_quoted(f'cluster {graph} {node} bodies')} {{")
        yield _line(depth + 1, _attributes("; ", label="", color="#8A919C", style="rounded") + ";")
        yield _line(depth + 1, f"{_id(graph, node)} [{_attributes(label='loop or condition', **PLAIN)}];")
        for body in bodies:
            yield _line(depth + 1, f"subgraph {_quoted(f'cluster {body}')} {{")
            label = body.rpartition("/")[2].partition(".")[2]
            yield _line(depth + 2, _attributes("; ", label=label, color="#8A919C", style="dotted") + ";")
            yield from self.graph(body, depth + 2)
            yield _line(depth + 1, "}")
        yield _line(depth, "}")

    def placeless(self) -> Iterator[str]:
        """Regions of which it is not known where they stand."""
        for i, region in enumerate(self.placement.regions):
            if not region.places:
                times = f" x{region.count}" if region.count > 1 else ""
                label = f"{region.label}{times}\n{region.backend} {short(region.cost)}"
                node = _node(self.colours[region.backend])
                text = _attributes(label=label, tooltip=self.tooltips[id(region)], **node)
                yield _line(1, f"{_quoted(f'region {i}')} [{text}];")

    def edges(self) -> Iterator[str]:
        for name in self.names:
            for a, b in sorted(set(self.placement.edges.get(name, ()))):
                yield _line(1, f"{_id(name, a)} -> {_id(name, b)};")


def _node(colour: Colour) -> dict[str, str]:
    return {
        "fillcolor": colour.light,
        "color": colour.line,
        "style": "filled,dashed" if colour.dashed else "filled",
    }


def _last(ops: tuple[str, ...]) -> str:
    return ops[-1] if ops else ""


def _line(depth: int, text: str) -> str:
    return "  " * depth + text


def _id(graph: str, node: int) -> str:
    return _quoted(f"{graph}/{node}" if graph else str(node))


def _attributes(separator: str = ", ", **values: str) -> str:
    return separator.join(f"{name}={_quoted(value)}" for name, value in values.items())


def _quoted(text: str) -> str:
    """A string of the language that shows as ``text``: in it, backslashes begin escapes and ``&`` begins entities."""
    text = printable(text).replace("&", "&amp;").replace("\\", "\\\\").replace('"', '\\"')
    return '"' + text.replace("\r", "").replace("\n", "\\n") + '"'
