"""A parsed placement file as a ``Placement``, every part of it checked."""

from __future__ import annotations

import re
from itertools import pairwise

from ..candidates import Refusal
from ..costs import STAGES, Cost, Estimated, Failed, Measured
from ..placement import Edges, Place, PlacedRegion, Placement
from .fields import Field

KIND = "collage_jax placement"
FORMAT = 1
#: No program has so many nodes; reports have a line for each.
MOST_PLACES = 100_000
#: See ``Place``: nothing for the program itself, or node, parameter and number for each body on the way.
GRAPH = re.compile(r"(\d{1,9}\.\w+\.\d{1,9}(/\d{1,9}\.\w+\.\d{1,9}){0,63})?", re.ASCII)
GRAPH_RULE = "'' for the program itself, or node.parameter.number of each body on the way, at most 64, joined by /"


def placement_of(root: Field) -> Placement:
    """The placement that a document of this format or an older one holds; ``ValueError`` if it holds something else."""
    if root.member("kind").value != KIND:
        root.member("kind").fail(f"{KIND!r}")
    version = root.member("format").whole(1)
    if version > FORMAT:
        raise ValueError(
            f"{root.source}: format must be {FORMAT} or older, got {version}: a newer collage_jax wrote it;"
            " update collage_jax, or save the placement with this version"
        )
    placement = Placement(
        regions=root.member("regions").items(_region),
        refusals=root.member("refusals").items(_refusal),
        predicted_us=root.member("predicted_us").optional(Field.number),
        measured_us=root.member("measured_us").optional(Field.positive),
        xla_us=root.member("xla_us").optional(Field.positive),
        error=root.member("error").optional(Field.number),
        tuning_s=root.member("tuning_s").number(),
        distinct_measured=root.member("distinct_measured").whole(),
        unavailable=root.member("unavailable").optional(_texts),
        notes=root.member("notes").items(Field.text),
        uncorrected_us=root.member("uncorrected_us").optional(Field.number),
        is_final=root.member("is_final").flag(),
        budget_s=root.member("budget_s").number(),
        program=root.member("program").text(),
        edges=_edges(root.member("edges")),
        environment=_texts(root.member("environment")),
    )
    if (places := sum(region.count for region in placement.regions)) > MOST_PLACES:
        root.member("regions").fail(f"in at most {MOST_PLACES} places together, which are {places}")
    _check_cover(root.member("regions"), placement)
    return placement


def _texts(field: Field) -> dict[str, str]:
    return field.entries(Field.text)


def _refusal(field: Field) -> Refusal:
    return Refusal(
        ops=field.member("ops").items(Field.text),
        backend=field.member("backend").text(),
        reason=field.member("reason").text(),
    )


def _region(field: Field) -> PlacedRegion:
    region = PlacedRegion(
        backend=field.member("backend").text(),
        ops=field.member("ops").items(Field.text),
        label=field.member("label").text(),
        cost=_cost(field.member("cost")),
        alternatives=field.member("alternatives").entries(_cost),
        shapes=field.member("shapes").text(),
        count=field.member("count").whole(1),
        key=field.member("key").text(),
        places=field.member("places").items(_place),
    )
    if region.places and len(region.places) != region.count:
        field.member("count").fail(f"the number of its places, {len(region.places)}")
    if any(len(place.nodes) != len(region.ops) for place in region.places):
        field.member("places").fail(f"places of as many nodes as there are ops, {len(region.ops)}")
    return region


def _cost(field: Field) -> Cost:
    status = field.member("status")
    if status.value == "failed":
        stage = field.member("stage")
        if stage.text() not in STAGES:
            stage.fail(f"one of {', '.join(STAGES)}")
        return Failed(stage.text(), field.member("reason").text())
    if status.value not in ("measured", "estimated"):
        status.fail("'measured', 'estimated' or 'failed'")
    kind = Estimated if status.value == "estimated" else Measured
    return kind(
        median_us=field.member("median_us").number(),
        spread_us=field.member("spread_us").number(),
        runs=field.member("runs").whole(),
        error=field.member("error").optional(Field.number),
        note=field.member("note").text(),
        recalled=field.member("recalled").flag(),
    )


def _place(field: Field) -> Place:
    graph = field.member("graph")
    if not GRAPH.fullmatch(graph.text()):
        graph.fail(GRAPH_RULE)
    nodes = field.member("nodes").items(Field.whole)
    if any(first >= second for first, second in pairwise(nodes)):
        field.member("nodes").fail("in ascending order")
    return Place(graph.text(), nodes)


def _edges(field: Field) -> dict[str, Edges]:
    found = field.entries(lambda edges: edges.items(_edge))
    for name in found:
        if not GRAPH.fullmatch(name):
            field.fail(f"an object with names that are {GRAPH_RULE}")
    return found


def _edge(field: Field) -> tuple[int, int]:
    ends = field.items(Field.whole)
    if len(ends) != 2 or ends[0] >= ends[1]:
        field.fail("the places of two nodes, the earlier first")
    return ends[0], ends[1]


def _check_cover(field: Field, placement: Placement) -> None:
    """Each node belongs to one region at most."""
    owners: dict[tuple[str, int], str] = {}
    for i, region in enumerate(placement.regions):
        for j, place in enumerate(region.places):
            here = f"regions[{i}].places[{j}]"
            for node in place.nodes:
                owner = owners.setdefault((place.graph, node), here)
                if owner != here:
                    raise ValueError(
                        f"{field.source}: a node must belong to one region only, got node {node} of graph"
                        f" {place.graph!r} in {owner} and in {here}; {field.remedy}"
                    )
