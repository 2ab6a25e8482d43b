"""What the example trains."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Task:
    """``step(state, *batch) -> (state, loss)`` is pure; ``state`` is a pytree of arrays.

    ``init(seed)`` gives the first state, ``batches(seed)`` an endless iterator over tuples of NumPy arrays.
    """

    name: str
    title: str
    init: Callable[[int], Any]
    step: Callable[..., tuple[Any, Any]]
    batches: Callable[[int], Iterator[tuple[Any, ...]]]
