"""What the backends with kernels of our own share: one operation with what is fused to it, by one native module each.

*work*: what one call of the kernels does; it begins with an anchor node and grows along what follows.
"""

from __future__ import annotations

import threading
from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from math import inf, isnan
from types import ModuleType
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
from jax import lax

from ..ffi import native
from ..graph.ir import Constant, Graph, Node, Value
from ..graph.origins import Inside
from ..graph.region import Region
from .base import Backend, PreparedKernel, Proposal, Unsupported


class Work(Protocol):
    """What a call does: the nodes it stands for, and the value that the last of them makes."""

    @property
    def nodes(self) -> tuple[Node, ...]: ...
    @property
    def result(self) -> Value: ...
    @property
    def label(self) -> str: ...


R = TypeVar("R")
W = TypeVar("W", bound=Work)


class NativeKernels(Backend, Generic[R]):
    """A backend of one native module, ``extension``, which runs what it reads in a region."""

    kind = "kernel-library"
    platforms = ("cpu",)
    deterministic = True
    extension: str

    @abstractmethod
    def read(self, region: Region) -> R | Unsupported:
        """What all nodes of ``region`` are to the kernels."""

    @abstractmethod
    def kernel(self, module: ModuleType, work: R, region: Region) -> Callable[..., Any]:
        """As ``emit``."""

    def module(self) -> ModuleType | Unsupported:
        """The native module, or the reason why it cannot be used."""
        return load(self.extension)

    def available(self) -> Unsupported | None:
        module = self.module()
        return module if isinstance(module, Unsupported) else None

    def version(self) -> str:
        module = self.module()
        if isinstance(module, Unsupported):
            return ""
        return f"{module.version()}/{module.instruction_set()}/{module.threads()}t"

    def supports(self, region: Region) -> Unsupported | None:
        work = self.read(region)
        return work if isinstance(work, Unsupported) else None

    def emit(self, region: Region) -> Callable[..., Any]:
        module, work = self.module(), self.read(region)
        for missing in (module, work):
            if isinstance(missing, Unsupported):
                raise ValueError(f"{self.name} cannot run {region}: {missing.reason}")
        assert isinstance(module, ModuleType) and not isinstance(work, Unsupported)
        return self.kernel(module, work, region)


class OwnKernels(NativeKernels[W]):
    """One operation with what is fused to it. ``anchors`` are the operations that work begins with."""

    anchors: frozenset[str]

    @abstractmethod
    def plan(self, node: Node) -> W | Unsupported:
        """The work for an anchor alone."""

    @abstractmethod
    def extend(self, graph: Graph, work: W, inside: Inside) -> W | None:
        """``work`` with the one node that reads its result, or None if it cannot be."""

    def preceded(self, graph: Graph, work: W, inside: Inside) -> W | None:
        """``work`` with what only makes its source, or None if it cannot be."""
        return None

    @abstractmethod
    def prepared_kernel(
        self, module: ModuleType, work: W, region: Region, frozen: frozenset[Value]
    ) -> PreparedKernel | None:
        """As ``emit_frozen``."""

    def propose(self, graph: Graph) -> Iterable[Proposal]:
        for node in filter(self._is_anchor, graph.nodes):
            work = self.plan(node)
            if isinstance(work, Unsupported):
                yield Proposal((node,), node.op, refused=work)
                continue
            for first in filter(None, (work, self.preceded(graph, work, _may_be_inside))):
                for longer in self._prefixes(graph, first):
                    yield Proposal(longer.nodes, longer.label)

    def emit_frozen(self, region: Region, frozen: frozenset[Value]) -> PreparedKernel | None:
        module, work = self.module(), self.read(region)
        if isinstance(module, Unsupported) or isinstance(work, Unsupported):
            return None
        return self.prepared_kernel(module, work, region, frozen)

    def read(self, region: Region) -> W | Unsupported:
        """The one piece of work that all nodes of ``region`` are."""
        anchors = [node for node in region.nodes if self._is_anchor(node)]
        if not anchors:
            return Unsupported(f"no operation here starts a call of {self.name}: {', '.join(region.ops)}")
        inside = set(region.nodes)
        work = self.plan(anchors[0])
        if isinstance(work, Unsupported):
            return work
        work = self.preceded(region.graph, work, inside.__contains__) or work
        while len(work.nodes) < len(inside):
            longer = self.extend(region.graph, work, inside.__contains__)
            if longer is None:
                left = ", ".join(node.op for node in region.nodes if node not in work.nodes)
                return Unsupported(f"{left} cannot be done in the same call")
            work = longer
        if region.exits != (work.result,):
            return Unsupported(f"values inside are used outside: {', '.join(map(repr, region.exits))}")
        return work

    def _is_anchor(self, node: Node) -> bool:
        # Under shape polymorphism sizes are expressions, of which no plan can be built.
        sizes = (n for v in (*node.inputs, *node.outputs) for n in v.shape)
        return node.op in self.anchors and not node.barrier and all(isinstance(n, int) for n in sizes)

    def _prefixes(self, graph: Graph, work: W) -> Iterator[W]:
        longer: W | None = work
        while longer is not None:
            yield longer
            longer = self.extend(graph, longer, _may_be_inside)


