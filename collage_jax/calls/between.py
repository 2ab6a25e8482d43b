"""Programs that every device of a mesh runs by itself (``shard_map``), with operations between devices in them.

What lies between those is parted so that each part could stand alone on one device: it knows of no other, and all
that it makes differs from device to device in the same axes of the mesh. The parts are sites, everything else stays.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .. import _compat
from ..graph.contents import equations, has_bodies, holds
from ..graph.evaluate import Env, read, run_node
from ..graph.ir import Constant, Graph, Node, Value
from ..graph.trace import RULED_CALLS, trace_jaxpr
from ..sites import primitive
from ..sites.site import Place, Site

#: Operations that only say that something may differ from device to device.
CASTS = ("pvary", "pcast", "reduced_vary_cast")


#: An operation between devices that JAX gives no effect.
SILENT = "ppermute"

#: Calls that only group equations; every other body, and every rule of differentiation, has to stay in one piece.
GROUPS = ("jit", "pjit", "closed_call", "core_call")


def has_crossings(closed: Any) -> bool:
    """True if there are operations between devices in a closed jaxpr."""
    return _compat.has_named_axes(closed) or holds(closed, SILENT)


def can_be_parted(closed: Any) -> bool:
    """True if nothing but operations between devices stands between equations that can be run one by one."""
    if not _compat.crosses_devices_only(closed):
        return False
    flat = equations(closed, lambda eqn: eqn.primitive.name in GROUPS)
    return all(
        eqn.primitive.name in GROUPS
        or (eqn.primitive.name not in (SILENT, "stop_gradient", *RULED_CALLS) and not has_bodies(eqn))
        for eqn in flat
    )


@dataclass(frozen=True, eq=False)
class Part:
    """From ``entries`` to ``exits``, on one device."""

    site: Site
    entries: tuple[Value, ...]
    exits: tuple[Value, ...]


class Parted:
    """A closed jaxpr of one device's program as a function of its flat inputs, in parts that are sites."""

    def __init__(self, closed: Any, place: Place, name: str) -> None:
        self._graph = graph = trace_jaxpr(closed)
        self._steps: list[Node | Part] = []
        # On one device what is cast is what it was.
        casts = [node for node in graph.nodes if _is_cast(node)]
        scalars = {n.out: n.inputs[0].val for n in casts if isinstance(n.inputs[0], Constant)}
        for nodes in _in_order(graph):
            if _stays(nodes[0]):
                self._steps += nodes
            else:
                self._steps += _as_part(graph, nodes, scalars, place, name)

    def __call__(self, leaves: Sequence[Any]) -> list[Any]:
        env: Env = dict(zip(self._graph.inputs, leaves, strict=True))
        env.update(self._graph.constants)
        for step in self._steps:
            if isinstance(step, Part):
                results = primitive.bind([env[v] for v in step.entries], step.site)
                env.update(zip(step.exits, results, strict=True))
            else:
                run_node(step, env)
        return [read(env, v) for v in self._graph.outputs]


def _in_order(graph: Graph) -> list[list[Node]]:
    """The nodes in groups that can run one after the other: of nodes that stay, or of those that make one part."""
    level: dict[Value, int] = defaultdict(int)
    groups: dict[tuple[Any, ...], list[Node]] = defaultdict(list)
    for node in graph.nodes:
        at = max((level[v] for v in node.inputs if not isinstance(v, Constant)), default=0)
        axes = sorted(_compat.varying(node.outputs[0].aval))
        is_crossing = node.has_effects
        # On each level first what differs in fewer axes, with casts before what reads them; then what crosses devices.
        groups[at, is_crossing, len(axes), not _is_cast(node), tuple(axes)].append(node)
        level.update((v, at + is_crossing) for v in node.outputs)
    return [groups[key] for key in sorted(groups)]


def _is_cast(node: Node) -> bool:
    return node.op.startswith(CASTS)


def _stays(node: Node) -> bool:
    return node.has_effects or _is_cast(node)


def _as_part(
    graph: Graph, nodes: Sequence[Node], scalars: Mapping[Value, Any], place: Place, name: str
) -> list[Node | Part]:
    """``nodes`` as a part; as they are if nothing goes in. ``scalars`` are values that need not come from outside."""
    made = dict.fromkeys(v for node in nodes for v in node.outputs)
    read_here = dict.fromkeys(v for node in nodes for v in node.inputs if not isinstance(v, Constant))
    entries = tuple(v for v in read_here if v not in made and v not in scalars)
    if not entries:
        return list(nodes)
    elsewhere = _read_elsewhere(graph, set(nodes))
    exits = tuple(v for v in made if v in elsewhere)

    def run(*arrays: Any) -> list[Any]:
        env: Env = {**scalars, **dict(zip(entries, arrays, strict=True))}
        for node in nodes:
            run_node(node, env)
        return [env[v] for v in exits]

    alone = [_compat.shaped(v.shape, v.dtype, v.aval.weak_type) for v in entries]
    return [Part(Site(_compat.make_closed_jaxpr(run, alone), place, name), entries, exits)]


def _read_elsewhere(graph: Graph, nodes: Collection[Node]) -> set[Value]:
    return {v for node in graph.nodes if node not in nodes for v in node.inputs} | set(graph.outputs)
