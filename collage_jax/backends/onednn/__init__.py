"""oneDNN: one fused operation at a time, through one XLA custom call.

chains            graph -> proposals; region -> call
convolution, ...  an anchor node -> call
tail              call + what follows it -> longer call
implementation    call -> the form of it that the library runs best, or why it cannot
kernel            chosen call -> callable
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from ...graph.ir import Graph, Value
from ...graph.region import Region
from ..base import Backend, PreparedKernel, Proposal, Unsupported
from .chains import propose, read
from .implementation import Choice, choose
from .kernel import kernel, prepared_kernel
from .library import load


class OneDNN(Backend):
    """Convolutions, products, pooling, normalization, reductions and what is fused to them, in float32 and bfloat16."""

    name = "onednn"
    kind = "kernel-library"
    platforms = ("cpu",)
    #: In one environment, its makers say (https://github.com/uxlfoundation/oneDNN/issues/1443); the version names
    #: threads.
    deterministic = True

    def available(self) -> Unsupported | None:
        module = load()
        return module if isinstance(module, Unsupported) else None

    def version(self) -> str:
        module = load()
        return "" if isinstance(module, Unsupported) else module.version()

    def propose(self, graph: Graph) -> Iterable[Proposal]:
        return propose(graph)

    def supports(self, region: Region) -> Unsupported | None:
        choice = _choice(region, frozenset())
        return choice if isinstance(choice, Unsupported) else None

    def emit(self, region: Region) -> Callable[..., Any]:
        choice = _choice(region, frozenset())
        if isinstance(choice, Choice):
            return kernel(choice, region)
        raise ValueError(f"oneDNN cannot run {region}: {choice.reason}")

    def emit_frozen(self, region: Region, frozen: frozenset[Value]) -> PreparedKernel | None:
        choice = _choice(region, frozen)
        if isinstance(choice, Choice) and choice.is_packed:
            return prepared_kernel(choice, region, frozen)
        return None


def _choice(region: Region, frozen: frozenset[Value]) -> Choice | Unsupported:
    module = load()
    if isinstance(module, Unsupported):
        return module
    call = read(region)
    if isinstance(call, Unsupported):
        return call
    packed = call.weights is not None and frozen.issuperset(call.weights.values)
    return choose(module, call, packed)


BACKEND = OneDNN()
