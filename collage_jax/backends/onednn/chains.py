"""Which regions to offer: each operation of the library's own kinds alone and with every prefix of what follows it.

anchor          a node that becomes one primitive of the library
tail            the nodes after it that become its bias, residual and post-ops
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import ModuleType

from ...graph.ir import Graph, Node
from ...graph.region import Region
from ..base import Proposal, Unsupported
from . import concatenation, convolution, elementwise, matmul, normalization, pooling, reduction, resampling
from .activations import INEXACT
from .call import Call
from .tail import extend

_FAMILIES: tuple[ModuleType, ...] = (
    convolution, matmul, pooling, normalization, reduction, resampling, concatenation, elementwise,
)  # fmt: skip

Planner = Callable[[Graph, Node, frozenset[Node]], Call | Unsupported]

#: How to make the call for an anchor, by operation.
ANCHORS: dict[str, Planner] = {op: plan for family in _FAMILIES for op, plan in family.ANCHORS.items()}


def propose(graph: Graph) -> Iterator[Proposal]:
    """Every anchor of ``graph`` alone, with the neighbours its strides can express, and with ever longer tails."""
    for node in graph.nodes:
        if not _is_anchor(node):
            continue
        for absorbed in _absorptions(graph, node):
            call = ANCHORS[node.op](graph, node, absorbed)
            if isinstance(call, Call):
                yield from _prefixes(graph, call)
            elif not absorbed:
                yield Proposal((node,), node.op, refused=call)


def read(region: Region) -> Call | Unsupported:
    """The one call that does the work of all nodes of ``region``."""
    reasons: dict[str, None] = {}
    for node in region.nodes:
        if _is_anchor(node):
            found = _read_from(region, node)
            if isinstance(found, Call):
                return found
            reasons[found.reason] = None
    if not reasons:
        return Unsupported(f"no operation here starts a oneDNN call: {', '.join(region.ops)}")
    return Unsupported("; ".join(reasons))


def _is_anchor(node: Node) -> bool:
    if node.op not in ANCHORS or node.barrier or len(node.outputs) != 1:
        return False
    # Under shape polymorphism sizes are expressions, of which no plan can be built.
    return all(isinstance(n, int) for v in (*node.inputs, *node.outputs) for n in v.shape)


def _read_from(region: Region, anchor: Node) -> Call | Unsupported:
    inside = set(region.nodes)
    absorbed = _neighbours(region.graph, anchor) & inside
    call = ANCHORS[anchor.op](region.graph, anchor, absorbed)
    while isinstance(call, Call) and len(call.nodes) < len(inside):
        longer = extend(region.graph, call, inside.__contains__)
        if longer is None:
            left = ", ".join(node.op for node in region.nodes if node not in call.nodes)
            return Unsupported(f"{left} cannot be part of the call that starts at {anchor.op}")
        call = longer
    if isinstance(call, Call) and region.exits != (call.result,):
        return Unsupported(f"values inside are used outside: {', '.join(map(repr, region.exits))}")
    return call


def _prefixes(graph: Graph, call: Call) -> Iterator[Proposal]:
    longer: Call | None = call
    while longer is not None:
        yield Proposal(longer.nodes, longer.label)
        call, longer = longer, extend(graph, longer, lambda node: not node.barrier)
    following = graph.only_user(call.result)
    if call.fuses and following is not None and following.op in INEXACT:
        reason = Unsupported(f"oneDNN's {following.op} is not JAX's for every number")
        yield Proposal((*call.nodes, following), f"{call.label}+{following.op}", refused=reason)


def _neighbours(graph: Graph, node: Node) -> frozenset[Node]:
    """Nodes next to an anchor whose rearranging its call can express."""
    if node.op == "conv_general_dilated":
        return frozenset(convolution.absorbable(graph, node))
    if node.op == "dot_general":
        return frozenset(filter(None, (*matmul.before(graph, node), matmul.after(graph, node))))
    return frozenset()


def _absorptions(graph: Graph, node: Node) -> Iterator[frozenset[Node]]:
    """None of the neighbours, all of those before, the one after, all."""
    neighbours = _neighbours(graph, node)
    following = frozenset(n for n in neighbours if graph.position[n] > graph.position[node])
    yield from dict.fromkeys((frozenset(), neighbours - following, following, neighbours))
