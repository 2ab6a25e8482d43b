"""Composites that a model has operations of its own for."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

from ....graph.ir import Node
from ..tensors import Model, Refused, Tensor


def _activation(name: str, model: Model, node: Node, inputs: Sequence[Tensor], **attributes: Any) -> list[Tensor]:
    return [Tensor(model.node(name, inputs[0].output, **attributes), inputs[0].order)]


def _gelu(model: Model, node: Node, inputs: Sequence[Tensor]) -> list[Tensor]:
    mode = "tanh" if node.params["approximate"] else "erf"
    return _activation("gelu", model, node, inputs, approximation_mode=mode)


def _softmax(model: Model, node: Node, inputs: Sequence[Tensor]) -> list[Tensor]:
    tensor = model.full(inputs[0], node.inputs[0])
    return [Tensor(model.node("softmax", tensor.output, tensor.place(int(node.params["axis"]))), tensor.order)]


def _spatial(node: Node) -> tuple[list[int], tuple[int, ...]]:
    """The axes that a window slides along, and the order in which a model wants all axes."""
    params = node.params
    moved = [
        axis
        for axis, (size, stride, padding) in enumerate(
            zip(params["window_dimensions"], params["window_strides"], params["padding"], strict=True)
        )
        if size != 1 or stride != 1 or tuple(padding) != (0, 0)
    ]
    others = [axis for axis in range(node.out.ndim) if axis not in moved]
    if len(others) != 2 or not 1 <= len(moved) <= 3:
        raise Refused(f"a window slides along one to three of all but two axes, got {len(moved)} of {node.out.ndim}")
    return moved, (*others, *moved)


def _pool(model: Model, node: Node, inputs: Sequence[Tensor]) -> list[Tensor]:
    params = node.params
    axes, order = _spatial(node)
    if any(int(d) != 1 for d in params.get("window_dilation", ())):
        raise Refused(f"a window has no gaps, got {params['window_dilation']}")
    image = model.ordered(model.full(inputs[0], node.inputs[0]), order).output
    strides, window = ([int(params[name][axis]) for axis in axes] for name in ("window_strides", "window_dimensions"))
    low, high = ([int(params["padding"][axis][end]) for axis in axes] for end in range(2))
    if any(pad >= size for pads in (low, high) for pad, size in zip(pads, window, strict=True)):
        raise Refused("a window never lies in the padding alone")
    if node.op == "max_pool":
        ones = [1] * len(axes)
        made = model.node("max_pool", image, strides, ones, low, high, window)
    else:
        made = model.node("avg_pool", image, strides, low, high, window, not params["count_include_pad"])
    return [Tensor(made, order)]


def _upsample(model: Model, node: Node, inputs: Sequence[Tensor]) -> list[Tensor]:
    tensor = model.full(inputs[0], node.inputs[0])
    axes = [axis for axis, factor in enumerate(node.params["factors"]) if factor != 1]
    places = [tensor.place(axis) for axis in axes]
    sizes = [node.out.shape[axis] for axis in axes]
    made = model.node(
        "interpolate",
        tensor.output,
        model.constant(sizes, np.int32),
        "nearest",
        "sizes",
        coordinate_transformation_mode="asymmetric",
        nearest_mode="floor",
        axes=model.constant(places, np.int32),
    )
    return [Tensor(made, tensor.order)]


CONVERTERS = {
    "relu": partial(_activation, "relu"),
    "relu6": partial(_activation, "clamp", min_value=0.0, max_value=6.0),
    "sigmoid": partial(_activation, "sigmoid"),
    "silu": partial(_activation, "swish"),
    "hard_swish": partial(_activation, "hswish"),
    "gelu": _gelu,
    "softmax": _softmax,
    "max_pool": _pool,
    "avg_pool": _pool,
    "upsample_nearest": _upsample,
}
