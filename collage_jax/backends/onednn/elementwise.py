"""Functions of one number that stand alone: those that cost more than reading the array."""

from __future__ import annotations

import numpy as np

from ...graph.ir import Constant, Graph, Node
from ..base import Unsupported
from .activations import activation, is_erf_gelu, number
from .call import Call, Operand
from .memory import Groups, dtype_name
from .views import View

_MOST_DIMS = 6


def plan(graph: Graph, node: Node, absorbed: frozenset[Node]) -> Call | Unsupported:
    """The call for an activation."""
    by_erf = is_erf_gelu(node) and node.out.dtype == np.float32
    # The library's part of a finish alone is to copy.
    function = ("linear", 1, 0) if by_erf else activation(node)
    if function is None:
        return Unsupported(f"{node.op} with parameters {dict(node.params)} is not a function oneDNN knows")
    (src,) = node.inputs
    if isinstance(src, Constant) or dtype_name(src.dtype) is None or node.out.dtype != src.dtype:
        return Unsupported(f"oneDNN functions take float32 or bfloat16 arrays, got {src.dtype}")
    if src.size == 0:
        return Unsupported(f"the array is empty: {src.shape}")
    groups: Groups = tuple((a,) for a in range(src.ndim))
    if not 1 <= src.ndim <= _MOST_DIMS:
        groups = (tuple(range(src.ndim)),)
    memory = View.of(src).memory(groups)
    assert memory is not None  # a whole array
    algorithm, alpha, beta = function
    return Call(
        op="eltwise",
        labels=(node.op,),
        nodes=(node,),
        result=node.out,
        sources=(("src", Operand(memory, (src,))),),
        dst=memory,
        groups=groups,
        keys=(("alg", algorithm), ("alpha", number(alpha)), ("beta", number(beta))),
        finish="gelu" if by_erf else None,
    )


ANCHORS = dict.fromkeys(("gelu", "silu", "hard_swish", "sigmoid", "logistic", "tanh"), plan)
