"""Sums, products, extremes and means over axes, and softmax."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from ....graph.ir import Node
from ..tensors import FLOATS, Network, Refused, Tensor


def mask(places: Sequence[int]) -> int:
    """Dimensions as TensorRT takes a set of them: a bit for each."""
    return sum(1 << place for place in places)


def _reduce(name: str, network: Network, node: Node, inputs: Sequence[Tensor]) -> list[Tensor]:
    axes = [int(axis) for axis in node.params["axes"]]
    if str(node.inputs[0].dtype) == "bool":
        raise Refused("reductions are of numbers")
    tensor = network.full(inputs[0], node.inputs[0])
    source = network.cast(tensor.made, node.out.dtype)
    if not axes:
        return [Tensor(source, tensor.order)]
    keeps = bool(node.params.get("keepdims", False))
    places = mask([tensor.place(axis) for axis in axes])
    made = network.layer("reduce", source, network.choice("ReduceOperation", name), places, keeps)
    if keeps:
        return [Tensor(made, tensor.order)]
    left = sorted(axis for axis in tensor.order if axis not in axes)
    return [Tensor(made, tuple(left.index(axis) for axis in tensor.order if axis not in axes))]


def _softmax(network: Network, node: Node, inputs: Sequence[Tensor]) -> list[Tensor] | None:
    if str(node.out.dtype) not in FLOATS or node.inputs[0].dtype != node.out.dtype:
        return None
    tensor = network.full(inputs[0], node.inputs[0])
    places = mask([tensor.place(int(node.params["axis"]))])
    return [Tensor(network.layer("softmax", tensor.made, axes=places), tensor.order)]


CONVERTERS = {
    "reduce_sum": partial(_reduce, "SUM"),
    "reduce_prod": partial(_reduce, "PROD"),
    "reduce_max": partial(_reduce, "MAX"),
    "reduce_min": partial(_reduce, "MIN"),
    "global_max_pool": partial(_reduce, "MAX"),
    "mean": partial(_reduce, "AVG"),
    "softmax": _softmax,
}
