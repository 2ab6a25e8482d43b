"""Decorated functions for callers whose arguments are no pytrees of arrays: they are made some, and results made back.

A pytree goes in as a node of our own: what JAX can trace are its children, all else is part of the structure and with
that of what decides the program.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Hashable, Sequence
from typing import Any, cast

import jax
import numpy as np

from .api import jit
from .calls.dispatch import Bound, Jitted
from .placement import Placement

#: What is traced: JAX's arrays, its tracers among them, NumPy's, and shapes for ``explain``.
ARRAYS = (jax.Array, np.ndarray, np.generic, jax.ShapeDtypeStruct)


@jax.tree_util.register_pytree_node_class
class Packed:
    """A pytree as ``children``, which are traced, and ``rest``, which says how it is made of them.

    One without children is as good as a static argument: it is equal to others by what it holds.
    """

    __slots__ = ("children", "rest")

    def __init__(self, children: Sequence[Any], rest: Hashable) -> None:
        self.children, self.rest = tuple(children), rest

    def tree_flatten(self) -> tuple[tuple[Any, ...], Hashable]:
        return self.children, self.rest

    @classmethod
    def tree_unflatten(cls, rest: Hashable, children: Sequence[Any]) -> Packed:
        return cls(children, rest)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Packed) and (self.children, self.rest) == (other.children, other.rest)

    def __hash__(self) -> int:
        return hash((self.children, self.rest))


def parted(tree: Any) -> Packed:
    """``tree`` as its arrays; the rest with types, for 1, 1.0 and True are equal and mean different programs.

    Raises ``TypeError`` for what is no array and has no hash.
    """
    leaves, structure = jax.tree.flatten(tree)
    rest = tuple(None if isinstance(leaf, ARRAYS) else (type(leaf), leaf) for leaf in leaves)
    try:
        hash(rest)
    except TypeError:
        wrong = next(leaf for leaf in leaves if not isinstance(leaf, ARRAYS) and type(leaf).__hash__ is None)
        raise TypeError(
            f"what is no array must have a hash, got a {type(wrong).__name__} inside of a {type(tree).__name__}; "
            "make it an array, a tuple or a field with `equinox.field(static=True)`"
        ) from None
    return Packed([leaf for leaf in leaves if isinstance(leaf, ARRAYS)], (structure, rest))


def whole(packed: Packed) -> Any:
    """What was ``parted``."""
    structure, rest = packed.rest  # type: ignore[misc]
    arrays = iter(packed.children)
    return jax.tree.unflatten(structure, [next(arrays) if known is None else known[1] for known in rest])


class Adapted:
    """``fun`` decorated with ``collage_jax.jit``, as ``over`` sees it: a function of what ``_packed`` makes."""

    def __init__(self, fun: Callable[..., Any], over: Callable[..., Any], **options: Any) -> None:
        if not callable(fun):
            raise TypeError(f"`fun` must be callable, got {type(fun).__name__}; pass the function itself")
        functools.update_wrapper(cast(Any, self), fun, updated=())
        self._fun = fun
        self._options = options
        self._jitted = self._decorated(over)

    def _packed(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        raise NotImplementedError

    def _decorated(self, over: Callable[..., Any], **more: Any) -> Jitted:
        """``over``, which stands for the function, with the options of this one and ``more``."""
        return jit(functools.wraps(self._fun)(over), **{**self._options, **more})

    def unpacked(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Jitted, tuple[Any, ...], dict[str, Any]]:
        """The same function without packing of ours, for ``collage_jax.export``, and these arguments for it.

        Only what is frozen or static may be packed, for that is no argument of what is exported.
        """
        raise NotImplementedError

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        return self if instance is None else Bound(cast(Any, self), instance)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self._fun!r}>"

    def placement(self, *args: Any, **kwargs: Any) -> Placement:
        """As of a function decorated with ``collage_jax.jit``; so are the others."""
        args, kwargs = self._packed(args, kwargs)
        return self._jitted.placement(*args, **kwargs)

    def explain(self, *args: Any, profile: bool = False, **kwargs: Any) -> str:
        args, kwargs = self._packed(args, kwargs)
        return self._jitted.explain(*args, profile=profile, **kwargs)

    def lower(self, *args: Any, **kwargs: Any) -> Any:
        args, kwargs = self._packed(args, kwargs)
        return self._jitted.lower(*args, **kwargs)

    def trace(self, *args: Any, **kwargs: Any) -> Any:
        args, kwargs = self._packed(args, kwargs)
        return self._jitted.trace(*args, **kwargs)

    def clear_cache(self) -> None:
        self._jitted.clear_cache()
