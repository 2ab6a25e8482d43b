"""How a kernel is launched: how many threads, how much shared memory and which scalars, for one match."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from ..patterns.matcher import Match

#: A number, one to three numbers, or a function of the match that gives them.
Size: TypeAlias = int | Sequence[int] | Callable[[Match], int | Sequence[int]]
Bytes: TypeAlias = int | Callable[[Match], int]
Scalars: TypeAlias = Sequence[np.generic] | Callable[[Match], Sequence[np.generic]]


@dataclass(frozen=True)
class Launch:
    """``grid`` and ``block`` have three sizes, ``shared`` is in bytes, ``scalars`` are the kernel's last parameters."""

    grid: tuple[int, int, int]
    block: tuple[int, int, int]
    shared: int
    scalars: tuple[np.generic, ...]


@dataclass(frozen=True, eq=False)
class Sizes:
    """The launch of a kernel as its author gave it."""

    grid: Size
    block: Size
    shared: Bytes = 0
    scalars: Scalars = ()

    def __post_init__(self) -> None:
        for what, given in (("grid", self.grid), ("block", self.block)):
            if not callable(given) and min(_three(what, given)) < 1:
                raise ValueError(f"`{what}` must hold sizes of at least 1, got {given!r}; leave out what is not needed")
        if not callable(self.shared):
            _whole("shared", self.shared)
        if not callable(self.scalars):
            _typed(self.scalars)

    def of(self, match: Match) -> Launch:
        """The launch for ``match``. Raises what the author's functions do, ``TypeError`` for what is no size."""
        grid, block, shared, scalars = (
            given(match) if callable(given) else given for given in (self.grid, self.block, self.shared, self.scalars)
        )
        return Launch(_three("grid", grid), _three("block", block), _whole("shared", shared), _typed(scalars))


def _three(what: str, given: Any) -> tuple[int, int, int]:
    sizes = tuple(given) if isinstance(given, (tuple, list)) else (given,)
    if not 1 <= len(sizes) <= 3:
        raise TypeError(f"a {what} has one to three sizes, got {given!r}; write (x, y, z)")
    x, y, z = (*(_whole(what, size) for size in sizes), 1, 1)[:3]
    return x, y, z


def _whole(what: str, given: Any) -> int:
    if isinstance(given, bool) or not isinstance(given, (int, np.integer)):
        raise TypeError(f"`{what}` is in whole numbers, got {given!r}; divide with // and round up by -(-n // m)")
    return int(given)


def _typed(given: Any) -> tuple[np.generic, ...]:
    scalars = tuple(given) if isinstance(given, (tuple, list)) else (given,)
    for scalar in scalars:
        if not isinstance(scalar, np.generic):
            raise TypeError(
                f"scalars must have the dtypes of the parameters, got {scalar!r}; write np.int32(...) for int, "
                "np.float32(...) for float"
            )
    return scalars
