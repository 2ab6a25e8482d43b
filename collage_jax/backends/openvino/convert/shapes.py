"""Operations that move elements and compute nothing."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ....graph.ir import Node
from ..tensors import Model, Refused, Tensor, common_order


def _reshape(model: Model, node: Node, inputs: Sequence[Tensor]) -> list[Tensor]:
    if node.params.get("dimensions") is not None:
        raise Refused("a reshape that reorders is none of a model's")
    return [model.plain(model.reshaped(model.as_written(inputs[0], node.inputs[0]), node.out.shape))]


def _transpose(model: Model, node: Node, inputs: Sequence[Tensor]) -> list[Tensor]:
    permutation = [int(axis) for axis in node.params["permutation"]]
    return [Tensor(inputs[0].output, tuple(permutation.index(axis) for axis in inputs[0].order))]


def _broadcast(model: Model, node: Node, inputs: Sequence[Tensor]) -> list[Tensor]:
    places = [int(axis) for axis in node.params["broadcast_dimensions"]]
    source = model.ordered(inputs[0], range(len(inputs[0].order)))
    shape = [1] * node.out.ndim
    for place, size in zip(places, source.output.get_partial_shape(), strict=True):
        shape[place] = int(size.get_length())
    return [model.plain(model.reshaped(source.output, shape))]


def _concatenate(model: Model, node: Node, inputs: Sequence[Tensor]) -> list[Tensor]:
    order = common_order(inputs)
    outputs = [model.ordered(model.full(t, value), order).output for t, value in zip(inputs, node.inputs, strict=True)]
    return [Tensor(model.node("concat", outputs, order.index(int(node.params["dimension"]))), order)]


def _slice(model: Model, node: Node, inputs: Sequence[Tensor]) -> list[Tensor]:
    tensor = model.full(inputs[0], node.inputs[0])
    count = len(tensor.order)
    starts, limits = node.params["start_indices"], node.params["limit_indices"]
    strides = node.params["strides"] or (1,) * count
    columns = ([int(column[axis]) for axis in tensor.order] for column in (starts, limits, strides))
    start, stop, step = (model.constant(column, np.int32) for column in columns)
    return [Tensor(model.node("slice", tensor.output, start, stop, step), tensor.order)]


def _split(model: Model, node: Node, inputs: Sequence[Tensor]) -> list[Tensor]:
    tensor = model.full(inputs[0], node.inputs[0])
    sizes = [int(size) for size in node.params["sizes"]]
    place = model.constant(tensor.place(int(node.params["axis"])), np.int32)
    made = model.ops.variadic_split(tensor.output, place, model.constant(sizes, np.int32))
    return [Tensor(made.output(i), tensor.order) for i in range(len(sizes))]


def _pad(model: Model, node: Node, inputs: Sequence[Tensor]) -> list[Tensor]:
    config = [tuple(map(int, each)) for each in node.params["padding_config"]]
    if any(low < 0 or high < 0 or inside for low, high, inside in config):
        raise Refused(f"padding is at the edges and not negative, got {config}")
    tensor = model.full(inputs[0], node.inputs[0])
    low, high = (model.constant([config[axis][end] for axis in tensor.order], np.int32) for end in range(2))
    padded = model.node("pad", tensor.output, low, high, "constant", arg_pad_value=inputs[1].output)
    return [Tensor(padded, tensor.order)]


CONVERTERS = {
    "reshape": _reshape,
    "squeeze": _reshape,
    "expand_dims": _reshape,
    "transpose": _transpose,
    "broadcast_in_dim": _broadcast,
    "concatenate": _concatenate,
    "slice": _slice,
    "split": _split,
    "pad": _pad,
}
