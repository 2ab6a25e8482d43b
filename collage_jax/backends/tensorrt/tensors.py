"""Values of a program as they stand in a network: TensorRT wants channels second, JAX's programs have them anywhere.

A value keeps the order of dimensions that the last operation left it in, and is brought to another only where
something needs that. So between convolutions nothing is transposed, and what is broadcast stays small.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from ...graph.ir import Value
from .library import Library

#: Types that networks have as JAX does, as TensorRT's Python package calls them.
TYPES = {"float32": "float32", "float16": "float16", "bfloat16": "bfloat16", "int32": "int32", "bool": "bool"}
FLOATS = frozenset({"float32", "float16", "bfloat16"})

#: A tensor has at most this many dimensions.
MOST_DIMENSIONS = 8


class Refused(Exception):
    """What a network cannot do, in words for the placement report."""


@dataclass(frozen=True, eq=False)
class Tensor:
    """``made`` holds the axes of a value in the order ``order``; a dimension of 1 may stand for a larger one."""

    made: Any
    order: tuple[int, ...]

    def place(self, axis: int) -> int:
        """The dimension of ``made`` that is the value's ``axis``."""
        return self.order.index(axis)


class Network:
    """What layers are made with, for a GPU of compute capability ``sm``; ``definition`` is TensorRT's own object.

    ``rounds_to_tf32``: products of float32 may be rounded to TF32; one that asks for more turns it off for all.
    """

    def __init__(self, library: Library, sm: int) -> None:
        self.library = library
        self.sm = sm
        self.rounds_to_tf32 = True
        self._borrowed: list[np.ndarray] = []  # the network has only addresses of its constants
        strongly_typed = library.module.NetworkDefinitionCreationFlag.STRONGLY_TYPED
        self.definition = library.builder.create_network(1 << int(strongly_typed))

    @property
    def is_turing(self) -> bool:
        """True where TensorRT-RTX has fewer kernels."""
        return self.library.builds_ahead and self.sm < 80

    def layer(self, kind: str, *arguments: Any, **settings: Any) -> Any:
        """The first result of a new layer, ``add_<kind>(*arguments)`` with ``settings`` as its attributes."""
        return self.configured(kind, *arguments, **settings).get_output(0)

    def configured(self, kind: str, *arguments: Any, **settings: Any) -> Any:
        """As ``layer``, the layer itself."""
        made = getattr(self.definition, f"add_{kind}")(*arguments)
        if made is None:
            raise Refused(f"{self.library.title}: {self.library.last_error()}")
        for name, value in settings.items():
            setattr(made, name, value)
        return made

    def choice(self, enumeration: str, member: str) -> Any:
        """A member of one of the package's enumerations."""
        return getattr(getattr(self.library.module, enumeration), member)

    def dtype(self, dtype: Any) -> Any:
        """What the package calls ``dtype``."""
        return getattr(self.library.module, TYPES[str(dtype)])

    def constant(self, value: Any, dtype: Any) -> Any:
        """A constant of numbers written in the program."""
        held = np.ascontiguousarray(np.asarray(value, np.float32 if str(dtype) == "bfloat16" else dtype))
        self._borrowed.append(held)
        made = self.layer("constant", np.shape(value), self.library.module.Weights(held))
        return self.cast(made, dtype)

    def cast(self, made: Any, dtype: Any) -> Any:
        wanted = self.dtype(dtype)
        return made if made.dtype == wanted else self.layer("cast", made, wanted)

    def plain(self, made: Any) -> Tensor:
        """``made`` as a tensor with its axes in their own order."""
        return Tensor(made, tuple(range(len(made.shape))))

    def ordered(self, tensor: Tensor, order: Sequence[int]) -> Tensor:
        """``tensor`` with its axes in ``order``."""
        order = tuple(order)
        if tensor.order == order:
            return tensor
        permutation = self.library.module.Permutation([tensor.place(axis) for axis in order])
        return Tensor(self.layer("shuffle", tensor.made, first_transpose=permutation), order)

    def full(self, tensor: Tensor, value: Value) -> Tensor:
        """``tensor`` of ``value`` with all dimensions as large as the value's."""
        held, wanted = tuple(tensor.made.shape), tuple(value.shape[axis] for axis in tensor.order)
        if held == wanted:
            return tensor
        strides = [int(have == want) for have, want in zip(held, wanted, strict=True)]
        return Tensor(self.layer("slice", tensor.made, (0,) * len(held), wanted, strides), tensor.order)

    def reshaped(self, made: Any, shape: Sequence[int]) -> Any:
        """``made`` with another shape."""
        shape = tuple(map(int, shape))
        return made if tuple(made.shape) == shape else self.layer("shuffle", made, reshape_dims=shape)

    def as_written(self, tensor: Tensor, value: Value) -> Any:
        """``tensor`` as ``value`` itself is: all its elements, in its own order."""
        return self.ordered(self.full(tensor, value), range(value.ndim)).made

    def aligned(self, tensors: Sequence[Tensor]) -> tuple[list[Any], tuple[int, ...]]:
        """``tensors`` with their axes in one order, and that order; scalars get dimensions of 1."""
        order = common_order([t for t in tensors if t.order] or tensors)
        ready = [self.ordered(t, order).made if t.order else self.reshaped(t.made, [1] * len(order)) for t in tensors]
        return ready, order


def common_order(tensors: Sequence[Tensor]) -> tuple[int, ...]:
    """The order that most of ``tensors``, counted by their elements, are in."""
    weights: dict[tuple[int, ...], int] = {}
    for tensor in tensors:
        weights[tensor.order] = weights.get(tensor.order, 0) + prod(tensor.made.shape)
    return max(weights, key=weights.__getitem__)
