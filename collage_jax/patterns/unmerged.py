"""What a graph has once although the program that it was traced from had it twice, and so has its gradient.

A gradient of JAX's adds up what comes to a value from each of its uses. ``jnp.var`` subtracts a mean of its own, so two
means have gradients. Conversions of x to a wider dtype, as Flax has one for the statistics and one for what is
divided by their root, are added up in narrow numbers.
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


def computed_apart(found: Found) -> Found:
    """``found`` with all that it reads more than once computed for each use by itself."""
    producer = {v: node for node in found.nodes for v in node.outputs}
    nodes: list[Node] = []

    def own(value: Value) -> Value:
        node = producer.get(value)
        if node is None or value in found.inputs:
            return value
        fresh = tuple(Value(v.aval) for v in node.outputs)
        nodes.append(replace(node, inputs=tuple(map(own, node.inputs)), outputs=fresh))
        return fresh[node.outputs.index(value)]

    own(found.root.out)
    return replace(found, nodes=tuple(nodes), root=nodes[-1])


def _makers(nodes: tuple[Node, ...], values: tuple[Value, ...]) -> set[Node]:
    """Those of ``nodes`` that ``values`` are made by."""
    makers: set[Node] = set()
    wanted = set(values)
    for node in reversed(nodes):
        if not wanted.isdisjoint(node.outputs):
            makers.add(node)
            wanted.update(node.inputs)
    return makers
