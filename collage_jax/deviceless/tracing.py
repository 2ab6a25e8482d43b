"""Functions traced to be placed; kernels traced one at a time as they will be lowered, to find those that cannot be."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax

from ..backends.base import Backend
from ..candidates import Candidate
from ..costs import FAULTS, told
from ..graph.contents import equations
from .program import shape_of

#: What calls Python back. To lower it JAX asks the device, which is not here.
CALLBACKS = ("pure_callback", "io_callback", "debug_callback", "debug_print")


def apart(fun: Callable[..., Any]) -> Callable[..., Any]:
    """``fun`` as another function: JAX keeps traces by function, and in this one nothing is placed by itself."""

    @functools.wraps(fun, updated=())
    def called(*args: Any, **kwargs: Any) -> Any:
        return fun(*args, **kwargs)

    return called


def check_callbacks(closed: Any) -> None:
    """``ValueError`` for a closed jaxpr that calls Python back."""
    found = next((eqn.primitive.name for eqn in equations(closed) if eqn.primitive.name in CALLBACKS), None)
    if found is not None:
        raise ValueError(
            f"functions that call Python back can be lowered where their device is, got one with {found}; leave it out "
            "of what is placed for a GPU that is not here"
        )


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
