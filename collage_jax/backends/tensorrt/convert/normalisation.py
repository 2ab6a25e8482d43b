"""Layer norm as one layer; the other norms go in primitive by primitive."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ....graph.ir import Node
from ..tensors import Network, Tensor
from .reductions import mask


def _layer_norm(network: Network, node: Node, inputs: Sequence[Tensor]) -> list[Tensor] | None:
    params, x = node.params, node.inputs[0]
    if params["unbiased"] or params["epsilon_outside"]:
        return None  # the layer divides by n, and adds epsilon to the variance
    axis = int(params["axis"])
    image = network.full(inputs[0], x)
    vectors = list(zip(inputs[1:], node.inputs[1:], strict=True))

    def vector(is_there: bool, otherwise: float) -> Any:
        shape = [x.shape[a] if a == axis else 1 for a in image.order]
        if not is_there:
            return network.constant(np.full(shape, otherwise), node.out.dtype)
        tensor, value = vectors.pop(0)
        return network.cast(network.reshaped(network.as_written(tensor, value), shape), node.out.dtype)

    scale, shift = vector(params["scale"], 1.0), vector(params["shift"], 0.0)
    source = network.cast(image.made, node.out.dtype)
    places = mask([image.place(axis)])
    made = network.layer("normalization", source, scale, shift, places, epsilon=float(params["epsilon"]))
    return [Tensor(made, image.order)]


CONVERTERS = {"layer_norm": _layer_norm}
