"""What is done to the sums before they are stored: bias, then bounds."""

from __future__ import annotations

from math import inf, isnan

import numpy as np

from ...graph.ir import Constant, Graph
from ...graph.origins import Inside, vector
from .convolution import Convolution


def extend(graph: Graph, conv: Convolution, inside: Inside) -> Convolution | None:
    """``conv`` with the one node that reads its result, or None if it cannot be. ``inside`` bounds the region."""
    node = graph.only_user(conv.result)
    if node is None or node.barrier or not inside(node) or len(node.outputs) != 1 or conv.is_bounded:
        return None
    if node.out.shape != conv.result.shape or node.out.dtype != conv.result.dtype:
        return None
    if node.op in ("add", "add_any") and conv.bias is None and node.inputs.count(conv.result) == 1:
        other = node.inputs[1 if node.inputs[0] is conv.result else 0]
        found = vector(graph, other, node, inside)
        if found is None or found[0].size != conv.result.shape[-1] or found[0].dtype != conv.result.dtype:
            return None
        return conv.followed_by("bias", (*found[1], node), bias=found[0])
    if node.op in ("relu", "relu6"):
        return conv.followed_by(node.op, (node,), low=0.0, high=6.0 if node.op == "relu6" else inf)
    if node.op == "clip":
        low, high = float(node.params["min"]), float(node.params["max"])
    elif node.op == "clamp" and node.inputs[1] is conv.result:
        bounds = (node.inputs[0], node.inputs[2])
        if not all(isinstance(bound, Constant) for bound in bounds):
            return None
        low, high = (float(np.asarray(bound.val)) for bound in bounds if isinstance(bound, Constant))
    else:
        return None
    return None if isnan(low) or isnan(high) else conv.followed_by("clip", (node,), low=low, high=high)
