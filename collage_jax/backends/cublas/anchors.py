"""Which ``dot_general`` is a product of matrices, or a batch of them, and how its arrays lie.

Transposes and reshapes around it are expressed by strides where they can be. An operand whose axes lie in no such order
is transposed by XLA first.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice, permutations
from math import prod
from typing import Any

from jax import lax

from ...gpu.device import GpuDevice
from ...graph.ir import Constant, Graph, Node, Value
from ...graph.origins import Inside
from ...graph.strides import Strided, destinations, sources
from ..base import Unsupported
from ..own_kernels import precisions
from .product import DTYPES, Lying, Operand, Product

#: The compute capability from which on there are units for a dtype; the others run anywhere.
_SINCE = {"bfloat16": 80, "float16": 70}
_TF32_SINCE = 80

#: Rows, columns or matrices: the library counts them in 32 bits.
_MOST = (1 << 31) - 1

#: Orders of the contracted axes that are tried.
_ORDERS = 24


@dataclass(frozen=True)
class _Axes:
    """Axes of one operand; the batch and the contracted ones in the order shared with the other operand."""

    batch: tuple[int, ...]
    free: tuple[int, ...]
    contracted: tuple[int, ...]


def plan(graph: Graph, node: Node, inside: Inside, gpu: GpuDevice) -> Product | Unsupported:
    """The product that ``node`` is, its operands read as they lie before rearrangements that are ``inside``."""
    refusal = _refusal(node, gpu)
    if refusal is not None:
        return refusal
    lhs, rhs = node.inputs
    choices = [
        (_operand(graph, node, lhs, left, inside), _operand(graph, node, rhs, right, inside))
        for left, right in _axes(node)
    ]
    left, right = min(choices, key=lambda sides: sum(side.make is not None for side in sides))
    before = tuple(dict.fromkeys((*left.nodes, *right.nodes)))
    if {left.value, right.value} & {maker.out for maker in before}:  # one operand, which only one side can look through
        return plan(graph, node, lambda _: False, gpu)
    sizes = _sizes(node)
    if max(sizes) > _MOST:
        return Unsupported(f"cuBLASLt counts rows, columns and matrices in 32 bits, got {lhs!r} and {rhs!r}")
    layout = _layout(node, Strided.of(node.out))
    assert layout is not None
    return Product(
        anchor=node,
        nodes=(*before, node),
        labels=(*(maker.op for maker in before), "dot"),
        result=node.out,
        left=left,
        right=right,
        sizes=sizes,
        compute=_compute(node, gpu),
        **layout,
    )


def laid_out(graph: Graph, product: Product, inside: Inside) -> Product | None:
    """``product``, to which nothing is done yet, written as the next rearrangements of it want it, or None."""
    done = len(product.nodes) - product.nodes.index(product.anchor) - 1
    for seen in destinations(graph, product.anchor.out, inside):
        layout = _layout(product.anchor, seen) if len(seen.nodes) > done else None
        if layout is not None:
            nodes = seen.nodes[done:]
            return product.followed_by("+".join(node.op for node in nodes), nodes, **layout)
    return None


def contracted_axes(node: Node) -> tuple[frozenset[int], frozenset[int]]:
    """The axes of each operand that ``node`` sums over."""
    left, right = node.params["dimension_numbers"][0]
    return frozenset(map(int, left)), frozenset(map(int, right))


def _axes(node: Node) -> Iterator[tuple[_Axes, _Axes]]:
    """Of both operands, for several orders of the contracted axes."""
    contracted, batch = node.params["dimension_numbers"]
    pairs = sorted(zip(*(map(int, axes) for axes in contracted), strict=True))
    for order in islice(permutations(pairs), _ORDERS):
        sides = [
            _Axes(
                tuple(map(int, batch[side])),
                tuple(a for a in range(value.ndim) if a not in (*contracted[side], *batch[side])),
                tuple(pair[side] for pair in order),
            )
            for side, value in enumerate(node.inputs)
        ]
        yield sides[0], sides[1]


def _sizes(node: Node) -> tuple[int, int, int, int]:
    """Rows, columns, depth and batch."""
    lhs, rhs = node.inputs
    left, right = next(_axes(node))
    extents = ((lhs, left.free), (rhs, right.free), (lhs, left.contracted), (lhs, left.batch))
    rows, columns, depth, batch = (prod(value.shape[axis] for axis in axes) for value, axes in extents)
    return rows, columns, depth, batch


def _operand(graph: Graph, node: Node, value: Value, axes: _Axes, inside: Inside) -> Operand:
    found = None
    for seen in sources(graph, value, node, inside):
        lying = _lying(seen, axes.batch, axes.free, axes.contracted)
        if lying is not None and not isinstance(seen.value, Constant):
            found = Operand(seen.value, lying, seen.nodes)
    if found is not None:
        return found
    rows, depth = (prod(value.shape[axis] for axis in chosen) for chosen in (axes.free, axes.contracted))
    order = (*axes.batch, *axes.free, *axes.contracted)
    return Operand(value, Lying(False, depth, rows * depth), make=lambda array: array.transpose(order))


def _layout(node: Node, seen: Strided) -> dict[str, Any] | None:
    """How the product writes the result of ``node`` as ``seen`` has it, as fields of a product; None if it cannot."""
    left, _ = next(_axes(node))
    batch = range(len(left.batch))
    rows = range(len(batch), len(batch) + len(left.free))
    columns = range(rows.stop, node.out.ndim)
    for swapped, line, lines in ((False, columns, rows), (True, rows, columns)):
        lying = _lying(seen, batch, line, lines)
        if lying is not None and lying.free_fastest:
            return {"swapped": swapped, "leading": lying.leading, "stride": lying.stride}
    return None


def _lying(view: Strided, batch: Sequence[int], free: Sequence[int], contracted: Sequence[int]) -> Lying | None:
    """How the matrices of ``view`` lie, or None if the axes of neither side are one line in memory."""
    sizes = [prod(view.sizes[axis] for axis in axes) for axes in (batch, contracted, free)]
    seen = view.transposed((*batch, *contracted, *free)).reshaped(sizes)
    if seen is None:
        return None
    _, others, length = sizes
    stride, step_of_others, step = seen.strides
    if length > 1 and step == 1:
        return Lying(True, step_of_others if others > 1 else length, stride)
    if others > 1 and step_of_others == 1:
        return Lying(False, step if length > 1 else others, stride)
    if length == 1:
        return Lying(True, max(step_of_others, 1), stride)
    return Lying(False, step, stride) if others == 1 else None


def _compute(node: Node, gpu: GpuDevice) -> str:
    """In what the sums are computed; as XLA, float32 is rounded to TF32 unless the highest precision is asked for."""
    if node.out.dtype == "float64":
        return "f64"
    may_round = node.inputs[0].dtype == "float32" and lax.Precision.HIGHEST not in precisions(node)
    return "tf32" if may_round and gpu.sm >= _TF32_SINCE else "f32"


def _refusal(node: Node, gpu: GpuDevice) -> Unsupported | None:
    lhs, rhs = node.inputs
    if isinstance(lhs, Constant) or isinstance(rhs, Constant):
        return Unsupported("an operand is a scalar of the program")
    dtypes = operand, _, result = [str(value.dtype) for value in (lhs, rhs, node.out)]
    narrow = operand in ("float16", "bfloat16")
    if operand not in DTYPES or lhs.dtype != rhs.dtype or not (result == operand or (narrow and result == "float32")):
        return Unsupported(
            f"cuBLASLt is asked for products in {', '.join(DTYPES)}, or in float32 of narrower operands, got "
            f"{dtypes[0]} and {dtypes[1]} giving {result}"
        )
    if gpu.sm < _SINCE.get(operand, 0):
        needed, there = _SINCE[operand] / 10, gpu.sm / 10
        return Unsupported(f"{operand} takes a GPU of compute capability {needed}, {gpu.name} has {there}")
    if 0 in (lhs.size, rhs.size):
        return Unsupported(f"an array is empty: {lhs.shape} and {rhs.shape}")
    for precision in precisions(node):
        if precision is not None and not isinstance(precision, lax.Precision):
            return Unsupported(f"a particular algorithm is asked for, {precision}")
    if node.params.get("out_sharding") is not None:
        return Unsupported("the result's sharding is prescribed")
    return None
