"""Sums, products and extremes over axes."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np

from ....graph.ir import Node
from ..tensors import Model, Refused, Tensor


def _reduce(name: str, model: Model, node: Node, inputs: Sequence[Tensor]) -> list[Tensor]:
    axes = [int(axis) for axis in node.params["axes"]]
    if node.out.dtype == np.bool_:
        raise Refused("reductions are of numbers")
    tensor = model.full(inputs[0], node.inputs[0])
    if not axes:
        return [tensor]
    places = model.constant([tensor.place(axis) for axis in axes], np.int32)
    left = sorted(axis for axis in tensor.order if axis not in axes)
    order = tuple(left.index(axis) for axis in tensor.order if axis not in axes)
    return [Tensor(model.node(name, tensor.output, places, False), order)]


CONVERTERS = {f"reduce_{kind}": partial(_reduce, f"reduce_{kind}") for kind in ("sum", "max", "min", "prod")}
