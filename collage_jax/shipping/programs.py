"""Programs of one signature as ``jax.export`` has them: ``program(held, *args, **kwargs)``, ``held`` what is stored."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.export

from .. import _compat
from ..lowering.build import Lowered
from .targets import callable_targets

#: The only platform whose programs are exported.
PLATFORM = "cpu"


@dataclass(frozen=True, eq=False)
class Programs:
    """``original`` is the closed jaxpr of the function ``name``, ``frozen`` the numbers of its frozen inputs.

    ``args`` and ``kwargs`` are shapes of the arguments that each call passes, of which those at ``donate_argnums`` and
    ``donate_argnames`` give up their memory; ``out_tree`` is the structure of the result.
    """

    name: str
    original: Any
    frozen: tuple[int, ...]
    args: Sequence[Any]
    kwargs: Mapping[str, Any]
    out_tree: Any
    donate_argnums: tuple[int, ...]
    donate_argnames: tuple[str, ...]

    def plain(self, frozen: Any) -> jax.export.Exported:
        """The function as XLA runs it; it holds frozen arguments, in a tree like ``frozen``."""
        kept = frozenset(self.frozen)
        fun = _compat.jaxpr_as_fun(self.original)

        def run(frozen: Any, *leaves: Any) -> Any:
            known, others = iter(jax.tree.leaves(frozen)), iter(leaves)
            return fun(*(next(known if i in kept else others) for i in range(len(kept) + len(leaves))))

        return self._exported(run, frozen)

    def placed(self, lowered: Lowered, frozen: Any) -> jax.export.Exported:
        """The function with kernels; it holds a list of arrays, those that ``packing`` makes of ``frozen``."""
        leaves = shapes(jax.tree.leaves(frozen))
        tree = jax.tree.structure(jax.eval_shape(lowered.prepare, *leaves))

        def run(packed: list[Any], *leaves: Any) -> Any:
            return lowered.run(jax.tree.unflatten(tree, packed), *leaves)

        return self._exported(run, jax.eval_shape(packing(lowered), shapes(frozen)))

    def _exported(self, flat: Callable[..., Any], held: Any) -> jax.export.Exported:
        def program(held: Any, /, *args: Any, **kwargs: Any) -> Any:
            return jax.tree.unflatten(self.out_tree, flat(held, *jax.tree.leaves((args, kwargs))))

        program.__name__ = program.__qualname__ = self.name
        donated = tuple(number + 1 for number in self.donate_argnums)
        jitted = jax.jit(program, donate_argnums=donated, donate_argnames=self.donate_argnames)
        return exported(jitted, shapes(held), *self.args, **self.kwargs)


def packing(lowered: Lowered) -> Any:
    """``jax.jit`` of what makes a list of arrays, as kernels want them, of a tree of frozen arguments."""
    return jax.jit(lambda frozen: jax.tree.leaves(lowered.prepare(*jax.tree.leaves(frozen))))


def exported(jitted: Any, *args: Any, **kwargs: Any) -> jax.export.Exported:
    """What ``jax.export`` makes of ``jitted`` for arguments of these shapes."""
    jitted.trace(*args, **kwargs)  # which makes known what the program calls
    checks = tuple(map(jax.export.DisabledSafetyCheck.custom_call, sorted(callable_targets())))
    return jax.export.export(jitted, platforms=(PLATFORM,), disabled_checks=checks)(*args, **kwargs)


def listed(args: Any, kwargs: Any) -> tuple[str, ...]:
    """Each array of a call with its place and type, such as ``args[0]['w']: float32[3]``."""
    return tuple(
        f"{name}{jax.tree_util.keystr(path)}: {_compat.typeof(leaf).str_short()}"
        for name, tree in (("args", args), ("kwargs", kwargs))
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
    )


def shapes(tree: Any) -> Any:
    """``tree`` with a ``jax.ShapeDtypeStruct`` for each array."""
    return jax.tree.map(lambda leaf: _shape(_compat.typeof(leaf)), tree)


def _shape(aval: Any) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(aval.shape, aval.dtype, weak_type=aval.weak_type)
