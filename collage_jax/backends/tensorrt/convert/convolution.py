"""Convolutions in one to three dimensions, in groups, with gaps in the window or, as deconvolutions, in the image.

Kernels are inputs of the network like any array: a layer takes them as its second input.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ....graph.ir import Node
from ..tensors import Network, Refused, Tensor
from .products import require_precision, widened
from .shapes import flipped


def _convolution(network: Network, node: Node, inputs: Sequence[Tensor]) -> list[Tensor]:
    params, numbers = node.params, node.params["dimension_numbers"]
    spatial = node.out.ndim - 2
    if not 1 <= spatial <= 3:
        raise Refused(f"a convolution has one to three spatial dimensions, got {spatial}")
    if params["batch_group_count"] != 1:
        raise Refused(f"groups are of channels alone, got {params['batch_group_count']} of the batch")
    if spatial == 3 and network.is_turing and str(node.out.dtype) == "float32":
        raise Refused(f"{network.library.title} convolves float32 in three dimensions from sm_80 on")
    require_precision(network, node)
    image, kernel = (
        network.ordered(network.full(tensor, value), spec).made
        for tensor, value, spec in zip(inputs, node.inputs, (numbers.lhs_spec, numbers.rhs_spec), strict=True)
    )
    image, kernel = (widened(network, node, made) for made in (image, kernel))
    if spatial == 1:  # layers have two or three
        image, kernel = (network.reshaped(made, (*made.shape, 1)) for made in (image, kernel))
    add = _straight if all(int(d) == 1 for d in params["lhs_dilation"]) else _transposed
    made = add(network, node, image, kernel)
    if spatial == 1:
        made = network.reshaped(made, tuple(made.shape)[:-1])
    return [Tensor(made, tuple(numbers.out_spec))]


def _straight(network: Network, node: Node, image: Any, kernel: Any) -> Any:
    params, one = node.params, (1,) * (len(image.shape) - node.out.ndim)
    low, high = ([int(pads[end]) for pads in params["padding"]] for end in range(2))
    if min(low + high) < 0:
        raise Refused(f"padding is not negative, got {list(params['padding'])}")
    return _layer(
        network,
        ("convolution_nd", image, kernel.shape[0], kernel),
        stride_nd=(*params["window_strides"], *one),
        dilation_nd=(*params["rhs_dilation"], *one),
        pre_padding=(*low, *(0 for _ in one)),
        post_padding=(*high, *(0 for _ in one)),
        num_groups=int(params["feature_group_count"]),
    )


def _transposed(network: Network, node: Node, image: Any, kernel: Any) -> Any:
    """An image with gaps, by the layer that is a convolution's gradient: there the kernel runs backwards.

    Its padding is what it takes off the full result, ``reach`` at each end less JAX's padding.
    """
    params, one = node.params, (1,) * (len(image.shape) - node.out.ndim)
    if any(int(s) != 1 for s in params["window_strides"]):
        raise Refused(f"a window moves by 1 over an image with gaps, got {list(params['window_strides'])}")
    if any(int(d) != 1 for d in params["rhs_dilation"]):
        raise Refused(f"a window has no gaps where the image has, got {list(params['rhs_dilation'])}")
    sizes = tuple(kernel.shape)[2 : node.out.ndim]
    reach = [size - 1 for size in sizes]
    low, high = ([far - int(pads[end]) for far, pads in zip(reach, params["padding"], strict=True)] for end in range(2))
    if min(low + high) < 0:
        raise Refused(f"an image with gaps is padded by less than the window, got {list(params['padding'])}")
    groups = int(params["feature_group_count"])
    outputs, inside, *window = kernel.shape
    parted = network.reshaped(kernel, (groups, outputs // groups, inside, *window))
    swapped = network.ordered(network.plain(parted), (0, 2, 1, *range(3, 3 + len(window)))).made
    backwards = flipped(
        network, network.reshaped(swapped, (groups * inside, outputs // groups, *window)), range(2, 2 + len(sizes))
    )
    return _layer(
        network,
        ("deconvolution_nd", image, outputs, backwards),
        stride_nd=(*params["lhs_dilation"], *one),
        pre_padding=(*low, *(0 for _ in one)),
        post_padding=(*high, *(0 for _ in one)),
        num_groups=groups,
    )


def _layer(network: Network, what: tuple[str, Any, int, Any], **settings: Any) -> Any:
    kind, image, outputs, kernel = what
    nothing = network.library.module.Weights()
    layer = network.configured(kind, image, outputs, tuple(kernel.shape)[2:], nothing, nothing)
    layer.set_input(1, kernel)
    for name, value in settings.items():
        setattr(layer, name, value if isinstance(value, int) else tuple(map(int, value)))
    return layer.get_output(0)


CONVERTERS = {"conv_general_dilated": _convolution}
