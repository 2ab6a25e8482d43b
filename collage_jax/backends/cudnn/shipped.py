"""Convolutions in the form that the kernels which cuDNN ships have: a convolution, an array, a bias, an activation.

Where it cannot compile a kernel for a graph, it looks for the graph among those. They have a bias always, and after the
array, so that one of zeros is put there and sums change their order.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import jax.numpy as jnp

from .fusion import LAST, Fusion, Step
from .kernel import Work
from .tensors import Operand, Tensor, strides_of


def written(work: Work) -> Iterator[Work]:
    """``work`` as it is, then in that form if it can be and is not."""
    yield work
    other = _shipped(work) if isinstance(work, Fusion) else None
    if other is not None:
        yield other


def _shipped(fusion: Fusion) -> Fusion | None:
    first, *rest = fusion.steps
    if first.op != "conv_fprop" or not rest:
        return None
    activation = rest.pop() if rest[-1].inputs == {"a": LAST} else None
    places = [_added(step) for step in rest]
    arrays, biases = [], []
    for place in places:
        if place is None:
            return None
        dims = fusion.operands[place - 1].tensor.dims
        (arrays if dims == fusion.last.dims else biases).append(place)
    channels = (1, fusion.last.dims[1], *(1,) * (len(fusion.last.dims) - 2))
    if len(arrays) > 1 or len(biases) > 1 or any(fusion.operands[p - 1].tensor.dims != channels for p in biases):
        return None
    if biases and places == [*arrays, *biases]:
        return None
    operands = fusion.operands
    if not biases:
        operands = (*operands, _zeros(fusion, channels))
        biases = [len(operands)]
    sums = [Step("pointwise", {"a": LAST, "b": p}, "y", fusion.last, {"mode": "ADD"}) for p in (*arrays, *biases)]
    return replace(fusion, operands=operands, steps=(first, *sums, *([activation] if activation else [])))


def _added(step: Step) -> int | None:
    """The place of the operand that ``step`` adds."""
    places = [source for source in step.inputs.values() if source != LAST]
    is_array = len(step.inputs) == 2 and len(places) == 1 and isinstance(places[0], int)
    return int(places[0]) if is_array and step.attributes.get("mode") == "ADD" else None


def _zeros(fusion: Fusion, dims: tuple[int, ...]) -> Operand:
    tensor = Tensor(dims, strides_of(dims, fusion.kind), fusion.last.dtype)
    return Operand(tensor, (), lambda: jnp.zeros((dims[1],), fusion.result.dtype))
