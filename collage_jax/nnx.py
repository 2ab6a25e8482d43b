"""``flax.nnx.jit`` with a choice of kernels.

@collage_jax.nnx.jit(frozen_argnums=0)
def predict(model, x): ...
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable
from typing import Any

import jax

try:
    import flax
    from flax import nnx
except ModuleNotFoundError as missing:
    raise ModuleNotFoundError(f"Flax is needed, and {missing.name} is not installed: pip install flax") from None
if not hasattr(nnx, "Pytree") or not hasattr(nnx.Variable, "set_raw_value"):
    raise ImportError(
        f"collage_jax.nnx needs modules that are pytrees, as they are since flax 0.12, and this is {flax.__version__}; "
        "pip install -U flax"
    )

from .adapting import Adapted, Packed
from .calls.dispatch import Jitted


def jit(fun: Callable[..., Any] | None = None, **options: Any) -> Any:
    """``collage_jax.jit`` for modules, optimizers and their like, which ``fun`` may change, as ``nnx.jit`` does.

    What ``fun`` changes are the values of variables: parameters, statistics, the counts of ``nnx.Rngs``. Variables that
    are reached in several ways stay one. Neither variables nor attributes come or go, and modules that are returned are
    new ones.

    Args:
      fun: a function or method; without it a decorator is returned.
      **options: those of ``collage_jax.jit``. Frozen arguments, such as a model at inference, are left as they are, and
        must not share variables with others that change.

    Returns:
      A callable with ``placement``, ``explain``, ``lower``, ``trace`` and ``clear_cache``.

    Raises:
      ValueError: at the first call, if ``fun`` changes a frozen argument, or more than values.
    """
    return functools.partial(jit, **options) if fun is None else NNXJitted(fun, **options)


class NNXJitted(Adapted):
    """A function decorated with ``jit``."""

    def __init__(self, fun: Callable[..., Any], **options: Any) -> None:
        donates = any(options.get(name) not in (None, (), []) for name in ("donate_argnums", "donate_argnames"))
        super().__init__(fun, functools.partial(_run, fun, donates), **options)
        roles = self._jitted._roles
        self._frozen = frozenset(roles.frozen)
        self._frozen_names = frozenset((roles.parameters or ())[i] for i in self._frozen if roles.parameters)

    def _packed(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        args, kwargs, _ = self._with_variables(args, kwargs)
        return args, kwargs

    def unpacked(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Jitted, tuple[Any, ...], dict[str, Any]]:
        def over(*args: Any, **kwargs: Any) -> Any:
            result, _ = _run(self._fun, False, *args, **kwargs)
            return result

        return self._decorated(over), args, kwargs

    def _with_variables(self, args: Any, kwargs: Any) -> tuple[tuple[Any, ...], dict[str, Any], list[Any]]:
        """The arguments for JAX, those that are not frozen packed, and the variables of these."""
        known: dict[int, int] = {}
        variables: list[Any] = []
        packed_args = tuple(a if i in self._frozen else _packed_one(a, known, variables) for i, a in enumerate(args))
        packed_kwargs = {
            k: v if k in self._frozen_names else _packed_one(v, known, variables) for k, v in kwargs.items()
        }
        return packed_args, packed_kwargs, variables

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        args, kwargs, variables = self._with_variables(args, kwargs)
        result, changed = self._jitted(*args, **kwargs)
        for number, value in changed.items():
            variables[number].set_raw_value(value)
        return result


def _is_variable(leaf: Any) -> bool:
    return isinstance(leaf, nnx.Variable)


def _packed_one(tree: Any, known: dict[int, int], variables: list[Any]) -> Packed:
    """``tree`` as its leaves, but for variables met before, which are ``known`` by their numbers."""
    leaves, structure = jax.tree.flatten(tree, is_leaf=_is_variable)
    own: list[Any] = []
    numbers: list[int | None] = []
    for leaf in leaves:
        if not _is_variable(leaf):
            own.append(leaf)
            numbers.append(None)
            continue
        if id(leaf) not in known:
            known[id(leaf)] = len(variables)
            variables.append(leaf)
            own.append(leaf)
        numbers.append(known[id(leaf)])
    return Packed(own, (structure, tuple(numbers)))


def _opened(packed: Packed, variables: dict[int, Any]) -> Any:
    """What was packed, its own variables put into ``variables`` by their numbers."""
    structure, numbers = packed.rest  # type: ignore[misc]
    own = iter(packed.children)
    leaves = []
    for number in numbers:
        if number is not None and number not in variables:
            variables[number] = next(own)
        leaves.append(next(own) if number is None else variables[number])
    return jax.tree.unflatten(structure, leaves)


def _run(fun: Callable[..., Any], all_of_them: bool, /, *args: Any, **kwargs: Any) -> tuple[Any, dict[int, Any]]:
    """The result of ``fun``, and the new values of the variables that it changed, or of all, by their numbers."""
    variables: dict[int, Any] = {}
    given = [*args, *kwargs.values()]
    opened = [_opened(a, variables) if isinstance(a, Packed) else a for a in given]
    values = {number: variable.get_raw_value() for number, variable in variables.items()}
    shapes = [jax.tree.structure(a, is_leaf=_is_variable) for a in opened]
    frozen = [() if isinstance(a, Packed) else jax.tree.leaves(a) for a in given]
    result = fun(*opened[: len(args)], **dict(zip(kwargs, opened[len(args) :], strict=True)))
    for place, argument, shape, leaves in zip((*range(len(args)), *kwargs), opened, shapes, frozen, strict=True):
        if jax.tree.structure(argument, is_leaf=_is_variable) != shape:
            raise ValueError(
                f"argument {place} must keep its variables and attributes, and the function changes more of it than "
                "values; take new ones away by `nnx.pop` before it returns, or use `nnx.jit`"
            )
        if leaves and any(map(operator.is_not, leaves, jax.tree.leaves(argument))):
            raise ValueError(
                f"argument {place} is frozen, and the function changes it, as batch norm and dropout do in training; "
                "call its `eval()` before, or take it out of `frozen_argnums`"
            )
    kept = {number: variable.get_raw_value() for number, variable in variables.items()}
    return result, {number: value for number, value in kept.items() if all_of_them or value is not values[number]}
