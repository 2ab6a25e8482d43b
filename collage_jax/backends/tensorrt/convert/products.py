"""Products of matrices, with any dimensions in common."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

from jax import lax

from ....graph.ir import Node, Value
from ...own_kernels import precisions
from ..tensors import FLOATS, Network, Refused, Tensor


def require_precision(network: Network, node: Node) -> None:
    """Refuse a product or convolution whose types or precision no layer has; keep TF32 from one that forbids it."""
    dtypes = [str(value.dtype) for value in (*node.inputs, node.out)]
    if not FLOATS.issuperset(dtypes):
        raise Refused(f"{node.op} is of floating-point numbers, got {', '.join(dtypes)}")
    for asked in precisions(node):
        if asked is not None and not isinstance(asked, lax.Precision):
            raise Refused(f"a particular algorithm is asked for, {asked}")
        if asked not in (None, lax.Precision.DEFAULT):
            network.rounds_to_tf32 = False


def widened(network: Network, node: Node, made: Any) -> Any:
    """An operand in the result's type, so that nothing is rounded on the way to it."""
    if any(str(value.dtype) == "float32" for value in node.inputs) and str(node.out.dtype) != "float32":
        raise Refused(f"a product of float32 that is made in {node.out.dtype} has no layer")
    return network.cast(made, node.out.dtype)


def _dot_general(network: Network, node: Node, inputs: Sequence[Tensor]) -> list[Tensor]:
    require_precision(network, node)
    if network.is_turing and str(node.out.dtype) == "float32":
        raise Refused(f"{network.library.title} multiplies matrices of float32 from sm_80 on")
    (contracting_l, contracting_r), (batch_l, batch_r) = node.params["dimension_numbers"]
    left, right = node.inputs
    free_l, free_r = _others(left, contracting_l, batch_l), _others(right, contracting_r, batch_r)
    x = _matrices(network, node, inputs[0], left, (batch_l, free_l, contracting_l))
    y = _matrices(network, node, inputs[1], right, (batch_r, contracting_r, free_r))
    plain = network.choice("MatrixOperation", "NONE")
    return [network.plain(network.reshaped(network.layer("matrix_multiply", x, plain, y, plain), node.out.shape))]


def _others(value: Value, *taken: Sequence[int]) -> tuple[int, ...]:
    held = {int(axis) for axes in taken for axis in axes}
    return tuple(axis for axis in range(value.ndim) if axis not in held)


def _matrices(network: Network, node: Node, tensor: Tensor, value: Value, axes: tuple[Sequence[int], ...]) -> Any:
    """``value`` with one dimension for each of the three groups of ``axes``; none for a batch that there is not."""
    batch, rows, columns = ([int(axis) for axis in group] for group in axes)
    ordered = network.ordered(network.full(tensor, value), (*batch, *rows, *columns)).made
    groups = (batch, rows, columns) if batch else (rows, columns)
    shaped = network.reshaped(ordered, [prod(value.shape[axis] for axis in group) for group in groups])
    return widened(network, node, shaped)


CONVERTERS = {"dot_general": _dot_general}
