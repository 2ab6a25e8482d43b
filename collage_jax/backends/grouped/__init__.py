"""Grouped: float32 convolutions with few channels in a group, and what is fused to them.

convolution    node -> convolution as the kernels see it, or why they cannot run it
tail           convolution + what is before or after it -> longer convolution
kernel         convolution -> callable
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from ...graph.ir import Graph, Node, Value
from ...graph.region import Region
from ..base import Backend, PreparedKernel, Proposal, Unsupported
from .convolution import Convolution, plan
from .kernel import kernel, prepared_kernel
from .library import load
from .tail import extend, preceded


class Grouped(Backend):
    """Channels-last convolutions, depthwise or with few channels in a group, of any window."""

    name = "grouped"
    kind = "kernel-library"
    platforms = ("cpu",)

    def available(self) -> Unsupported | None:
        module = load()
        return module if isinstance(module, Unsupported) else None

    def version(self) -> str:
        module = load()
        if isinstance(module, Unsupported):
            return ""
        return f"{module.version()}/{module.instruction_set()}/{module.threads()}t"

    def propose(self, graph: Graph) -> Iterable[Proposal]:
        for node in filter(_is_anchor, graph.nodes):
            conv = plan(node)
            if isinstance(conv, Unsupported):
                yield Proposal((node,), "conv", refused=conv)
                continue
            for first in filter(None, (conv, preceded(graph, conv, _may_be_inside))):
                for longer in _prefixes(graph, first):
                    yield Proposal(longer.nodes, longer.label)

    def supports(self, region: Region) -> Unsupported | None:
        conv = _read(region)
        return conv if isinstance(conv, Unsupported) else None

    def emit(self, region: Region) -> Callable[..., Any]:
        module, conv = load(), _read(region)
        if isinstance(module, Unsupported) or isinstance(conv, Unsupported):
            raise ValueError(f"the kernels for groups cannot run {region}: {self.supports(region) or module}")
        return kernel(conv, region, module.version())

    def emit_frozen(self, region: Region, frozen: frozenset[Value]) -> PreparedKernel | None:
        module, conv = load(), _read(region)
        if isinstance(module, Unsupported) or isinstance(conv, Unsupported) or conv.weights not in frozen:
            return None
        size = module.packed_size(f"op=pack {conv.spec(packed=True)}")
        return prepared_kernel(conv, region, frozen, module.version(), size)


def _is_anchor(node: Node) -> bool:
    # Under shape polymorphism sizes are expressions, of which no plan can be built.
    is_convolution = node.op == "conv_general_dilated" and not node.barrier
    return is_convolution and all(isinstance(n, int) for v in (*node.inputs, *node.outputs) for n in v.shape)


def _may_be_inside(node: Node) -> bool:
    return not node.barrier


def _prefixes(graph: Graph, conv: Convolution) -> Iterator[Convolution]:
    longer: Convolution | None = conv
    while longer is not None:
        yield longer
        longer = extend(graph, longer, _may_be_inside)


def _read(region: Region) -> Convolution | Unsupported:
    """The one convolution that does the work of all nodes of ``region``."""
    anchors = [node for node in region.nodes if _is_anchor(node)]
    if len(anchors) != 1:
        return Unsupported(f"one convolution is needed, there are {len(anchors)}: {', '.join(region.ops)}")
    inside = set(region.nodes)
    conv = plan(anchors[0])
    if isinstance(conv, Convolution):
        conv = preceded(region.graph, conv, inside.__contains__) or conv
    while isinstance(conv, Convolution) and len(conv.nodes) < len(inside):
        longer = extend(region.graph, conv, inside.__contains__)
        if longer is None:
            left = ", ".join(node.op for node in region.nodes if node not in conv.nodes)
            return Unsupported(f"{left} cannot be done in the same call as a convolution")
        conv = longer
    if isinstance(conv, Convolution) and region.exits != (conv.result,):
        return Unsupported(f"values inside are used outside: {', '.join(map(repr, region.exits))}")
    return conv


BACKEND = Grouped()
