"""Zeros around an array as part of the convolution that reads it: Keras puts them there by a layer of their own."""

from __future__ import annotations

from typing import Any

import numpy as np

from .ir import Constant, Graph, Node, Value
from .simplify import drop_dead
from .splice import Instead, rewritten


def fold_padding(graph: Graph) -> Graph:
    """``graph`` with convolutions that pad by themselves what a ``pad`` with zeros before them does."""

    def instead(node: Node) -> Instead | None:
        padding = _wider(graph, node)
        if padding is None:
            return None
        return _padded(node, padding), (graph.producer[node.inputs[0]].inputs[0], node.inputs[1])

    return drop_dead(rewritten(graph, instead))


def _wider(graph: Graph, node: Node) -> tuple[tuple[int, int], ...] | None:
    """The padding of the convolution ``node`` with that of the ``pad`` before it; None if there is no such."""
    if node.op != "conv_general_dilated" or node.barrier or any(int(n) != 1 for n in node.params["lhs_dilation"]):
        return None
    pad = graph.producer.get(node.inputs[0])
    if pad is None or pad.op != "pad" or pad.barrier or not _is_zero(graph, pad.inputs[1]):
        return None
    config = [tuple(map(int, sizes)) for sizes in pad.params["padding_config"]]
    batch, channels, *inner = map(int, node.params["dimension_numbers"].lhs_spec)
    if config[batch] != (0, 0, 0) or config[channels] != (0, 0, 0):
        return None
    if any(low < 0 or high < 0 or between for low, high, between in config):
        return None
    own = [tuple(map(int, sizes)) for sizes in node.params["padding"]]
    if any(low < 0 or high < 0 for low, high in own):
        return None  # what it takes away would be taken from the zeros
    return tuple((low + config[a][0], high + config[a][1]) for (low, high), a in zip(own, inner, strict=True))


def _is_zero(graph: Graph, value: Value) -> bool:
    maker = graph.producer.get(value)
    if maker is not None and maker.op == "convert_element_type":
        return _is_zero(graph, maker.inputs[0])
    return isinstance(value, Constant) and not np.any(np.asarray(value.val))


def _padded(node: Node, padding: tuple[tuple[int, int], ...]) -> Any:
    params = {**node.params, "padding": padding}
    return lambda x, w: node.eqn.primitive.bind(x, w, **params)
