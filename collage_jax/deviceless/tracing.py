"""Kernels traced one at a time as they will be lowered, so that those that cannot be are found."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax

from ..backends.base import Backend
from ..candidates import Candidate
from ..costs import FAULTS, told
from .program import shape_of


def callable_of(candidate: Candidate, backend: Backend) -> Callable[..., list[Any]]:
    """``candidate`` as a function of its region's entries, frozen ones prepared by each call; what lowering uses."""
    region, frozen = candidate.region, candidate.frozen
    prepared = backend.emit_frozen(region, frozen) if frozen else None
    emitted = backend.emit(region) if prepared is None else None

    def run(*entries: Any) -> list[Any]:
        if prepared is None:
            results = emitted(*entries)  # pyright: ignore[reportOptionalCall]
        else:
            pairs = list(zip(region.entries, entries, strict=True))
            made = prepared.prepare(*(array for value, array in pairs if value in frozen))
            results = prepared.run(*made, *(array for value, array in pairs if value not in frozen))
        return list(results) if isinstance(results, (tuple, list)) else [results]

    return run


def why_untraceable(candidate: Candidate, backend: Backend) -> str | None:
    """What goes wrong when ``candidate`` is traced; None if it gives arrays such as the region's exits."""
    try:
        found = jax.eval_shape(callable_of(candidate, backend), *(shape_of(v.aval) for v in candidate.region.entries))
    except FAULTS as error:
        return told(error)
    wanted = [(v.shape, str(v.dtype)) for v in candidate.region.exits]
    given = [(tuple(array.shape), str(array.dtype)) for array in found]
    return None if given == wanted else f"gives {_listed(given)} instead of {_listed(wanted)}"


def _listed(arrays: Sequence[tuple[tuple[int, ...], str]]) -> str:
    return ", ".join(f"{dtype}{list(shape)}" for shape, dtype in arrays) or "nothing"
