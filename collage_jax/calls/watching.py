"""Modules and states of Flax NNX, seen to be as they were without flattening them.

Flattening one calls Python for each of its modules and variables. While every attribute and every value of a variable
is the same object it gives what it gave, and identities are compared in C.
"""

from __future__ import annotations

import operator
import sys
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any

import jax
import numpy as np

SCALARS = (bool, int, float, complex, np.generic)
#: Leaves that cannot change: the same object is the same value.
UNCHANGING = (jax.Array, *SCALARS)

_raw_value = operator.methodcaller("get_raw_value")


class Watch:
    """Trees as they are now. They are kept, with their modules."""

    def __init__(
        self, trees: Sequence[Any], containers: list[dict[Any, Any] | list[Any]], variables: list[Any]
    ) -> None:
        self._trees = tuple(trees)
        self._containers = containers
        self._dicts = [container for container in containers if isinstance(container, dict)]
        self._variables = variables
        self._sizes = [*map(len, containers)]
        self._parts = [*self._now()]
        self._metadata = [variable.get_metadata() for variable in variables]

    def holds(self, trees: Sequence[Any]) -> bool:
        """True if ``trees`` are these, and flatten as they did."""
        return (
            all(map(operator.is_, trees, self._trees))
            and [*map(len, self._containers)] == self._sizes
            and all(map(operator.is_, self._now(), self._parts))
            and [variable.get_metadata() for variable in self._variables] == self._metadata
        )

    def _now(self) -> Iterator[Any]:
        """Names of attributes and what lists hold, attributes, values of variables."""
        attributes = chain.from_iterable(map(dict.values, self._dicts))
        return chain(chain.from_iterable(self._containers), attributes, map(_raw_value, self._variables))


def watch(trees: Sequence[Any]) -> Watch | None:
    """``trees``, whose leaves are all ``UNCHANGING``, as they are now.

    None if there is nothing of Flax NNX in them, or something that is flattened in a way that is not known here.
    """
    nnx: Any = sys.modules.get("flax.nnx")  # whoever has a module of it has imported it
    if not hasattr(nnx, "Pytree"):
        return None
    containers: list[dict[Any, Any] | list[Any]] = []
    variables: list[Any] = []
    left = [*trees]
    while left:
        node = left.pop()
        if isinstance(node, nnx.Variable):
            variables.append(node)
            left.append(node.get_raw_value())
        elif isinstance(node, nnx.Pytree):
            containers.append(vars(node))
            inside = jax.tree.leaves(node, is_leaf=lambda other, node=node: other is not node)
            if any(other is node for other in inside):
                return None
            left += inside
        elif isinstance(node, (dict, nnx.State)):
            mapping = node if isinstance(node, dict) else node.raw_mapping
            containers.append(mapping)
            left += mapping.values()
        elif isinstance(node, list):
            containers.append(node)
            left += node
        elif isinstance(node, tuple):
            left += node
        elif not (node is None or isinstance(node, (*UNCHANGING, nnx.GraphDef)) or _is_bookkeeping(node)):
            return None
    return Watch(trees, containers, variables) if variables else None


def _is_bookkeeping(node: Any) -> bool:
    # Each module has an object that says whether it is being initialised. Its name is not public.
    return type(node).__module__ == "flax.nnx.pytreelib"
