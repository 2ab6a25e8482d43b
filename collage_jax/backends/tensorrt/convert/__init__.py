"""From operations of a program to layers of a network: a converter for each primitive and some composites.

A converter takes the network, the node and the tensors of its inputs, and gives those of its outputs; it raises
``Refused`` for what it cannot say. Composites without one, or whose converter gives None, are converted primitive by
primitive.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

from ....graph.ir import Node
from ..tensors import Network, Tensor
from . import activations, convolution, elementwise, normalisation, pooling, products, reductions, shapes

Converter: TypeAlias = Callable[[Network, Node, Sequence[Tensor]], Sequence[Tensor] | None]

CONVERTERS: dict[str, Converter] = {
    **elementwise.CONVERTERS,
    **activations.CONVERTERS,
    **shapes.CONVERTERS,
    **convolution.CONVERTERS,
    **products.CONVERTERS,
    **reductions.CONVERTERS,
    **normalisation.CONVERTERS,
    **pooling.CONVERTERS,
}
