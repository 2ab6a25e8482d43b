"""Conversions of a norm's input to a wider dtype, of which a graph has one where the program had several.

A gradient of JAX's adds up what comes to x in the dtype of each conversion that the program had: where it converted x
twice, as Flax does for the statistics and for what is divided by their root, it adds up narrow numbers once more.
"""

from __future__ import annotations

from dataclasses import replace

from ..graph.ir import Node, Value
from ..graph.simplify import with_inputs
from .composites import Found


def converted_twice(found: Found) -> Found | None:
    """``found`` with x converted by itself for all but its statistics; None if it is not converted for both."""
    x, statistics = found.inputs[0], _makers(found.nodes, found.also)
    cast = next((node for node in found.nodes if node.op == "convert_element_type" and node.inputs[0] is x), None)
    if cast is None or cast not in statistics:
        return None
    others = {node for node in found.nodes if cast.out in node.inputs and node not in statistics}
    if not others:
        return None
    second = replace(cast, outputs=(Value(cast.out.aval),))
    own = {cast.out: second.out}
    nodes = (with_inputs(node, own) if node in others else node for node in found.nodes if node is not cast)
    return replace(found, nodes=(cast, second, *nodes))


def _makers(nodes: tuple[Node, ...], values: tuple[Value, ...]) -> set[Node]:
    """Those of ``nodes`` that ``values`` are made by."""
    makers: set[Node] = set()
    wanted = set(values)
    for node in reversed(nodes):
        if not wanted.isdisjoint(node.outputs):
            makers.add(node)
            wanted.update(node.inputs)
    return makers
