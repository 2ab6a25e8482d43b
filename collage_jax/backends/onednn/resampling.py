"""Upsampling by repetition."""

from __future__ import annotations

from ...graph.ir import Constant, Graph, Node
from ..base import Unsupported
from .call import Call, Operand
from .memory import dtype_name, times
from .pooling import spatial_groups
from .views import View


def plan(graph: Graph, node: Node, absorbed: frozenset[Node]) -> Call | Unsupported:
    """The call for an ``upsample_nearest``: each axis repeated by its factor."""
    src, factors = node.inputs[0], [int(f) for f in node.params["factors"]]
    if isinstance(src, Constant) or dtype_name(src.dtype) is None:
        return Unsupported(f"oneDNN resampling takes float32 or bfloat16 arrays, got {src.dtype}")
    if len(factors) != src.ndim:
        return Unsupported(f"a factor is needed for each of {src.ndim} axes, got {factors}")
    spatial = [axis for axis, factor in enumerate(factors) if factor != 1]
    if not spatial or src.size == 0:
        return Unsupported(f"there is nothing to repeat: {src.shape} by {factors}")
    found = spatial_groups(src.ndim, spatial)
    if isinstance(found, Unsupported):
        return found
    groups, inner = found
    src_memory, dst = View.of(src).memory(groups), View.of(node.out).memory(groups)
    assert src_memory is not None and dst is not None  # neighbouring axes of whole arrays
    return Call(
        op="resample",
        labels=("upsample",),
        nodes=(node,),
        result=node.out,
        sources=(("src", Operand(src_memory, (src,))),),
        dst=dst,
        groups=groups,
        keys=(("alg", "nearest"), ("factors", times([f"{factors[a]}.0" for a in inner]))),
        fuses=True,
    )


ANCHORS = {"upsample_nearest": plan}
