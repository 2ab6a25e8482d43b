"""Sums, products and extremes over axes."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np

from ....graph.ir import Node
from ..tensors import Model, Refused, Tensor, shape_of


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
    # Without its axes a reduction gives a reshape after it that moves nothing the wrong sizes (2026.4.1).
    kept = model.node(name, tensor.output, places, True)
    sizes = [n for n, axis in zip(shape_of(kept), tensor.order, strict=True) if axis not in axes]
    return [Tensor(model.reshaped(kept, sizes), order)]


CONVERTERS = {f"reduce_{kind}": partial(_reduce, f"reduce_{kind}") for kind in ("sum", "max", "min", "prod")}
