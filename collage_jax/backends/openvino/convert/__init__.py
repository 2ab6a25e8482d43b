"""From operations of a program to those of a model: a converter for each primitive and some composites.

A converter takes the model, the node and the tensors of its inputs, and gives those of its outputs; it raises
``Refused`` for what it cannot say. Composites without one are converted primitive by primitive.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

from ....graph.ir import Node
from ..tensors import Model, Tensor
from . import composites, convolution, elementwise, products, reductions, shapes

Converter: TypeAlias = Callable[[Model, Node, Sequence[Tensor]], Sequence[Tensor]]

CONVERTERS: dict[str, Converter] = {
    **elementwise.CONVERTERS,
    **shapes.CONVERTERS,
    **convolution.CONVERTERS,
    **products.CONVERTERS,
    **reductions.CONVERTERS,
    **composites.CONVERTERS,
}
