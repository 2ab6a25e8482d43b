"""``equinox.filter_jit`` with a choice of kernels.

@collage_jax.equinox.filter_jit(frozen_argnums=0)
def predict(model, x): ...
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax

from .adapting import ARRAYS, Adapted, Packed, parted, whole
from .calls.dispatch import Jitted


def filter_jit(fun: Callable[..., Any] | None = None, **options: Any) -> Any:
    """``collage_jax.jit`` for arguments and results of any kind, as ``equinox.filter_jit`` takes them.

    Arrays are traced. All else (numbers of Python's, functions, strings) is static wherever it stands, and must have a
    hash: other values of it are another program.

    Args:
      fun: a function or method; without it a decorator is returned.
      **options: those of ``collage_jax.jit``, but for ``static_argnums`` and ``static_argnames``. Of a frozen argument,
        such as a model at inference, the arrays are frozen.

    Returns:
      A callable with ``placement``, ``explain``, ``lower``, ``trace`` and ``clear_cache``.
    """
    for name in ("static_argnums", "static_argnames"):
        if options.get(name) not in (None, (), []):
            raise TypeError(
                f"filter_jit has no `{name}`, got {options[name]!r}; all that is no array is static already"
            )
    return functools.partial(filter_jit, **options) if fun is None else FilterJitted(fun, **options)


class FilterJitted(Adapted):
    """A function decorated with ``filter_jit``."""

    def __init__(self, fun: Callable[..., Any], **options: Any) -> None:
        def over_arrays(*args: Any, **kwargs: Any) -> Any:
            return parted(fun(*map(whole, args), **{name: whole(value) for name, value in kwargs.items()}))

        super().__init__(fun, over_arrays, **options)

    def _packed(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        return tuple(map(parted, args)), {name: parted(value) for name, value in kwargs.items()}

    def unpacked(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Jitted, tuple[Any, ...], dict[str, Any]]:
        def over(*args: Any, **kwargs: Any) -> Any:
            return self._fun(*map(_opened, args), **{name: _opened(value) for name, value in kwargs.items()})

        args, kwargs = self._jitted._normalised(args, kwargs)
        frozen = self._jitted._roles.frozen
        args = tuple(parted(a) if i in frozen else _passed(a, f"argument {i}") for i, a in enumerate(args))
        kwargs = {name: _passed(value, f"argument `{name}`") for name, value in kwargs.items()}
        nums = tuple(i for i, a in enumerate(args) if isinstance(a, Packed) and i not in frozen)
        names = tuple(name for name, value in kwargs.items() if isinstance(value, Packed))
        return self._decorated(over, static_argnums=nums, static_argnames=names), args, kwargs

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        args, kwargs = self._packed(args, kwargs)
        return whole(self._jitted(*args, **kwargs))


def _opened(value: Any) -> Any:
    return whole(value) if isinstance(value, Packed) else value


def _passed(tree: Any, what: str) -> Any:
    """An argument of an exported function: as it is if all of it are arrays, packed to be static if nothing is."""
    others = [leaf for leaf in jax.tree.leaves(tree) if not isinstance(leaf, ARRAYS)]
    if not others:
        return tree
    packed = parted(tree)
    if packed.children:
        raise TypeError(
            f"{what} of an exported function must be of arrays alone or without any, unless it is frozen, got a "
            f"{type(others[0]).__name__} beside arrays; freeze it (`frozen_argnums`), or pass its arrays by themselves"
        )
    return packed
