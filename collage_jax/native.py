"""What every native module needs of JAX."""

from __future__ import annotations

from types import ModuleType

import jax


def register(module: ModuleType) -> None:
    """Make the FFI targets of ``module`` known to JAX. Creates JAX's CPU client."""
    # JAX queues what is registered before the CPU client exists and then hands it targets first, which fails for a
    # target with state. So the client comes first, then the type, then the target.
    jax.local_devices(backend="cpu")
    for name, stages in module.type_registrations().items():
        jax.ffi.register_ffi_type(name, stages, platform="cpu")
    for name, stages in module.registrations().items():
        jax.ffi.register_ffi_target(name, stages, platform="cpu")
