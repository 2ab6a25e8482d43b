"""Growing a call along the chain of operations that follow it.

    conv -> add(bias) -> mul(scale) -> add(residual) -> max(., 0)

becomes one call: the first vector along the channels is the bias, the first tensor of the result's own shape is summed
into, everything else is a post-op. The chain's value may be on either side of a commutative operation; its other
operand is seen through broadcasts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import inf

import jax.numpy as jnp
import numpy as np

from ...graph.gates import gate
from ...graph.ir import Constant, Graph, Node, Value
from ..channel_affine import factor_and_offset
from .activations import Eltwise, activation, bounds, is_erf_gelu, text, with_scalar
from .call import Call, Operand, PostOp
from .memory import Memory, dtype_name, fill_strides
from .views import Inside, View, look_through

_BINARY = {"add": "add", "add_any": "add", "sub": "sub", "mul": "mul", "div": "div"}
_ADDS = ("add", "add_any")

#: As many post-ops as the library takes.
_MOST_POST_OPS = 32

#: Operations whose library form can accumulate into a tensor that is already there.
_SUMMING = ("conv", "deconv", "matmul")


def extend(graph: Graph, call: Call, inside: Inside) -> Call | None:
    """``call`` with the one node that reads its result fused, or None if it cannot be. ``inside`` bounds the region."""
    node = graph.only_user(call.result)
    if node is None or node.barrier or not inside(node) or len(node.outputs) != 1 or not call.fuses:
        return None
    if len(call.post) >= _MOST_POST_OPS or call.gate is not None:
        return None
    if node.op == "convert_element_type":
        return _narrowed(call, node)
    if node.out.shape != call.result.shape or node.out.dtype != call.result.dtype:
        return None
    if (gated := gate(graph, node, call.result, inside)) is not None:
        return _gated(call, node, *gated)
    bounded = _bounded(graph, call, node, inside)
    base = call.unfinished()
    if bounded is not None or base is None:
        return bounded
    if is_erf_gelu(node) and call.result.dtype == np.float32:
        return replace(base.followed_by("gelu", (node,)), finish="gelu")
    function = activation(node)
    if function is not None:
        return base.followed_by(node.op, (node,), _eltwise(function))
    if node.op == "batch_norm":
        return _normalized(base, node)
    if node.op in (*_BINARY, "pow") and len(node.inputs) == 2 and node.inputs.count(call.result) == 1:
        return _combined(graph, base, node, inside)
    return None


def _bounded(graph: Graph, call: Call, node: Node, inside: Inside) -> Call | None:
    """``call`` with bounds put on its result at the end, by one node or by two in a row."""
    if node.op == "clamp" and (node.inputs[1] is not call.result or node.inputs.count(call.result) != 1):
        return None
    views = [look_through(graph, v, node, inside) for v in node.inputs if v is not call.result]
    limits = bounds(node, [_scalar(view) for view in views])
    if limits is None or isinstance(call.finish, str):
        return None
    low, high = limits if call.finish is None else (max(call.finish[0], limits[0]), min(call.finish[1], limits[1]))
    if low > high:
        return None
    nodes = (*dict.fromkeys(n for view in views for n in view.nodes), node)
    label = "relu" if limits == (0.0, inf) else node.op
    return replace(call.followed_by(label, nodes), finish=(low, high))


def _gated(call: Call, node: Node, by: Value, nodes: tuple[Node, ...]) -> Call | None:
    """``call`` with a gate at the end."""
    if call.finish is not None or call.gate is not None or call.dst.dtype != "f32":
        return None
    operand = Operand(call.dst, (by,))
    return replace(call.followed_by("gate", (*nodes, node)), gate=operand)


def _eltwise(function: Eltwise) -> PostOp:
    return PostOp("eltwise", text(function))


def _narrowed(call: Call, node: Node) -> Call | None:
    """Storing bfloat16 where the library accumulates in single precision; a residual summed into would be narrowed."""
    source = call.sources[0][1].memory.dtype
    fits = source == "bf16" and call.dst.dtype == "f32" and dtype_name(node.out.dtype) == "bf16" and call.finish is None
    if not fits or call.sum is not None or call.op not in _SUMMING:
        return None
    return replace(call.followed_by("bf16", (node,)), dst=replace(call.dst, dtype="bf16"))


def _scalar(view: View) -> float | None:
    if not isinstance(view.value, Constant) or np.asarray(view.value.val).dtype.kind == "c":
        return None
    return float(np.asarray(view.value.val).astype(np.float64))


def _combined(graph: Graph, call: Call, node: Node, inside: Inside) -> Call | None:
    """The chain's value and another one."""
    other_first = node.inputs[1] is call.result
    view = look_through(graph, node.inputs[0 if other_first else 1], node, inside)
    nodes = (*view.nodes, node)
    scalar = _scalar(view)
    if scalar is not None:
        function = with_scalar("add" if node.op == "add_any" else node.op, scalar, other_first)
        if function is None:
            return None
        return call.followed_by(node.op, nodes, _eltwise(function))
    if isinstance(view.value, Constant) or node.op not in _BINARY:
        return None
    memory = _tail_memory(call, view)
    if memory is None:
        return None
    operand = Operand(memory, (view.value,))
    if node.op in _ADDS and call.bias is None and not call.post and _is_bias(call, memory):
        return replace(call.followed_by("bias", nodes), bias=_bias(call, operand))
    if node.op in _ADDS and call.sum is None and _can_be_summed(call, memory):
        return call.followed_by("sum", nodes, PostOp("sum", "1", operand))
    if node.op == "sub" and other_first:
        return call.followed_by("sub", nodes, _eltwise(("linear", -1, 0)), PostOp("binary", "add", operand))
    if node.op == "div" and other_first:
        return None
    return call.followed_by(_BINARY[node.op], nodes, PostOp("binary", _BINARY[node.op], operand))


