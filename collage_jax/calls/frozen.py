"""Sets of frozen arguments that were seen, and what was packed from them.

JAX arrays cannot change, so the same object means the same weights. NumPy arrays can: a copy is kept and compared by
content on every call. Of anything else that ``jax.jit`` takes nothing is known: it is never the same. Modules that come
again are not flattened again (``watching``).
"""

from __future__ import annotations

import operator
import threading
from collections.abc import Callable, Hashable
from typing import Any

import jax
import numpy as np

from .watching import SCALARS, UNCHANGING, Watch, watch

#: How many sets of frozen arguments a function keeps packed: enough to go back and forth between two models.
KEPT = 2


class FrozenSet:
    """One set of frozen arguments, with a program and prepared arrays for each key of the other arguments.

    ``only`` is the program with its arrays while there is just one.
    """

    def __init__(self, leaves: list[Any], tree: Any) -> None:
        self.kept = [_kept(leaf) for leaf in leaves]
        self.tree = tree
        self.only: tuple[Any, Any] | None = None
        self.watch: Watch | None = None
        self._watchable = all(isinstance(leaf, UNCHANGING) for leaf in leaves)
        self._last: list[int] = []
        self._served: dict[Hashable, tuple[Any, Any]] = {}
        self._lock = threading.RLock()  # what makes a program may trace the user's functions

    def holds(self, leaves: list[Any], tree: Any) -> bool:
        """True if ``leaves`` are the arguments of this set."""
        return tree == self.tree and (all(map(operator.is_, leaves, self.kept)) or all(map(_same, leaves, self.kept)))

    def meet(self, arguments: list[Any]) -> None:
        """``arguments`` are of this set. Once they are the same objects as the last time, watch them."""
        last, self._last = self._last, [*map(id, arguments)]
        if self._watchable and self._last == last:
            found = watch(arguments)
            self._watchable = found is not None
            if found is not None and self.holds(*jax.tree.flatten(arguments)):  # nobody changed them in between
                self.watch = found

    def get(self, key: Hashable) -> tuple[Any, Any] | None:
        """The program for ``key`` with what was prepared for it; None if there is none yet."""
        return self._served.get(key)

    def put(self, key: Hashable, make: Callable[[], tuple[Any, Any]]) -> tuple[Any, Any]:
        """The same, made now if there is none."""
        with self._lock:
            if key not in self._served:
                self._served[key] = make()
            self.only = self._served[key] if len(self._served) == 1 else None
            return self._served[key]


class FrozenSets:
    """The sets seen last, the latest first."""

    def __init__(self) -> None:
        self._sets: tuple[FrozenSet, ...] = ()
        self._lock = threading.Lock()

    def find(self, arguments: list[Any]) -> FrozenSet:
        """The set these arguments are, or a new one for them."""
        sets = self._sets
        found = next((s for s in sets if s.watch is not None and s.watch.holds(arguments)), None)
        if found is None:
            leaves, tree = jax.tree.flatten(arguments)
            found = sets[0] if sets and sets[0].holds(leaves, tree) else self._known_or_new(leaves, tree)
            found.meet(arguments)
        if self._sets[:1] != (found,):
            with self._lock:
                self._put_first(found)
        return found

    def _known_or_new(self, leaves: list[Any], tree: Any) -> FrozenSet:
        with self._lock:
            found = next((s for s in self._sets if s.holds(leaves, tree)), None) or FrozenSet(leaves, tree)
            self._put_first(found)
        return found

    def _put_first(self, found: FrozenSet) -> None:
        self._sets = (found, *(s for s in self._sets if s is not found))[:KEPT]


def _kept(leaf: Any) -> Any:
    """What later leaves are compared with: what cannot change, a copy of what can, or something equal to nothing."""
    if isinstance(leaf, np.ndarray):
        return leaf.copy()
    return leaf if isinstance(leaf, (jax.Array, *SCALARS)) else object()


def _same(leaf: Any, kept: Any) -> bool:
    """True for the same object, and for NumPy arrays and scalars of the same type and content."""
    if leaf is kept:
        return True
    if isinstance(leaf, np.ndarray):
        return isinstance(kept, np.ndarray) and _equal_bytes(leaf, kept)
    if not isinstance(leaf, SCALARS) or type(leaf) is not type(kept):
        return False
    return leaf == kept if isinstance(leaf, int) else _equal_bytes(np.asarray(leaf), np.asarray(kept))


def _equal_bytes(array: np.ndarray, copy: np.ndarray) -> bool:
    # By bytes, so that NaN equals itself and 0.0 is not -0.0.
    if array.shape != copy.shape or array.dtype != copy.dtype:
        return False
    if array.flags.c_contiguous and copy.flags.c_contiguous:
        return array.reshape(-1).view(np.uint8).data == copy.reshape(-1).view(np.uint8).data
    return array.tobytes() == copy.tobytes()
