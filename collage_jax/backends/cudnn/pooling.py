"""Maxima and averages over windows."""

from __future__ import annotations

from typing import Any

from ...graph.ir import Constant, Node
from ..base import Unsupported
from .fusion import Fusion, Step
from .tensors import UP_TO_SINGLE, Tensor, arranged, kind_of, strides_of, type_name, widened

_MODES = {"max_pool": ("MAXPOOL", "NEG_INF_PAD"), "avg_pool": ("AVGPOOL_INCLUDE_PADDING", "ZERO_PAD")}


def plan(node: Node) -> Fusion | Unsupported:
    """``node`` alone."""
    x = node.inputs[0]
    if isinstance(x, Constant) or type_name(x.dtype) not in UP_TO_SINGLE or x.dtype != node.out.dtype:
        return Unsupported(
            f"cuDNN's pooling takes float32, float16 and bfloat16, got {x.dtype} giving {node.out.dtype}"
        )
    if not 4 <= x.ndim <= 5:
        return Unsupported(f"cuDNN's pooling has 2 or 3 spatial dimensions, got {x.ndim - 2}")
    axes = _axes(node)
    if axes is None:
        return Unsupported(f"the windows must be over space alone, got {node.params['window_dimensions']}")
    if any(int(n) != 1 for n in node.params.get("window_dilation") or ()):
        return Unsupported("cuDNN's windows have no gaps")
    kind = kind_of(x, axes)
    assert kind is not None  # such axes are those of one kind
    mode, padding = _MODES[node.op]
    if node.op == "avg_pool" and not node.params["count_include_pad"]:
        mode = "AVGPOOL_EXCLUDE_PADDING"
    dims = widened([node.out.shape[a] for a in axes], 1)
    made = Tensor(dims, strides_of(dims, kind), type_name(node.out.dtype) or "")
    attributes = {"mode": mode, "padding": padding, **_window(node, axes[2:])}
    return Fusion(
        nodes=(node,),
        labels=(node.op,),
        result=node.out,
        axes=axes,
        operands=(arranged(x, axes, kind),),
        steps=(Step("resample", {"x": 1}, "y", made, attributes),),
        kind=kind,
        stored=node.out.shape,
        fuses=False,
    )


def _axes(node: Node) -> tuple[int, ...] | None:
    """Batch, channels and space: the window leaves the first alone, and the last or the second."""
    ndim = node.inputs[0].ndim
    moves = [a for a in range(ndim) if _moves(node, a)]
    for channels in (ndim - 1, 1):
        if 0 not in moves and channels not in moves:
            return (0, channels, *(a for a in range(1, ndim) if a != channels))
    return None


def _moves(node: Node, axis: int) -> bool:
    params = node.params
    window, stride = int(params["window_dimensions"][axis]), int(params["window_strides"][axis])
    return (window, stride, tuple(map(int, params["padding"][axis]))) != (1, 1, (0, 0))


def _window(node: Node, spatial: tuple[int, ...]) -> dict[str, Any]:
    params = node.params
    pairs = [tuple(map(int, params["padding"][a])) for a in spatial]
    return {
        "window": [int(params["window_dimensions"][a]) for a in spatial],
        "stride": [int(params["window_strides"][a]) for a in spatial],
        "pre": [low for low, _ in pairs],
        "post": [high for _, high in pairs],
    }


ANCHORS = {"max_pool": plan, "avg_pool": plan}
