"""Sums, means and extremes over axes.

Runs of neighbouring axes that are all kept or all reduced become one dimension. One reduced run with kept axes after it
is a pooling over everything, for which the library has better code:

    (batch, height, width, channels) --mean over (1, 2)--> pool over height * width
"""

from __future__ import annotations

from itertools import groupby

from ...graph.ir import Constant, Graph, Node
from ..base import Unsupported
from .activations import text
from .call import Call, Operand, PostOp
from .memory import Groups, Memory, dtype_name
from .views import View

_ALGORITHMS = {
    "reduce_sum": "sum", "reduce_max": "max", "reduce_prod": "mul", "mean": "mean",
    "global_max_pool": "max",
}  # fmt: skip
_POOLING = {"reduce_sum": "avg_include", "reduce_max": "max", "global_max_pool": "max", "mean": "avg_include"}


def plan(graph: Graph, node: Node, absorbed: frozenset[Node]) -> Call | Unsupported:
    """The call for a reduction; ``mean`` may keep the reduced axes with size 1."""
    src = node.inputs[0]
    if isinstance(src, Constant) or dtype_name(src.dtype) is None or node.out.dtype != src.dtype:
        return Unsupported(f"oneDNN reduces float32 or bfloat16 arrays, got {src.dtype} giving {node.out.dtype}")
    axes = {int(a) % max(src.ndim, 1) for a in node.params["axes"]}
    if not axes or src.size == 0:
        return Unsupported(f"there is nothing to reduce: {src.shape} over {sorted(axes)}")
    kept = [a for a in range(src.ndim) if a not in axes]
    if node.out.shape == tuple(src.shape[a] for a in kept):
        place = {a: i for i, a in enumerate(kept)}
    elif node.out.shape == tuple(1 if a in axes else n for a, n in enumerate(src.shape)):
        place = {a: a for a in kept}
    else:
        return Unsupported(f"{node.op} of {src} over {sorted(axes)} giving {node.out}")
    runs = [tuple(run) for _, run in groupby(range(src.ndim), key=axes.__contains__)]
    groups: Groups = tuple(tuple(place[a] for a in run if a in place) for run in runs)
    src_memory, dst = View.of(src).memory(tuple(runs)), View.of(node.out).memory(groups)
    assert src_memory is not None and dst is not None  # neighbouring axes of whole arrays
    reduced = [i for i, run in enumerate(runs) if run[0] in axes]
    if len(reduced) == 1 and reduced[0] == len(runs) - 2 and node.op in _POOLING:
        return _pooling(node, src_memory, dst, groups)
    return _call(node, "reduce", src_memory, dst, groups, (("alg", _ALGORITHMS[node.op]),))


def _pooling(node: Node, src: Memory, dst: Memory, groups: Groups) -> Call:
    """(batch, reduced, channels) as the library's (batch, channels, width)."""
    size, channels = src.dims[-2:]
    batch = src.dims[0] if len(src.dims) == 3 else 1
    seen = Memory(src.dtype, (batch, channels, size), (size * channels, 1, channels))
    pooled = Memory(dst.dtype, (batch, channels, 1), (channels, 1, channels))
    lead = groups[0] if len(src.dims) == 3 else ()
    keys = (
        ("alg", _POOLING[node.op]), ("kernel", str(size)), ("strides", str(size)), ("dilates", "0"), ("pads_l", "0"),
        ("pads_r", "0"),
    )  # fmt: skip
    post = (PostOp("eltwise", text(("linear", size, 0))),) if node.op == "reduce_sum" else ()
    return _call(node, "pool", seen, pooled, (lead, groups[-1], ()), keys, post)


def _call(
    node: Node,
    op: str,
    src: Memory,
    dst: Memory,
    groups: Groups,
    keys: tuple[tuple[str, str], ...],
    post: tuple[PostOp, ...] = (),
) -> Call:
    return Call(
        op=op,
        labels=(node.op,),
        nodes=(node,),
        result=node.out,
        sources=(("src", Operand(src, (node.inputs[0],))),),
        dst=dst,
        groups=groups,
        keys=keys,
        fuses=True,
        guarded=_ALGORITHMS[node.op] == "max",
        post=post,
    )


ANCHORS = dict.fromkeys(_ALGORITHMS, plan)
