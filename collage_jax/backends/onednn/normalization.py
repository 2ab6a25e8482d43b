"""Softmax, layer normalization and batch normalization with given statistics."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod, sqrt
from typing import Any

import jax.numpy as jnp

from ...graph.ir import Constant, Graph, Node, Value
from ..base import Unsupported
from .activations import number
from .call import Call, Operand
from .memory import Groups, Memory, dtype_name
from .views import View


def plan_softmax(graph: Graph, node: Node, absorbed: frozenset[Node]) -> Call | Unsupported:
    """The call for a ``softmax`` or ``log_softmax``: the axes before and after its own are one dimension each."""
    refusal = _refusal(node, vectors=())
    if refusal is not None:
        return refusal
    axes = _axes(node)
    if len(axes) != 1:
        return Unsupported(f"oneDNN's softmax is over one axis, got {axes}")
    (axis,), ndim = axes, node.out.ndim
    groups: Groups = tuple((a,) for a in range(ndim))
    if ndim > 5:
        groups = (tuple(range(axis)), (axis,), tuple(range(axis + 1, ndim)))
        axis = 1
    keys = (("alg", node.op), ("axis", str(axis)))
    in_rows = axis == max((d for d, axes in enumerate(groups) if prod(node.out.shape[a] for a in axes) > 1), default=0)
    if in_rows:
        return _call(node, "softmax", groups, (*keys, ("keep_nan", "1")), fuses=True)
    return _call(node, "softmax", groups, keys, fuses=True, guarded=True)


def plan_layer_norm(graph: Graph, node: Node, absorbed: frozenset[Node]) -> Call | Unsupported:
    """The call for a ``layer_norm``.

    The library divides by sqrt(variance + epsilon) with the biased variance. An unbiased one is a factor on the scale
    and on epsilon.
    """
    axes = _axes(node)
    affine = _affine(node, 1)
    refusal = _refusal(node, [v for v in affine if v is not None])
    if refusal is not None:
        return refusal
    ndim = node.out.ndim
    size = 1
    for axis in axes:
        size *= node.out.shape[axis]
    if any(v is not None and v.size != size for v in affine):
        return Unsupported(f"scale and shift of {size} elements are needed, got {node.inputs[1:]}")
    epsilon, unbiased, outside = (node.params.get(k, d) for k, d in _LAYER_NORM_DEFAULTS)
    epsilon = float(epsilon)
    if outside and epsilon:
        return Unsupported(f"oneDNN adds epsilon to the variance, not to its root, got {epsilon} outside of it")
    if unbiased and size < 2:
        return Unsupported(f"an unbiased variance needs two elements, got {size}")
    ratio = (size - 1) / size if unbiased else 1.0
    inside = epsilon * ratio
    others = tuple(a for a in range(ndim) if a not in axes)
    scale, shift = affine
    flags = [name for name, on in (("scale", scale is not None or unbiased), ("shift", shift is not None)) if on]
    statistics = [_vector(size, () if scale is None else (scale,), sqrt(ratio))] if "scale" in flags else []
    statistics += [_vector(size, (shift,))] if shift is not None else []
    keys = (("eps", number(inside)), ("flags", "+".join(flags) or "none"))
    return _call(node, "layernorm", (others, tuple(axes)), keys, statistics)


_LAYER_NORM_DEFAULTS = (("epsilon", 1e-5), ("unbiased", False), ("epsilon_outside", False))


def plan_batch_norm(graph: Graph, node: Node, absorbed: frozenset[Node]) -> Call | Unsupported:
    """The call for a ``batch_norm`` (x, mean, variance, scale, shift)."""
    refusal = _refusal(node, node.inputs[1:])
    if refusal is not None:
        return refusal
    axes, ndim = _axes(node), node.out.ndim
    if len(axes) != 1 or ndim < 2:
        return Unsupported(f"oneDNN normalizes one channel axis of at least two, got {axes} of {ndim}")
    (axis,) = axes
    before, after = tuple(range(axis)), tuple(range(axis + 1, ndim))
    # The library's order is batch, channels, the rest; with channels last, the axes before are split among both.
    groups: Groups = (before, (axis,), after) if after else (before[:1], (axis,), before[1:])
    channels = node.out.shape[axis]
    if any(v.size != channels for v in node.inputs[1:]):
        return Unsupported(f"statistics of {channels} channels are needed, got {node.inputs[1:]}")
    scale, shift = _affine(node, 3)
    flags = [name for name, v in (("scale", scale), ("shift", shift)) if v is not None]
    statistics = [_vector(channels, (v,)) for v in node.inputs[1:]]
    keys = (("eps", number(node.params["epsilon"])), ("flags", "+".join(flags) or "none"))
    return _call(node, "batchnorm", groups, keys, statistics)


def _axes(node: Node) -> list[int]:
    axis = node.params["axis"]
    axes = axis if isinstance(axis, (tuple, list)) else (axis,)
    return sorted(int(a) % max(node.inputs[0].ndim, 1) for a in axes)


def _affine(node: Node, first: int) -> tuple[Value | None, Value | None]:
    """Scale and shift, which stand at ``first`` among the inputs if the node has them."""
    rest = iter(node.inputs[first:])
    scale = next(rest, None) if node.params.get("scale", True) else None
    return scale, next(rest, None) if node.params.get("shift", True) else None


def _vector(size: int, values: tuple[Value, ...], factor: float = 1.0) -> Operand:
    """A vector in single precision, times ``factor``; ones if it is made of no value."""

    def make(*arrays: Any) -> Any:
        vector = arrays[0].reshape(-1).astype(jnp.float32) if arrays else jnp.ones(size, jnp.float32)
        return vector if factor == 1.0 else vector * jnp.float32(factor)

    return Operand(Memory("f32", (size,), (1,)), values, make)


def _refusal(node: Node, vectors: Sequence[Value]) -> Unsupported | None:
    src = node.inputs[0]
    if isinstance(src, Constant) or dtype_name(src.dtype) is None or node.out.dtype != src.dtype:
        return Unsupported(f"oneDNN normalizes float32 or bfloat16 arrays, got {src.dtype}")
    if src.size == 0:
        return Unsupported(f"the array is empty: {src.shape}")
    if any(isinstance(v, Constant) or dtype_name(v.dtype) is None for v in vectors):
        return Unsupported(f"statistics, scale and shift must be float32 or bfloat16 arrays, got {list(vectors)}")
    return None


def _call(
    node: Node,
    op: str,
    groups: Groups,
    keys: tuple[tuple[str, str], ...],
    statistics: Sequence[Operand] = (),
    fuses: bool = False,
    guarded: bool = False,
) -> Call | Unsupported:
    memory = View.of(node.out).memory(groups)
    if memory is None:
        return Unsupported(f"the normalized axes of {node.out} do not lie in one row: {groups}")
    return Call(
        op=op,
        labels=(node.op,),
        nodes=(node,),
        result=node.out,
        sources=(("src", Operand(memory, (node.inputs[0],))),),
        dst=memory,
        groups=groups,
        keys=keys,
        statistics=tuple(statistics),
        fuses=fuses,
        guarded=guarded,
    )


ANCHORS = {
    "softmax": plan_softmax,
    "log_softmax": plan_softmax,
    "layer_norm": plan_layer_norm,
    "batch_norm": plan_batch_norm,
}
