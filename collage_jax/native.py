"""What every native module needs of JAX."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

import jax


@contextmanager
def short_spinning() -> Iterator[None]:
    """Have GNU's OpenMP, which reads this once when it is loaded, let idle threads spin for about 10 us only.

    Its default is 3 ms. That holds a core that XLA's own threads want after the call, and on a busy machine it also
    keeps the threads that are waited for from running. 10 us is longer than the gap between two calls in a row.
    """
    if "GOMP_SPINCOUNT" in os.environ or "OMP_WAIT_POLICY" in os.environ:  # the user has decided
        yield
        return
    os.environ["GOMP_SPINCOUNT"] = "1000"
    try:
        yield
    finally:
        del os.environ["GOMP_SPINCOUNT"]  # child processes are not ours to configure


def register(module: ModuleType) -> None:
    """Make the FFI targets of ``module`` known to JAX. Creates JAX's CPU client."""
    # JAX queues what is registered before the CPU client exists and then hands it targets first, which fails for a
    # target with state. So the client comes first, then the type, then the target.
    jax.local_devices(backend="cpu")
    for name, stages in module.type_registrations().items():
        jax.ffi.register_ffi_type(name, stages, platform="cpu")
    for name, stages in module.registrations().items():
        jax.ffi.register_ffi_target(name, stages, platform="cpu")
