"""Which trees a file can hold: those that ``jax.export`` writes."""

from __future__ import annotations

from typing import Any

import jax
import jax.export

from .programs import PLATFORM

_KNOWN = {tuple, list, dict, type(None)}


def check(tree: Any, what: str, remedy: str) -> None:
    """Raise ``TypeError``, which says ``what`` it is and a ``remedy``, if ``tree``, a structure, cannot be written."""
    if (kind := _unwritten(tree)) is not None:
        raise TypeError(
            f"{what} must be made of arrays in tuples, lists, dictionaries and types that jax.export knows, got "
            f"{kind.__module__}.{kind.__qualname__}; {remedy}, or make the type known to jax.export by "
            "jax.export.register_pytree_node_serialization"
        )


def _unwritten(tree: Any) -> type | None:
    """The outermost type that cannot be written."""
    if (node := tree.node_data()) is None:
        return None
    kind, _ = node
    if kind in _KNOWN:
        return next(filter(None, map(_unwritten, tree.children())), None)
    return None if _is_written(tree) else kind


def _is_written(tree: Any) -> bool:
    """Whether JAX writes it: it says so of whole programs alone."""
    shape = jax.ShapeDtypeStruct((), bool)
    program = jax.export.export(jax.jit(lambda _: ()), platforms=(PLATFORM,))
    try:
        program(jax.tree.unflatten(tree, [shape] * tree.num_leaves)).serialize()
    except ValueError:
        return False
    return True
