"""What must not run, however fast it is: switches of the process, of a thread and of a function.

Those in force are a context by which ``jax.jit`` tells its programs apart: throwing one changes what the next call
runs, in functions that were decorated and called before too; warm calls pay nothing for it, and once it is thrown back
they find their programs from before.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import jax

#: Of a region's hash, the part that stands for it where a person reads or writes it.
NAME_DIGITS = 8


@dataclass(frozen=True)
class Switches:
    """``off``: ``jax.jit`` and nothing else. ``backends`` and ``regions`` by name: XLA runs what was theirs.

    A region is named as ``explain`` prints it, or by an operation that it holds. ``deterministic``: nothing that may
    give other bits another time, kernels and ways to choose them.
    """

    off: bool = False
    backends: tuple[str, ...] = ()
    regions: tuple[str, ...] = ()
    deterministic: bool = False

    def __or__(self, other: Switches) -> Switches:
        """Whatever one of the two bars."""
        return Switches(
            self.off or other.off,
            tuple(sorted({*self.backends, *other.backends})),
            tuple(sorted({*self.regions, *other.regions})),
            self.deterministic or other.deterministic,
        )

    def why_not(self, backend: str) -> str | None:
        """Why nothing may run on ``backend`` or its form of that name; None if it may."""
        if self.off:
            return 'switched off with everything (tune="off")'
        is_off = backend in self.backends or backend.partition("@")[0] in self.backends
        return "switched off by `disable_backends`" if is_off else None

    def bars(self, backend: str, key: str, ops: Collection[str]) -> str | None:
        """Why ``backend`` may not run that region; None if it may."""
        return self.why_not(backend) or self.why_not_region(key, ops)

    def why_not_region(self, key: str, ops: Collection[str]) -> str | None:
        """Why no kernel may run the region with the hash ``key`` and the operations ``ops``; None if one may."""
        found = next((name for name in self.regions if is_called(name, key, ops)), None)
        return None if found is None else f"switched off by `disable_regions` ({found})"


#: Everything may run.
NOTHING = Switches()


def is_called(name: str, key: str, ops: Collection[str]) -> bool:
    """True if ``name`` stands for the region with the hash ``key`` and the operations ``ops``."""
    return name in ops or (len(name) >= NAME_DIGITS and key.startswith(name))


def checked_names(what: str, names: Iterable[str] | None) -> tuple[str, ...]:
    """``names``, given as ``what``, without repetitions; none for None."""
    if isinstance(names, str):
        raise TypeError(f"`{what}` must be a sequence of names, got the string {names!r}; write [{names!r}]")
    if names is not None and not isinstance(names, Iterable):
        raise TypeError(f"`{what}` must be a sequence of names, got {names!r}; leave it out to switch nothing off")
    held: tuple[Any, ...] = tuple(names or ())
    for name in held:
        if not isinstance(name, str) or not name.strip():
            raise TypeError(f"`{what}` must hold names, got {name!r}; write them as `explain` prints them")
    return tuple(dict.fromkeys(held))


_IN_FORCE = jax.make_user_context(NOTHING)


def in_force() -> Switches:
    """The switches of this thread, those of the process if it has none of its own."""
    return _IN_FORCE.value


def throw(switches: Switches) -> None:
    """Set the switches of the process."""
    _IN_FORCE.set_global(switches)


@contextmanager
def also(switches: Switches) -> Iterator[None]:
    """``switches`` beside those that are in force, in this thread."""
    with _IN_FORCE(in_force() | switches):
        yield
