"""Whether ``jax.export`` takes what was placed, or the original, which runs wherever JAX does."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import jax

# A context by which `jax.jit` tells its programs apart: what was lowered for the one is not taken for the other.
_WITH_KERNELS = jax.make_user_context(False)


def takes_kernels() -> bool:
    """True where what is exported holds this machine's kernels."""
    return bool(_WITH_KERNELS.value)


@contextmanager
def with_kernels() -> Iterator[None]:
    """Have ``jax.export`` take what was placed, in this thread."""
    with _WITH_KERNELS(True):
        yield
