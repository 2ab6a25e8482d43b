"""What follows the gradient of rows and is done in the same pass: a factor, then a sum."""

from __future__ import annotations

from dataclasses import replace
from math import isfinite

import numpy as np

from ...graph.ir import Constant, Graph
from ...graph.origins import Inside
from .plan import FOLLOWED, Rows


def extend(graph: Graph, rows: Rows, inside: Inside) -> Rows | None:
    """``rows`` with the one node that reads its result, or None if it cannot be. ``inside`` bounds the region."""
    node = graph.only_user(rows.result)
    if node is None or node.barrier or not inside(node) or rows.nodes[0].op not in FOLLOWED or rows.added is not None:
        return None
    if node.op not in ("mul", "div", "add", "add_any") or node.inputs.count(rows.result) != 1:
        return None
    if (node.out.shape, node.out.dtype) != (rows.result.shape, rows.result.dtype):
        return None
    other = node.inputs[1 if node.inputs[0] is rows.result else 0]
    longer = replace(rows, nodes=(*rows.nodes, node), result=node.out)
    if node.op in ("add", "add_any"):
        # The kernels read it row by row.
        is_like = not isinstance(other, Constant) and other.shape == rows.result.shape and other.dtype == node.out.dtype
        return replace(longer, added=other) if is_like else None
    if not isinstance(other, Constant) or rows.factor is not None or (node.op == "div" and other is node.inputs[0]):
        return None
    number = float(np.asarray(other.val))
    factor = number if node.op == "mul" else (1 / number if number else np.inf)
    return replace(longer, factor=factor) if isfinite(factor) else None
