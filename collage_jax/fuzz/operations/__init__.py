"""Random statements, by family."""

from __future__ import annotations

from collections.abc import Callable

from ..builder import Builder
from . import (
    attention_motifs,
    calls,
    control,
    elementwise,
    image_motifs,
    indexing,
    linear_algebra,
    motifs,
    products,
    reductions,
    shapes,
    sorting,
    windows,
)

Operation = Callable[[Builder], None]

_SINGLE = (elementwise, reductions, products, windows, shapes, indexing, sorting, linear_algebra, control, calls)
_MOTIFS = (motifs, image_motifs, attention_motifs)

#: Single operations, and motifs that kernels are written for, each with its weight.
SINGLE: dict[Operation, float] = {made: weight for each in _SINGLE for made, weight in each.OPERATIONS.items()}
MOTIFS: dict[Operation, float] = {made: weight for each in _MOTIFS for made, weight in each.OPERATIONS.items()}
#: Those that hold functions with statements of their own.
HOLDERS = frozenset([*control.OPERATIONS, *calls.OPERATIONS])
