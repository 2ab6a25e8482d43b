"""OpenVINO: whole subgraphs as models of its own, run by its CPU plugin on XLA's buffers.

library        the installed package, or the reason why there is none
tensors        values with their axes in any order, and what brings them to another
convert        from operations of a program to those of a model
model          region -> the text of a model
"""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

import jax
import numpy as np

from ...graph.ir import Node, Value
from ...graph.region import Region
from ..base import Backend, PreparedKernel, Unsupported
from .library import PREPARE, TARGET, load, package, threads, version
from .model import Text, convert, convert_node, text_of
from .tensors import Refused


class OpenVINO(Backend):
    """Subgraphs of what OpenVINO has operations for, in float32. Frozen operands are constants of the model."""

    name = "openvino"
    kind = "graph-runtime"
    platforms = ("cpu",)

    def available(self) -> Unsupported | None:
        return load()

    def version(self) -> str:
        return version()

    def takes(self, node: Node) -> Unsupported | bool | None:
        return _refusal(lambda package: convert_node(package, node))

    def supports(self, region: Region) -> Unsupported | None:
        return _refusal(lambda package: convert(package, region))

    def emit(self, region: Region) -> Callable[..., Any]:
        text = _text(region, frozenset())
        results = _results(region)
        return lambda *arrays: _call(TARGET, results, text, *arrays)

    def emit_frozen(self, region: Region, frozen: frozenset[Value]) -> PreparedKernel | None:
        text = _text(region, frozen)
        results = _results(region)
        token = jax.ShapeDtypeStruct((16,), np.uint8)

        def prepare(*weights: Any) -> tuple[Any, ...]:
            # The weights go along, so that the model can be made again wherever the token is not known.
            return (_call(PREPARE, token, text, *weights), *weights)

        return PreparedKernel(prepare, lambda *arrays: _call(TARGET, results, text, *arrays))


def _refusal(attempt: Callable[[ModuleType], object]) -> Unsupported | None:
    """Why ``attempt`` does not succeed, None if it does."""
    found = package()
    if isinstance(found, Unsupported):
        return found
    try:
        attempt(found)
    except Refused as reason:
        return Unsupported(str(reason))
    except RuntimeError as error:  # what OpenVINO itself does not accept
        return Unsupported(f"OpenVINO: {str(error).strip().splitlines()[-1]}")
    return None


def _text(region: Region, frozen: frozenset[Value]) -> Text:
    found = package()
    if isinstance(found, Unsupported):
        raise ValueError(f"no model can be made of {region}: {found.reason}")
    return text_of(found, region, frozen, threads())


def _results(region: Region) -> list[jax.ShapeDtypeStruct]:
    return [jax.ShapeDtypeStruct(value.shape, value.dtype) for value in region.exits]


def _call(target: str, results: Any, text: Text, *arrays: Any) -> Any:
    call = jax.ffi.ffi_call(target, results)
    return call(*arrays, model=text.model, literals=text.literals, arrays=text.arrays)


BACKEND = OpenVINO()
