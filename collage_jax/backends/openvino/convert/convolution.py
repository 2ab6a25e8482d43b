"""Convolutions in one to three dimensions, in groups and with gaps."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np

from ....graph.ir import Node
from ..tensors import Model, Refused, Tensor, shape_of

#: A kernel of more places than this, and than its result, is a gradient's, and runs on code as slow as a plain loop.
MOST_TAPS = 27


def _convolution(model: Model, node: Node, inputs: Sequence[Tensor]) -> list[Tensor]:
    params, numbers = node.params, node.params["dimension_numbers"]
    spatial = node.out.ndim - 2
    padding = [(int(low), int(high)) for low, high in params["padding"]]
    if not 1 <= spatial <= 3:
        raise Refused(f"a convolution has one to three spatial dimensions, got {spatial}")
    if params["batch_group_count"] != 1:
        raise Refused(f"groups are of channels alone, got {params['batch_group_count']} of the batch")
    if any(int(d) != 1 for d in params["lhs_dilation"]):
        raise Refused(f"the image has no gaps, got lhs_dilation {list(params['lhs_dilation'])}")
    if any(low < 0 or high < 0 for low, high in padding):
        raise Refused(f"padding is not negative, got {padding}")
    kernel_size = [node.inputs[1].shape[axis] for axis in numbers.rhs_spec[2:]]
    result_size = [node.out.shape[axis] for axis in numbers.out_spec[2:]]
    if prod(kernel_size) > max(MOST_TAPS, prod(result_size)):
        raise Refused(
            f"a kernel of {kernel_size} for a result of {result_size} is a gradient, for which there is no kernel"
        )
    image = model.ordered(model.full(inputs[0], node.inputs[0]), numbers.lhs_spec).output
    kernel = model.ordered(model.full(inputs[1], node.inputs[1]), numbers.rhs_spec).output
    attributes = (
        list(map(int, params["window_strides"])),
        [low for low, _ in padding],
        [high for _, high in padding],
        list(map(int, params["rhs_dilation"])),
    )
    groups = int(params["feature_group_count"])
    if groups == 1:
        made = model.node("convolution", image, kernel, *attributes)
    else:
        parted = _parted(model, kernel, groups)
        made = model.node("group_convolution", image, parted, *attributes)
    return [Tensor(made, tuple(numbers.out_spec))]


def _parted(model: Model, kernel: Any, groups: int) -> Any:
    """``kernel`` with a dimension for its ``groups``, by a reshape that stays a node of its own.

    OpenVINO 2026.4 moves a factor behind a convolution in groups into the reshape of its weights, in place, and has
    made one of all equal computations and of reshapes in a row before: whatever else reads that is scaled, too. So
    weights are what the model is given, and each reshape of one array is spelled in its own way.
    """
    source = kernel
    while source.get_node().get_type_name() == "Transpose":
        source = source.get_node().input_value(0)
    if source.get_node().get_type_name() != "Parameter":
        raise Refused("weights of a convolution in groups are computed in the model")
    outputs, inside, *window = shape_of(kernel)
    shape = [groups, outputs // groups, inside, *window]
    key = (source.get_node().get_friendly_name(), *shape)
    spelled = model.spelled[key]
    if spelled == len(shape):
        raise Refused(f"at most {spelled} convolutions in groups share weights")
    model.spelled[key] += 1
    shape[spelled] = -1  # what is left of the elements
    return model.node("reshape", kernel, model.constant(shape, np.int32), special_zero=False)


CONVERTERS = {"conv_general_dilated": _convolution}