def _tail_memory(call: Call, view: View) -> Memory | None:
    """The other operand in the result's logical dimensions, if it lies in memory as the result does."""
    if len(view.sizes) != call.result.ndim:
        return None
    order = sorted(range(len(call.dst.dims)), key=lambda d: -call.dst.strides[d])
    # JAX lets an operand's axis of size 1 stand for a whole axis of the result; to the library that is a repeated one.
    memory = view.memory(call.groups, order)
    # Of axes that are one to the library, the operand may have one alone. Not every operation of oneDNN 3.2 objects.
    if memory is None or any(n not in (1, whole) for n, whole in zip(memory.dims, call.dst.dims, strict=True)):
        return None
    fixed = [s if n > 1 else None for n, s in zip(memory.dims, memory.strides, strict=True)]
    dense = fill_strides(memory.dims, [None] * len(memory.dims), order)
    if any(s is not None and s != d for s, d in zip(fixed, dense, strict=True)):
        return None
    return replace(memory, strides=dense) if _is_read_right(call, memory.dims) else None


def _is_read_right(call: Call, dims: Sequence[int]) -> bool:
    """True where oneDNN 3.2 takes the right elements of another operand with ``dims``; those of 1 are repeated."""
    along = [d for d, n in enumerate(dims) if n > 1]
    if call.op == "pool" and along:  # with AVX-512 it puts channels last for itself, and the operand not
        return call.dst.strides[1] == 1
    if call.op == "resample":  # it counts channels, whatever the operand is
        return along in ([], [1])
    if call.op == "softmax":  # in rows, it takes the second dimension for the last
        return along != [1] or len(dims) == 2
    return tuple(dims) == call.dst.dims or not _is_interleaved(call)


def _is_interleaved(call: Call) -> bool:
    """True for batched products whose batches lie in turn: what oneDNN 3.2 repeats there it reads out of bounds."""
    long = [s for n, s in zip(call.dst.dims, call.dst.strides, strict=True) if n > 1]
    return call.op == "matmul" and len(call.dst.dims) > 2 and long != sorted(long, reverse=True)


def _can_be_summed(call: Call, memory: Memory) -> bool:
    return call.op in _SUMMING and memory.dtype == call.dst.dtype and memory.same_layout(call.dst)


def _is_bias(call: Call, memory: Memory) -> bool:
    dim = call.bias_dim
    if dim is None:
        return False
    return memory.dims[dim] == call.dst.dims[dim] and all(n == 1 for d, n in enumerate(memory.dims) if d != dim)


def _bias(call: Call, operand: Operand) -> Operand:
    """Always single precision; a matrix product wants all dimensions, a convolution only the channels."""
    assert call.bias_dim is not None
    memory = replace(operand.memory, dtype="f32")
    if call.op != "matmul":
        memory = Memory("f32", (memory.dims[call.bias_dim],), (1,))
    make = None if operand.memory.dtype == "f32" else lambda bias: bias.astype(jnp.float32)
    return Operand(memory, operand.values, make)


def _normalized(call: Call, node: Node) -> Call | None:
    """Batch normalization with given statistics as a factor and an offset for each channel."""
    axis = int(node.params["axis"]) % call.result.ndim
    if node.inputs[0] is not call.result or (axis,) not in call.groups or any(map(_is_scalar_value, node.inputs)):
        return None
    dim = call.groups.index((axis,))
    channels = call.dst.dims[dim]
    dims = tuple(channels if d == dim else 1 for d in range(len(call.dst.dims)))
    are_vectors = all(v.size == channels and dtype_name(v.dtype) is not None for v in node.inputs[1:])
    if not are_vectors or not _is_read_right(call, dims):
        return None
    order = sorted(range(len(dims)), key=lambda d: -call.dst.strides[d])
    memory = Memory("f32", dims, fill_strides(dims, [None] * len(dims), order))

    factor, offset = factor_and_offset(node)
    return call.followed_by(
        "batch_norm",
        (node,),
        PostOp("binary", "mul", Operand(memory, factor.values, factor.make)),
        PostOp("binary", "add", Operand(memory, offset.values, offset.make)),
    )


def _is_scalar_value(value: Value) -> bool:
    return isinstance(value, Constant)
