"""One call of the library: what it computes, on which arrays, and the one-line text the native side reads."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from math import inf
from typing import Any

from ...graph.ir import Node, Value
from .activations import RELU, Bounds, Gelu, text
from .memory import Groups, Memory, times


@dataclass(frozen=True, eq=False)
class Operand:
    """One array handed to the library: ``make(*arrays of values)``, or the only value itself."""

    memory: Memory
    values: tuple[Value, ...]
    make: Callable[..., Any] | None = None

    def array(self, env: Mapping[Value, Any]) -> Any:
        arrays = [env[v] for v in self.values]
        return arrays[0] if self.make is None else self.make(*arrays)


@dataclass(frozen=True, eq=False)
class PostOp:
    """Something done to the result before it is stored; ``text`` is its place in the spec."""

    kind: str
    detail: str
    operand: Operand | None = None

    def text(self) -> str:
        if self.kind == "binary":
            assert self.operand is not None
            return f"binary:{self.detail}:{self.operand.memory.text()}"
        return f"{self.kind}:{self.detail}"


@dataclass(frozen=True, eq=False)
class Call:
    """A call with the nodes it stands for.

    ``sources`` are named as in the spec (the same name twice makes a list); ``statistics`` follow them without being
    named there. ``groups`` gives for each logical dimension of ``dst`` the axes of ``result``, the value that the call
    makes. ``bias_dim`` is the logical dimension a bias may lie along. ``fuses``: post-ops may follow. ``guarded``: the
    library drops NaN and infinities, so that the call may only be made on a finite source.
    ``finish``: bounds put on the result, or a function of it, after everything else; NaN kept. ``gate``, in place of
    one: the result is 0 where that is not positive. ``joins``: see ``NativeCall``.
    """

    op: str
    labels: tuple[str, ...]
    nodes: tuple[Node, ...]
    result: Value
    sources: tuple[tuple[str, Operand], ...]
    dst: Memory
    groups: Groups
    keys: tuple[tuple[str, str], ...] = ()
    weights: Operand | None = None
    bias: Operand | None = None
    statistics: tuple[Operand, ...] = ()
    bias_dim: int | None = None
    fuses: bool = False
    guarded: bool = False
    post: tuple[PostOp, ...] = ()
    finish: Bounds | Gelu | None = None
    gate: Operand | None = None
    joins: tuple[int, ...] = ()

    @property
    def label(self) -> str:
        return "+".join(self.labels)

    @property
    def sum(self) -> PostOp | None:
        return next((p for p in self.post if p.kind == "sum"), None)

    @property
    def operands(self) -> tuple[Operand, ...]:
        """In the order of the call."""
        fixed = [operand for _, operand in self.sources]
        fixed += [operand for operand in (self.weights, self.bias) if operand is not None]
        binary = [p.operand for p in self.post if p.kind == "binary" and p.operand is not None]
        last = [self.sum.operand] if self.sum is not None and self.sum.operand is not None else []
        last += [self.gate] if self.gate is not None else []
        return (*fixed, *self.statistics, *binary, *last)

    def followed_by(self, label: str, nodes: tuple[Node, ...], *post: PostOp) -> Call:
        """This call with more done to its result; the last of ``nodes`` makes the new result."""
        labels, nodes_now = (*self.labels, label), (*self.nodes, *nodes)
        return replace(self, labels=labels, nodes=nodes_now, result=nodes[-1].out, post=(*self.post, *post))

    def unfinished(self) -> Call | None:
        """This call with its finish made a post-op, so that more can follow; None if there is no exact one."""
        if self.gate is not None:
            return None
        if self.finish is None:
            return self
        if self.finish != (0.0, inf):
            return None
        return replace(self, post=(*self.post, PostOp("eltwise", text(RELU))), finish=None)

    def without_sum(self) -> Call:
        """The same call with its residual read as a second tensor instead of accumulated into."""
        post = tuple(PostOp("binary", "add", p.operand) if p.kind == "sum" else p for p in self.post)
        return replace(self, post=post)


def spec(call: Call, weights: str = "plain", inner: bool = False) -> str:
    """The text of ``call``.

    ``weights``: ``"plain"`` as they are, ``"reorder"`` into the library's layout within each call, ``"packed"`` in it
    already. ``inner`` lets the library choose the layout of the data too, with changes of layout within the call.
    """
    return " ".join(_tokens(call, weights, inner))


def packing_spec(call: Call, consumer: str) -> str:
    """The text of the call that packs the weights of ``call`` for ``consumer``, its spec with packed weights."""
    assert call.weights is not None
    return f"{consumer.replace('op=', 'op=pack.', 1)} plain={times(call.weights.memory.strides)}"


def _tokens(call: Call, weights: str, inner: bool) -> Iterator[str]:
    yield f"op={call.op}"
    named: dict[str, list[str]] = {}
    for name, operand in call.sources:
        named.setdefault(name, []).append(operand.memory.text())
    for name, texts in named.items():
        yield f"{name}={','.join(texts)}"
    if call.weights is not None:
        memory = call.weights.memory
        yield f"wei={memory.shape_text()}:any" if weights == "packed" else f"wei={memory.text()}"
    if call.bias is not None:
        yield f"bia={call.bias.memory.text()}"
    yield f"dst={call.dst.text()}"
    for key, value in call.keys:
        yield f"{key}={value}"
    if weights == "reorder":
        yield "wei_reorder=1"
    if inner:
        yield "inner=any"
    if call.post:
        yield "post=" + "|".join(p.text() for p in call.post)
    if call.gate is not None:
        yield "finish=gate"
    elif isinstance(call.finish, str):
        yield f"finish={call.finish}"
    elif call.finish is not None:
        yield f"finish=clip:{call.finish[0]!r}:{call.finish[1]!r}"
