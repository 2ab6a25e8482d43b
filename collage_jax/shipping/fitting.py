"""Whether what a file needs is here: backends in the versions that it was made with, and foreign functions."""

from __future__ import annotations

import re

from ..backends import registry
from ..ffi import program
from ..placement import Placement
from ..switches import in_force
from .manifest import Signature

#: Of a backend's version: how many threads it has. Kernels that were made for so many say so when they are built.
_THREADS = re.compile(r"/\d+t$")


def switched_off(placement: Placement) -> str | None:
    """Why the switches in force leave nothing, or not all, to the kernels of ``placement``; None if they leave it."""
    for region in placement.regions:
        if region.backend == registry.REFERENCE:
            continue
        why = in_force().bars(region.backend, region.key, region.ops)
        if why is None and in_force().deterministic:
            why = registry.why_may_vary(registry.get(region.backend))
        if why is not None:
            return why
    return None


def why_not(signature: Signature) -> str | None:
    """Why the kernels of ``signature`` cannot run here; None if, as far as is known before they are built, they can.

    Loads the libraries that they need, and makes their calls known to JAX.
    """
    for name, made_with in signature.backends.items():
        try:
            backend = registry.get(name)
        except ValueError:
            return f"there is no backend called {name!r} here"
        if (why := registry.why_unavailable(backend)) is not None:
            return f"{name} cannot be used here: {why}"
        here = backend.version()
        if _THREADS.sub("", here) != _THREADS.sub("", made_with):
            return f"it was made with {name} {made_with}, here is {here}"
    program.register_steps()
    return None
