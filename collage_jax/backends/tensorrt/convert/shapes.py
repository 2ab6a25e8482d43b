"""Operations that move elements and compute nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ....graph.ir import Node
from ..tensors import Network, Refused, Tensor, common_order


def flipped(network: Network, made: Any, places: Sequence[int]) -> Any:
    """``made`` with the dimensions at ``places`` from end to start."""
    shape = tuple(made.shape)
    start = [n - 1 if place in places else 0 for place, n in enumerate(shape)]
    return network.layer("slice", made, start, shape, [-1 if place in places else 1 for place in range(len(shape))])


def _reshape(network: Network, node: Node, inputs: Sequence[Tensor]) -> list[Tensor]:
    if node.params.get("dimensions") is not None and node.op == "reshape":
        raise Refused("a reshape that reorders is none of a network's")
    return [network.plain(network.reshaped(network.as_written(inputs[0], node.inputs[0]), node.out.shape))]


def _transpose(network: Network, node: Node, inputs: Sequence[Tensor]) -> list[Tensor]:
    permutation = [int(axis) for axis in node.params["permutation"]]
    return [Tensor(inputs[0].made, tuple(permutation.index(axis) for axis in inputs[0].order))]


def _broadcast(network: Network, node: Node, inputs: Sequence[Tensor]) -> list[Tensor]:
    places = [int(axis) for axis in node.params["broadcast_dimensions"]]
    source = network.ordered(inputs[0], range(len(inputs[0].order))).made
    shape = [1] * node.out.ndim
    for place, size in zip(places, source.shape, strict=True):
        shape[place] = size
    return [network.plain(network.reshaped(source, shape))]


def _concatenate(network: Network, node: Node, inputs: Sequence[Tensor]) -> list[Tensor]:
    order = common_order(inputs)
    parts = [network.ordered(network.full(t, value), order).made for t, value in zip(inputs, node.inputs, strict=True)]
    return [Tensor(network.layer("concatenation", parts, axis=order.index(int(node.params["dimension"]))), order)]


def _slice(network: Network, node: Node, inputs: Sequence[Tensor]) -> list[Tensor]:
    tensor = network.full(inputs[0], node.inputs[0])
    steps = node.params["strides"] or (1,) * node.out.ndim
    start, shape, step = (
        [int(column[axis]) for axis in tensor.order] for column in (node.params["start_indices"], node.out.shape, steps)
    )
    return [Tensor(network.layer("slice", tensor.made, start, shape, step), tensor.order)]


def _split(network: Network, node: Node, inputs: Sequence[Tensor]) -> list[Tensor]:
    tensor = network.full(inputs[0], node.inputs[0])
    place = tensor.place(int(node.params["axis"]))
    ones, made, begin = (1,) * len(tensor.order), [], 0
    for value in node.outputs:
        start = [begin if at == place else 0 for at in range(len(ones))]
        shape = [value.shape[axis] for axis in tensor.order]
        made.append(Tensor(network.layer("slice", tensor.made, start, shape, ones), tensor.order))
        begin += shape[place]
    return made


def _reverse(network: Network, node: Node, inputs: Sequence[Tensor]) -> list[Tensor]:
    tensor = network.full(inputs[0], node.inputs[0])
    return [
        Tensor(flipped(network, tensor.made, [tensor.place(int(a)) for a in node.params["dimensions"]]), tensor.order)
    ]


def _pad(network: Network, node: Node, inputs: Sequence[Tensor]) -> list[Tensor]:
    """A slice that begins before the array and ends behind it, or, where padding is negative, inside."""
    config = [tuple(map(int, each)) for each in node.params["padding_config"]]
    if any(inside for _, _, inside in config):
        raise Refused(f"padding is at the edges and not between elements, got {config}")
    tensor = network.full(inputs[0], node.inputs[0])
    start, shape = [-config[axis][0] for axis in tensor.order], [node.out.shape[axis] for axis in tensor.order]
    fill = network.choice("SampleMode", "FILL")
    layer = network.configured("slice", tensor.made, start, shape, (1,) * len(shape), mode=fill)
    layer.set_input(4, inputs[1].made)
    return [Tensor(layer.get_output(0), tensor.order)]


CONVERTERS = {
    "reshape": _reshape,
    "squeeze": _reshape,
    "expand_dims": _reshape,
    "transpose": _transpose,
    "broadcast_in_dim": _broadcast,
    "concatenate": _concatenate,
    "slice": _slice,
    "split": _split,
    "rev": _reverse,
    "pad": _pad,
}
