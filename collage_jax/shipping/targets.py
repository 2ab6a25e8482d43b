"""Foreign functions that programs call by name: made known to JAX, and found in what was exported."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from jax.export import DisabledSafetyCheck

from .. import _compat
from ..backends import registry
from ..exporting import with_kernels
from ..ffi import native, program


def register_ffi_targets() -> tuple[str, ...]:
    """Make the FFI targets of every backend that can be used here known to JAX; their names.

    A process that calls what ``jax.export.deserialize`` gave has to do so first. ``collage_jax.load`` does it itself.
    """
    registry.usable(None)
    program.register_steps()
    return native.targets()


@contextmanager
def exporting() -> Iterator[tuple[DisabledSafetyCheck, ...]]:
    """Have ``jax.export`` take placed programs with their kernels, in this thread; else it takes the original.

    Gives what has to be passed to it::

        with collage_jax.exporting() as checks:
            exported = jax.export.export(decorated, disabled_checks=checks)(*args)

    Frozen arguments stay arguments, which each call packs: ``collage_jax.export`` packs them once.
    """
    checks = tuple(map(DisabledSafetyCheck.custom_call, register_ffi_targets()))
    with with_kernels():
        yield checks


def callable_targets() -> frozenset[str]:
    """What a program that came in a file may call: what JAX itself does, and what this process has registered.

    Not those that call Python through an object's address or number.
    """
    return _compat.stable_custom_calls() | {t for t in _compat.registered_custom_calls("cpu") if "python" not in t}
