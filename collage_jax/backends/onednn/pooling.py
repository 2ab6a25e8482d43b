"""Pooling over windows, from composites and from ``reduce_window`` primitives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

from ...graph.ir import Constant, Graph, Node
from ..base import Unsupported
from .activations import text
from .call import Call, Operand, PostOp
from .memory import Groups, dtype_name, times
from .views import View


@dataclass(frozen=True)
class _Window:
    """What one window does along one axis."""

    size: int
    stride: int
    low: int
    high: int
    dilation: int

    @property
    def is_trivial(self) -> bool:
        return (self.size, self.stride, self.low, self.high) == (1, 1, 0, 0)

    @property
    def reach(self) -> int:
        return (self.size - 1) * self.dilation + 1


def spatial_groups(ndim: int, spatial: Sequence[int]) -> tuple[Groups, range] | Unsupported:
    """Groups of (batch, channels, spatial...) where ``spatial`` axes are worked on, and the range of those axes.

    The axes after them are the channels; if there are none, the one before is.
    """
    inner = range(spatial[0], spatial[-1] + 1)
    if len(inner) > 3:
        return Unsupported(f"oneDNN works on 1 to 3 spatial dimensions, got axes {list(inner)}")
    outside, after = range(inner.start), range(inner.stop, ndim)
    batch, channels = (outside, after) if after else (outside[:-1], outside[-1:])
    return (tuple(batch), tuple(channels), *((a,) for a in inner)), inner


def plan(graph: Graph, node: Node, absorbed: frozenset[Node]) -> Call | Unsupported:
    """The call for a pooling node."""
    src, windows = node.inputs[0], _windows(node)
    if isinstance(src, Constant) or dtype_name(src.dtype) is None or node.out.dtype != src.dtype:
        return Unsupported(f"oneDNN pooling takes float32 or bfloat16 arrays, got {src.dtype}")
    if isinstance(windows, Unsupported):
        return windows
    spatial = [axis for axis, window in enumerate(windows) if not window.is_trivial]
    if not spatial or src.size == 0 or node.out.size == 0:
        return Unsupported(f"there is nothing to pool: {src.shape} giving {node.out.shape}")
    found = spatial_groups(src.ndim, spatial)
    if isinstance(found, Unsupported):
        return found
    groups, inner = found
    pooled = [windows[a] for a in inner]
    if any(not 0 <= pad < w.reach for w in pooled for pad in (w.low, w.high)):
        # A window of padding alone: JAX gives the reduction's identity, the library something else.
        padding, reach = [(w.low, w.high) for w in pooled], [w.reach for w in pooled]
        return Unsupported(f"padding {padding} is negative or leaves no element to windows of {reach}")
    if node.op == "reduce_window_min":
        return Unsupported("oneDNN has no minimum pooling")
    algorithm, post = _algorithm(node, pooled)
    src_memory, dst = View.of(src).memory(groups), View.of(node.out).memory(groups)
    assert src_memory is not None and dst is not None  # neighbouring axes of whole arrays
    return Call(
        op="pool",
        labels=(f"{algorithm.split('_')[0]}_pool",),
        nodes=(node,),
        result=node.out,
        sources=(("src", Operand(src_memory, (src,))),),
        dst=dst,
        groups=groups,
        keys=(
            ("alg", algorithm),
            ("kernel", times([w.size for w in pooled])),
            ("strides", times([w.stride for w in pooled])),
            ("dilates", times([w.dilation - 1 for w in pooled])),
            ("pads_l", times([w.low for w in pooled])),
            ("pads_r", times([w.high for w in pooled])),
            *((("keep_nan", "1"),) if algorithm == "max" else ()),
        ),
        fuses=True,
        post=post,
    )


def _algorithm(node: Node, pooled: Sequence[_Window]) -> tuple[str, tuple[PostOp, ...]]:
    if node.op in ("max_pool", "reduce_window_max"):
        return "max", ()
    if node.op == "avg_pool":
        return ("avg_include" if node.params.get("count_include_pad", True) else "avg_exclude"), ()
    return "avg_include", (PostOp("eltwise", text(("linear", prod(w.size for w in pooled), 0))),)


def _windows(node: Node) -> list[_Window] | Unsupported:
    params = node.params
    sizes = [int(n) for n in params["window_dimensions"]]
    ones = [1] * len(sizes)
    if any(int(d) != 1 for d in params.get("base_dilation") or ones):
        return Unsupported(f"oneDNN pooling has no dilated input, got {times(params['base_dilation'])}")
    padding = params.get("padding") or [(0, 0)] * len(sizes)
    return [
        _Window(size, int(stride), int(low), int(high), int(dilation))
        for size, stride, (low, high), dilation in zip(
            sizes, params.get("window_strides") or ones, padding, params.get("window_dilation") or ones, strict=True
        )
    ]


ANCHORS = dict.fromkeys(("max_pool", "avg_pool", "reduce_window_max", "reduce_window_min", "reduce_window_sum"), plan)
