"""Products of matrices, batches of them, vectors and outer products: any ``dot_general``.

    src (batch..., M, K) x wei (batch..., K, N) -> dst (batch..., M, N)

Several contracted or free axes become one dimension where they lie in one row in memory; otherwise the operand is
transposed by JAX first. Transposes next to the product are expressed by strides.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Any

from ...graph.ir import Constant, Graph, Node, Value
from ...graph.strides import row_major
from ..base import Unsupported
from .call import Call, Operand
from .memory import Groups, Memory, dtype_name, swap_last
from .sliding import unsupported_precision
from .views import View

_MOST_DIMS = 6


@dataclass(frozen=True)
class _Axes:
    """Axes of one operand: batch, free and contracted, the first and last in the order shared with the other."""

    batch: tuple[int, ...]
    free: tuple[int, ...]
    contracted: tuple[int, ...]

    def groups(self, collapse_batch: bool, contracted_last: bool) -> Groups:
        batch = (self.batch,) if collapse_batch else tuple((a,) for a in self.batch)
        return (*batch, self.free, self.contracted) if contracted_last else (*batch, self.contracted, self.free)


def before(graph: Graph, node: Node) -> tuple[Node, ...]:
    """Transposes that only feed this product."""
    makers = (graph.producer.get(v) for v in dict.fromkeys(node.inputs))
    return tuple(m for m in makers if m is not None and m.op == "transpose" and graph.only_user(m.out) is node)


def after(graph: Graph, node: Node) -> Node | None:
    """The transpose that alone reads this product."""
    user = graph.only_user(node.out)
    return user if user is not None and user.op == "transpose" else None


def plan(graph: Graph, node: Node, absorbed: frozenset[Node]) -> Call | Unsupported:
    """The call for a ``dot_general``; ``absorbed`` are the transposes around it that strides shall express."""
    refusal = _refusal(node)
    if refusal is not None:
        return refusal
    lhs_view, rhs_view = (_seen(graph, v, absorbed) for v in node.inputs)
    (lhs_contracted, rhs_contracted), (lhs_batch, rhs_batch) = node.params["dimension_numbers"]
    lhs = _axes(lhs_view, lhs_batch, lhs_contracted)
    rhs = _axes(rhs_view, rhs_batch, rhs_contracted)
    collapse = len(lhs.batch) + 2 > _MOST_DIMS
    lhs, rhs = _ordered(lhs_view, lhs, rhs_view, rhs, collapse)
    left = _operand(lhs_view, lhs, collapse, contracted_last=True)
    right = _operand(rhs_view, rhs, collapse, contracted_last=False)

    last = after(graph, node)
    last = last if last in absorbed else None
    result = node.out if last is None else last.out
    groups = _result_groups(lhs, rhs, collapse, last)
    dst = View.of(result).memory(groups)
    if dst is None:
        return Unsupported(f"strides cannot express the transposed result {result} with dimensions {groups}")
    nodes = (*lhs_view.nodes, *(n for n in rhs_view.nodes if n not in lhs_view.nodes), node, *((last,) if last else ()))
    if dst.strides[-1] != 1 and dst.strides[-2] == 1:
        # A column-major result is the row-major result of the product with sides exchanged.
        left, right = _swapped(right), _swapped(left)
        dst, groups = dst.swap_last(), swap_last(groups)
    left, right = (replace(o, memory=_unambiguous(o.memory)) for o in (left, right))
    if _repeats_last(left.memory):
        return Unsupported(
            f"oneDNN makes NaN of infinities where batches lie in turn, got an odd {left.memory.dims[-1]} terms"
        )
    dst = _adjoining(dst)
    return Call(
        op="matmul",
        labels=tuple("matmul" if n is node else "transpose" for n in nodes),
        nodes=nodes,
        result=result,
        sources=(("src", left),),
        dst=dst,
        groups=groups,
        weights=right,
        bias_dim=len(groups) - 1,
        fuses=True,
    )


def _seen(graph: Graph, value: Value, absorbed: frozenset[Node]) -> View:
    node = graph.producer.get(value)
    if node is not None and node.op == "transpose" and node in absorbed:
        return View.of(node.inputs[0]).transposed(node)
    return View.of(value)


def _axes(view: View, batch: Sequence[int], contracted: Sequence[int]) -> _Axes:
    batch, contracted = tuple(int(a) for a in batch), tuple(int(a) for a in contracted)
    return _Axes(batch, tuple(a for a in range(len(view.sizes)) if a not in (*batch, *contracted)), contracted)


def _ordered(lhs_view: View, lhs: _Axes, rhs_view: View, rhs: _Axes, collapse: bool) -> tuple[_Axes, _Axes]:
    """Contracted pairs in an order that lets both operands stay as they are, if there is one."""
    pairs = list(zip(lhs.contracted, rhs.contracted, strict=True))
    if not pairs:
        return lhs, rhs
    by_stride = sorted(pairs, key=lambda p: -lhs_view.strides[p[0]])
    for order in (by_stride, sorted(pairs, key=lambda p: -rhs_view.strides[p[1]])):
        lhs_axes, rhs_axes = zip(*order, strict=True)
        left, right = replace(lhs, contracted=lhs_axes), replace(rhs, contracted=rhs_axes)
        if lhs_view.memory(left.groups(collapse, True)) and rhs_view.memory(right.groups(collapse, False)):
            return left, right
    lhs_axes, rhs_axes = zip(*by_stride, strict=True)
    return replace(lhs, contracted=lhs_axes), replace(rhs, contracted=rhs_axes)


def _operand(view: View, axes: _Axes, collapse: bool, contracted_last: bool) -> Operand:
    groups = axes.groups(collapse, contracted_last)
    memory = view.memory(groups)
    if memory is not None:
        return Operand(memory, (view.value,))
    # Out of place: batch, then the two matrix dimensions, each in one row. Transposes seen through are made up for.
    permutations = [[int(p) for p in node.params["permutation"]] for node in view.nodes]
    order = [a for group in groups for a in group]
    dims = tuple(prod(view.sizes[a] for a in group) for group in groups)
    dtype = dtype_name(view.value.dtype)
    assert dtype is not None

    def make(array: Any) -> Any:
        for permutation in permutations:
            array = array.transpose(permutation)
        return array.transpose(order).reshape(dims)

    return Operand(Memory(dtype, dims, row_major(dims)), (view.value,), make)


def _unambiguous(memory: Memory) -> Memory:
    """A column of stride 1 as a column-major matrix.

    As a row-major one its last stride would be 1 too, which the library's products without generated code take for a
    transposed matrix with rows too short, and fail.
    """
    (rows, columns), (row_stride, _) = memory.dims[-2:], memory.strides[-2:]
    if columns > 1 or rows == 1 or row_stride != 1:
        return _whole_rows(memory)
    return replace(memory, strides=(*memory.strides[:-1], rows))


def _whole_rows(memory: Memory) -> Memory:
    """A lone row at the distance of a whole one from the next, which there is none of."""
    (rows, columns), (row_stride, stride) = memory.dims[-2:], memory.strides[-2:]
    if rows > 1 or row_stride >= columns * stride:
        return memory
    return replace(memory, strides=(*memory.strides[:-2], columns * stride, stride))


def _repeats_last(memory: Memory) -> bool:
    """True where oneDNN 3.2, which multiplies pairs of bfloat16, takes the last of an odd number once more, times zero.

    It does so if batches of the left operand do not lie one after the other.
    """
    long = [s for n, s in zip(memory.dims[:-2], memory.strides, strict=False) if n > 1]
    inner = [s for n, s in zip(memory.dims[-2:], memory.strides[-2:], strict=True) if n > 1]
    return memory.dtype == "bf16" and memory.dims[-1] % 2 == 1 and bool(long and inner) and min(long) < max(inner)


def _adjoining(memory: Memory) -> Memory:
    """A lone row of a result right before the next one.

    oneDNN 3.2 orders dimensions by their strides. A lone row farther apart than batches it takes for one of these, and
    reads a vector that is repeated along it out of bounds.
    """
    (rows, columns), (row_stride, stride) = memory.dims[-2:], memory.strides[-2:]
    return replace(memory, strides=(*memory.strides[:-2], columns * stride if rows == 1 else row_stride, stride))


def _result_groups(lhs: _Axes, rhs: _Axes, collapse: bool, last: Node | None) -> Groups:
    counts = (len(lhs.batch), len(lhs.free), len(rhs.free))
    place = list(range(sum(counts)))
    if last is not None:
        permutation = [int(p) for p in last.params["permutation"]]
        place = [permutation.index(axis) for axis in place]
    batch, rest = place[: counts[0]], place[counts[0] :]
    lead = (tuple(batch),) if collapse else tuple((a,) for a in batch)
    return (*lead, tuple(rest[: counts[1]]), tuple(rest[counts[1] :]))


def _swapped(operand: Operand) -> Operand:
    return replace(operand, memory=operand.memory.swap_last())


def _refusal(node: Node) -> Unsupported | None:
    lhs, rhs = node.inputs
    if isinstance(lhs, Constant) or isinstance(rhs, Constant):
        return Unsupported("an operand is a scalar of the program")
    src, wei, dst = (dtype_name(v.dtype) for v in (lhs, rhs, node.out))
    if src is None or src != wei or dst not in (src, "f32"):
        return Unsupported(
            f"oneDNN products take float32 or bfloat16, got {lhs.dtype} and {rhs.dtype} giving {node.out.dtype}"
        )
    if lhs.size == 0 or rhs.size == 0:
        return Unsupported(f"an array is empty: {lhs.shape} and {rhs.shape}")
    return unsupported_precision(node)


ANCHORS = {"dot_general": plan}
