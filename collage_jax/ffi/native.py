"""What every native module needs of JAX."""

from __future__ import annotations

import importlib
import importlib.util
import os
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from types import ModuleType

import jax

#: Modules whose targets JAX knows.
_registered: dict[str, ModuleType] = {}

_ENVIRONMENT = {"OMP_WAIT_POLICY": "active", "GOMP_SPINCOUNT": "1000"}


@contextmanager
def short_spinning() -> Iterator[None]:
    """Have GNU's OpenMP, which reads this once when it is loaded, let idle threads spin for about 10 us.

    Its default is 3 ms. That holds a core that XLA's own threads want after the call, and on a busy machine it also
    keeps the threads that are waited for from running. 10 us is longer than the gap between two kernels in a row.
    Where it counts more threads than cores it lets them spin for 1 us only, unless waiting shall be active; it always
    does, for it counts a team for each of XLA's threads that ever made a call, though one team at a time works.
    """
    if _ENVIRONMENT.keys() & os.environ.keys():  # the user has decided
        yield
        return
    os.environ.update(_ENVIRONMENT)
    try:
        yield
    finally:
        for name in _ENVIRONMENT:  # child processes are not ours to configure
            del os.environ[name]


def extension(name: str) -> ModuleType:
    """The native module ``name`` of this package; a dot stands before one that lies inside an extension.

    Raises ``ImportError`` where it was not built.
    """
    outer, *inner = name.split(".")
    with short_spinning():
        module = importlib.import_module(f"collage_jax.{outer}")
    for part in inner:
        module = getattr(module, part)
    return module


def path_of(name: str) -> Path:
    """Where the native library ``name`` of this package lies; ``ImportError`` where it was not built."""
    spec = importlib.util.find_spec(f"collage_jax.{name}")
    if spec is None or spec.origin is None:
        raise ImportError(f"collage_jax.{name} was not built{hint()}")
    return Path(spec.origin)


def file_of(wheel: str, pattern: str) -> Path | None:
    """The first file of ``wheel`` that ``pattern`` matches; ``PackageNotFoundError`` where it is not installed."""
    file = next((file for file in metadata.files(wheel) or () if file.match(pattern)), None)
    return None if file is None else Path(str(file.locate())).resolve()


def hint() -> str:
    """What to do where an extension is missing, for the end of a message."""
    folder = Path(__file__).parents[1]
    if not (folder.parent / "setup.py").exists():
        return ""
    return f" ({folder} is a source tree: run Python in another folder, or `pip install -e .` in this one)"


def register(module: ModuleType, platform: str = "cpu") -> None:
    """Make the FFI targets of ``module`` known to JAX, for ``platform`` ("cpu" or "CUDA").

    Creates JAX's client of that platform if there is one; programs for CUDA can be compiled without.
    """
    # JAX queues what is registered before the client exists and then hands it targets first, which fails for a target
    # with state. So the client comes first, then the type, then the target.
    if platform == "cpu":
        jax.local_devices(backend="cpu")
    else:
        jax.local_devices()
    for name, stages in module.type_registrations().items():
        jax.ffi.register_ffi_type(name, stages, platform=platform)
    for name, stages in module.registrations().items():
        jax.ffi.register_ffi_target(name, stages, platform=platform)
    _registered[module.__name__.removeprefix("collage_jax.")] = module


def registered() -> dict[str, ModuleType]:
    """The modules whose targets JAX knows, by the name that ``extension`` has for them."""
    return dict(_registered)


def targets() -> tuple[str, ...]:
    """The FFI targets of this package that JAX knows."""
    return tuple(sorted(name for module in registered().values() for name in module.registrations()))
