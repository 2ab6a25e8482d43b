"""Engines: built once for a region, a library and a GPU, kept in memory and in a folder of the cache directory.

An engine's *name* is a hash of all that it is made from, equal in every process. Weights are inputs, so that an engine
holds none and one serves all regions that do equal work.
"""

from __future__ import annotations

import hashlib
import threading
from contextlib import suppress
from functools import cache
from pathlib import Path

from ... import target
from ...config import config
from ...database.location import cache_directory
from ...graph.canonical import region_text
from ...graph.region import Region
from ...whole_file import replacing
from .library import Library
from .network import network_of
from .tensors import Network, Refused

_FOLDER = "tensorrt"
_DIGEST = hashlib.sha256

_lock = threading.Lock()
_built: dict[str, bytes] = {}


def name_of(library: Library, sm: int, region: Region) -> str:
    """Where the engine for ``region`` is known: the package, the GPU, and a hash of these and of what is computed."""
    # TensorRT proper builds on the GPU at hand, and for that model.
    gpu = target.current().gpu
    model = "" if library.builds_ahead or gpu is None else gpu.name
    parts = (library.name, library.version, f"sm_{sm}", model, source_version(), region_text(region))
    made_from = "\n".join(parts)
    return f"{library.name}/sm_{sm}/{_DIGEST(made_from.encode()).hexdigest()[:32]}"


def engine_of(library: Library, sm: int, region: Region) -> tuple[str, bytes]:
    """The name and the serialized engine for ``region``, built if there is none. Raises ``Refused``."""
    name = name_of(library, sm, region)
    plan = stored(name)
    if plan is None:
        plan = build(network_of(library, sm, region))
        with _lock:
            _built[name] = plan
        _write(name, plan)
    return name, plan


def stored(name: str) -> bytes | None:
    """The engine of that name in memory or in the folder; None if there is none, or only a damaged one."""
    with _lock:
        if name in _built:
            return _built[name]
    path = path_of(name)
    if path is None:
        return None
    try:
        content = path.read_bytes()
    except OSError:
        return None
    size = _DIGEST().digest_size
    digest, plan = content[:size], content[size:]
    if _digest(name, plan) != digest:
        return None
    with _lock:
        return _built.setdefault(name, plan)


def path_of(name: str) -> Path | None:
    """The file of the engine: a digest of its name and itself, then the engine. None if nothing is kept on disk."""
    directory = cache_directory(config.cache_dir)
    return None if directory is None else directory / _FOLDER / f"{name.replace('/', '-')}.engine"


def build(network: Network) -> bytes:
    """``network`` as a serialized engine. Raises ``Refused`` with the library's reason where it has no kernels."""
    library, module = network.library, network.library.module
    with library.building:
        library.errors.clear()
        settings = library.builder.create_builder_config()
        if not network.rounds_to_tf32:
            settings.clear_flag(module.BuilderFlag.TF32)
        if hasattr(module.BuilderFlag, "STRICT_NANS"):
            settings.set_flag(module.BuilderFlag.STRICT_NANS)
        if library.builds_ahead:
            settings.num_compute_capabilities = 1
            settings.set_compute_capability(library.capability(network.sm), 0)
        made = library.builder.build_serialized_network(network.definition, settings)
        if made is None:
            raise Refused(f"{library.title} builds no engine: {library.last_error()}")
        return bytes(made)


@cache
def source_version() -> str:
    """A hash of this backend's own code: other code may build another engine for the same region."""
    code = _DIGEST()
    for path in sorted(Path(__file__).parent.rglob("*.py")):
        code.update(path.read_bytes())
    return code.hexdigest()[:12]


def _digest(name: str, plan: bytes) -> bytes:
    """Another one for the file of another engine, so that none is taken for this one."""
    return _DIGEST(name.encode() + plan).digest()


def _write(name: str, plan: bytes) -> None:
    """All or nothing, beside what other processes may read; one that cannot be kept is built again."""
    path = path_of(name)
    if path is None:
        return
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as file:
            file.write(_digest(name, plan) + plan)