def refused_arrays(node: Node) -> Unsupported | None:
    """Why the kernels cannot run ``node``, a product or convolution, for its dtypes, sizes or precision."""
    lhs, rhs = node.inputs
    if isinstance(lhs, Constant) or isinstance(rhs, Constant):
        return Unsupported("an operand is a scalar of the program")
    if any(v.dtype != np.float32 for v in (lhs, rhs, node.out)):
        return Unsupported(f"the kernels take float32, got {lhs.dtype} and {rhs.dtype} giving {node.out.dtype}")
    if 0 in (lhs.size, rhs.size, node.out.size):
        return Unsupported(f"an array is empty: {lhs.shape}, {rhs.shape} giving {node.out.shape}")
    for precision in precisions(node):
        if precision is not None and not isinstance(precision, lax.Precision):
            return Unsupported(f"a particular algorithm is asked for, {precision}")
    if node.params.get("out_sharding") is not None:
        return Unsupported("the result's sharding is prescribed")
    return None


def bounds(node: Node, value: Value) -> tuple[str, float, float] | None:
    """What ``node`` is called that keeps ``value`` at least at a number and at most at another, and the two.

    None for any other node, and if a number is NaN or not one of the program.
    """
    if node.op in ("relu", "relu6"):
        return node.op, 0.0, inf if node.op == "relu" else 6.0
    if node.op == "clip":
        low, high = float(node.params["min"]), float(node.params["max"])
    elif node.op == "clamp" and node.inputs[1] is value:
        first, _, last = node.inputs
        if not isinstance(first, Constant) or not isinstance(last, Constant):
            return None
        low, high = float(np.asarray(first.val)), float(np.asarray(last.val))
    else:
        return None
    return None if isnan(low) or isnan(high) else ("clip", low, high)


def precisions(node: Node) -> tuple[Any, ...]:
    """What ``node`` asks for, for both operands or for each."""
    asked = node.params.get("precision")
    return asked if isinstance(asked, tuple) else (asked,)


def _may_be_inside(node: Node) -> bool:
    return not node.barrier


_lock = threading.Lock()


def load(extension: str) -> ModuleType | Unsupported:
    """The native module of that name, or the reason why it cannot be used. Creates JAX's CPU client."""
    with _lock:
        return _load(extension)


@cache
def _load(extension: str) -> ModuleType | Unsupported:
    try:
        module = native.extension(extension)
    except ImportError as error:
        return Unsupported(f"its extension cannot be imported: {error}{native.hint()}")
    if not module.instruction_set():
        return Unsupported("there are kernels for processors with AVX2 and FMA, or with AVX-512, and this has neither")
    native.register(module)
    return module
