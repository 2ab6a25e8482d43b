"""What stands for an exported function in the process that loaded it."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

import jax
import jax.export

from .. import _compat
from ..ffi.entry import Detour, Entry
from ..placement import Placement
from .fitting import switched_off
from .manifest import Manifest
from .programs import listed

#: So many arguments are named in an error.
_SHOWN = 6


class _SwitchedOff(Detour):
    """Raised while ``jax.jit`` traces a call of kernels that are switched off."""


@dataclass(frozen=True, eq=False)
class Entrance:
    """One signature: ``run(held, *args, **kwargs)``, and ``held``. Of ``exported``, ``held`` is the first argument.

    ``why_plain`` says why XLA alone runs it, although kernels were chosen; None if they run, or if none were.
    """

    exported: jax.export.Exported
    run: Callable[..., Any]
    held: Any
    placement: Placement
    has_kernels: bool
    why_plain: str | None = None

    @functools.cached_property
    def arguments(self) -> tuple[Any, tuple[Any, ...]]:
        """Structure and types of what is passed."""
        args, kwargs = jax.tree.unflatten(self.exported.in_tree, range(self.exported.in_tree.num_leaves))
        return jax.tree.structure((args[1:], kwargs)), self.exported.in_avals[len(jax.tree.leaves(args[0])) :]

    def shapes(self) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Shapes of the arguments: positional, by name."""
        tree, avals = self.arguments
        return jax.tree.unflatten(tree, [jax.ShapeDtypeStruct(a.shape, a.dtype, weak_type=a.weak_type) for a in avals])


class Loaded(Entry):
    """A function that another process exported. Call it with the arguments that were neither static nor frozen.

    A call takes ``jax.jit``'s own dispatch. Under ``jax.jit`` it is part of the larger program; it has the
    derivatives that it was exported with; ``jax.vmap`` is refused, as ``jax.export`` refuses it.
    """

    def __init__(
        self, entrances: Sequence[Entrance], manifest: Manifest, digest: str, plain: Callable[[], Loaded] | None
    ) -> None:
        self.manifest = manifest
        self.digest = digest
        self._entrances = tuple(entrances)
        self._make_plain = plain
        self._plain: Loaded | None = None
        self._lock = threading.Lock()
        self.__name__ = self.__qualname__ = manifest.name
        self._jitted = jax.jit(
            self._traced,
            donate_argnums=tuple(number + 1 for number in manifest.donated_nums),
            donate_argnames=manifest.donated_names,
        )
        #: One list of arrays for each signature; what a signature does not use is no argument of its program.
        self._held = tuple(entrance.held for entrance in self._entrances)
        self._serve = functools.partial(self._jitted, self._held)
        self._detoured = lambda kind, args, kwargs: self._without_kernels()(*args, **kwargs)

    def __repr__(self) -> str:
        count = len(self._entrances)
        return f"<collage_jax.load of {self.manifest.name}: {count} signature{'' if count == 1 else 's'}>"

    @property
    def placements(self) -> tuple[Placement, ...]:
        """What was decided where the file was made, by signature."""
        return tuple(entrance.placement for entrance in self._entrances)

    @property
    def why_plain(self) -> tuple[str | None, ...]:
        """By signature, why XLA alone runs it although kernels were chosen; None if they run, or none were."""
        return tuple(entrance.why_plain for entrance in self._entrances)

    @property
    def signatures(self) -> tuple[tuple[tuple[Any, ...], dict[str, Any]], ...]:
        """Positional and named arguments of each signature, as ``jax.ShapeDtypeStruct``."""
        return tuple(entrance.shapes() for entrance in self._entrances)

    def explain(self) -> str:
        """What runs what, by signature: times are those of the machine that made the file."""
        made = self.manifest.made_with
        lines = [f"{self.manifest.name}, made with jax {made.get('jax')} on {made.get('device')}", ""]
        for entrance, signature in zip(self._entrances, self.manifest.signatures, strict=True):
            lines.append(f"{', '.join(signature.inputs) or 'no arguments'} -> {', '.join(signature.outputs)}")
            if entrance.why_plain is not None:
                lines.append(f"XLA alone runs this here: {entrance.why_plain}. Chosen had been:")
            lines.append(str(entrance.placement))
        return "\n".join(lines)

    @property
    def has_kernels(self) -> tuple[bool, ...]:
        """By signature, whether kernels run a part of it here."""
        return tuple(entrance.has_kernels for entrance in self._entrances)

    def compile(self, number: int) -> None:
        """Compile a signature; raises what XLA does, or a library that cannot build its kernel."""
        args, kwargs = self._entrances[number].shapes()
        self._jitted.lower(self._held, *args, **kwargs).compile()

    def _traced(self, held: Sequence[Any], /, *args: Any, **kwargs: Any) -> Any:
        leaves, tree = jax.tree.flatten((args, kwargs))
        types = [_compat.typeof(leaf) for leaf in leaves]
        for entrance, arrays in zip(self._entrances, held, strict=True):
            if _fits(entrance, tree, types):
                if entrance.has_kernels and switched_off(entrance.placement) is not None:
                    raise _SwitchedOff
                return entrance.run(arrays, *args, **kwargs)
        return _refuse(self.manifest, self._entrances, args, kwargs)

    def _without_kernels(self) -> Loaded:
        """The same by XLA alone."""
        _compat.mend_dispatch(self._jitted)
        with self._lock:
            if self._plain is None:
                if self._make_plain is None:
                    raise ValueError(
                        f"{self.manifest.name} has kernels that are switched off, and no fallback; leave them on, or "
                        "export it with fallback=True"
                    )
                self._plain = self._make_plain()
        return self._plain


def _fits(entrance: Entrance, tree: Any, types: Sequence[Any]) -> bool:
    wanted_tree, wanted = entrance.arguments
    return tree == wanted_tree and all(
        (t.shape, t.dtype) == (w.shape, w.dtype) for t, w in zip(types, wanted, strict=True)
    )


def _refuse(manifest: Manifest, entrances: Sequence[Entrance], args: Any, kwargs: Any) -> NoReturn:
    """Raise for arguments that no signature has."""
    wanted = " or ".join(_cut(listed(*entrance.shapes())) for entrance in entrances)
    raise TypeError(
        f"{manifest.name} must be called with the arguments it was exported for, {wanted}, got "
        f"{_cut(listed(args, kwargs))}; pass those (none that were static or frozen), or export it with these in `also`"
    )


def _cut(items: Sequence[str]) -> str:
    more = f", ... ({len(items)} in all)" if len(items) > _SHOWN else ""
    return f"({', '.join(items[:_SHOWN])}{more})"
