"""TensorRT: whole subgraphs as engines of its own, enqueued on XLA's stream and buffers. Has not run on a GPU.

library        the installed packages, TensorRT and TensorRT-RTX, and what they build for
tensors        values with their axes in any order, and what brings them to another
convert        from operations of a program to layers of a network
network        region -> network
engines        network -> engine, kept by its content
execution      engines as functions that compiled programs call
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ... import target
from ...graph.ir import Node
from ...graph.region import Region
from ..base import Backend, Unsupported
from . import engines, execution, library
from .network import check_node, network_of
from .tensors import Refused


class TensorRT(Backend):
    """Subgraphs of what TensorRT has layers for, in float32, float16 and bfloat16."""

    name = "tensorrt"
    kind = "graph-runtime"
    platforms = ("gpu",)

    def available(self) -> Unsupported | None:
        found = library.for_target()
        if isinstance(found, Unsupported):
            return found
        try:
            _ = found.builder
        except RuntimeError as error:
            return Unsupported(str(error))
        trampoline = execution.load()
        return trampoline if isinstance(trampoline, Unsupported) else None

    def missing(self) -> Unsupported | None:
        lacking = library.missing()
        trampoline = execution.load() if lacking is None else lacking
        return trampoline if isinstance(trampoline, Unsupported) else None

    def version(self) -> str:
        found = library.for_target()
        return "" if isinstance(found, Unsupported) else f"{found.title} {found.version} {engines.source_version()}"

    def takes(self, node: Node) -> Unsupported | bool | None:
        return _refusal(lambda found, sm: check_node(found, sm, node))

    def supports(self, region: Region) -> Unsupported | None:
        # Where building takes long, only a network is made, and an engine that cannot be built costs the candidate.
        return _refusal(lambda found, sm: (engines.engine_of if found.builds_ahead else network_of)(found, sm, region))

    def emit(self, region: Region) -> Callable[..., Any]:
        found, sm = _library_and_sm()
        if isinstance(found, Unsupported):
            raise ValueError(f"no engine can be made of {region}: {found.reason}")
        name, plan = engines.engine_of(found, sm, region)
        return execution.call(name, found, plan, region.exits)


def _library_and_sm() -> tuple[library.Library | Unsupported, int]:
    aim = target.current()
    return library.for_target(aim), 0 if aim.gpu is None else aim.gpu.sm


def _refusal(attempt: Callable[[library.Library, int], object]) -> Unsupported | None:
    """Why ``attempt`` does not succeed, None if it does."""
    found, sm = _library_and_sm()
    if isinstance(found, Unsupported):
        return found
    try:
        attempt(found, sm)
    except Refused as reason:
        return Unsupported(str(reason))
    except RuntimeError as error:  # what the library itself does not accept
        return Unsupported(f"{found.title}: {found.last_error() if found.errors else error}")
    return None


BACKEND = TensorRT()
