"""Windowed maxima and averages, and nearest upsampling."""

from __future__ import annotations

from collections.abc import Sequence

from ....graph.ir import Node
from ..tensors import FLOATS, Network, Refused, Tensor


def _moved(node: Node) -> list[int]:
    """The axes that a window slides along."""
    columns = zip(*(node.params[name] for name in ("window_dimensions", "window_strides", "padding")), strict=True)
    return [axis for axis, (n, stride, pads) in enumerate(columns) if n != 1 or stride != 1 or tuple(pads) != (0, 0)]


def _pool(network: Network, node: Node, inputs: Sequence[Tensor]) -> list[Tensor]:
    params, axes = node.params, _moved(node)
    others = [axis for axis in range(node.out.ndim) if axis not in axes]
    if len(others) != 2 or not 1 <= len(axes) <= 3:
        raise Refused(f"a window slides along one to three of all but two axes, got {len(axes)} of {node.out.ndim}")
    if str(node.out.dtype) not in FLOATS:
        raise Refused(f"pooling is of floating-point numbers, got {node.out.dtype}")
    if any(int(d) != 1 for d in params.get("window_dilation", ())):
        raise Refused(f"a window has no gaps, got {params['window_dilation']}")
    window, strides = ([int(params[name][axis]) for axis in axes] for name in ("window_dimensions", "window_strides"))
    low, high = ([int(params["padding"][axis][end]) for axis in axes] for end in range(2))
    if any(not 0 <= pad < size for pads in (low, high) for pad, size in zip(pads, window, strict=True)):
        raise Refused(f"padding is not negative, and no window lies in it alone, got {list(params['padding'])}")
    order = (*others, *axes)
    image = network.ordered(network.full(inputs[0], node.inputs[0]), order).made
    if flat := len(axes) == 1:  # layers have two or three dimensions
        image = network.reshaped(image, (*image.shape, 1))
        window, strides, low, high = [*window, 1], [*strides, 1], [*low, 0], [*high, 0]
    kind = network.choice("PoolingType", "MAX" if node.op == "max_pool" else "AVERAGE")
    layer = network.configured(
        *("pooling_nd", image, kind, window),
        stride_nd=strides,
        pre_padding=low,
        post_padding=high,
        average_count_excludes_padding=not params.get("count_include_pad", True),
    )
    made = layer.get_output(0)
    return [Tensor(network.reshaped(made, tuple(made.shape)[:-1]) if flat else made, order)]


def _upsample(network: Network, node: Node, inputs: Sequence[Tensor]) -> list[Tensor]:
    tensor = network.full(inputs[0], node.inputs[0])
    made = network.layer(
        *("resize", network.cast(tensor.made, node.out.dtype)),
        resize_mode=network.choice("InterpolationMode", "NEAREST"),
        coordinate_transformation=network.choice("ResizeCoordinateTransformation", "ASYMMETRIC"),
        nearest_rounding=network.choice("ResizeRoundMode", "FLOOR"),
        shape=[node.out.shape[axis] for axis in tensor.order],
    )
    return [Tensor(made, tensor.order)]


CONVERTERS = {"max_pool": _pool, "avg_pool": _pool, "upsample_nearest": _upsample}
