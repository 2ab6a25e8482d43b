"""Convolutions with kernels of one element as products of matrices, for which the library has the faster code."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from .call import Call, Operand, PostOp
from .memory import Memory, fill_strides, merge


def as_product(call: Call) -> Call | None:
    """``call`` as a product of (all positions, channels) and (channels, output channels), or None if it is none.

    Channels must lie next to each other. What is fused to the convolution must vary over all positions or over none.
    """
    if call.op != "conv" or call.weights is None or not _is_pointwise(call, call.weights.memory):
        return None
    (src_name, src), *others = call.sources
    weights = _weights(call.weights.memory)
    rows = _rows(call.dst)
    left, result = _matrix(src.memory, rows), _matrix(call.dst, rows)
    if others or left is None or result is None:
        return None
    post = [_post_op(p, result, rows) for p in call.post]
    if any(p is None for p in post):
        return None
    bias = call.bias
    if bias is not None:
        bias = replace(bias, memory=Memory("f32", (1, *bias.memory.dims), (bias.memory.dims[0], 1)))
    return replace(
        call,
        op="matmul",
        sources=((src_name, replace(src, memory=left)),),
        dst=result,
        keys=(),
        weights=replace(call.weights, memory=weights),
        bias=bias,
        post=tuple(p for p in post if p is not None),
    )


def _is_pointwise(call: Call, weights: Memory) -> bool:
    keys = dict(call.keys)
    same_place = all(set(keys[k].split("x")) == {n} for k, n in (("strides", "1"), ("pads_l", "0"), ("pads_r", "0")))
    in_groups = len(weights.dims) > len(call.dst.dims)
    return same_place and not in_groups and all(n == 1 for n in weights.dims[2:])


def _weights(memory: Memory) -> Memory:
    """(out, in, 1, ...) as (in, out)."""
    (out_channels, channels), (out_stride, stride) = memory.dims[:2], memory.strides[:2]
    return Memory(memory.dtype, (channels, out_channels), (stride, out_stride))


def _rows(result: Memory) -> Sequence[int]:
    """Dimensions of positions as they lie in the result, in which all else has to have them in the same order."""
    return sorted((d for d in range(len(result.dims)) if d != 1), key=lambda d: -result.strides[d])


def _matrix(memory: Memory, rows: Sequence[int]) -> Memory | None:
    """(batch, channels, positions...) as (all positions in the order ``rows``, channels), if strides can express it."""
    merged = merge(memory.dims, memory.strides, rows)
    channels, stride = memory.dims[1], memory.strides[1]
    if merged is None or (stride != 1 and channels > 1):
        return None
    dims = (merged[0], channels)
    return Memory(memory.dtype, dims, fill_strides(dims, (merged[1] if merged[0] > 1 else None, 1), (0, 1)))


def _post_op(post: PostOp, result: Memory, rows: Sequence[int]) -> PostOp | None:
    if post.operand is None:
        return post
    matrix = _matrix(post.operand.memory, rows)
    if matrix is None or matrix.dims[0] not in (1, result.dims[0]):
        return None
    return replace(post, operand=Operand(matrix, post.operand.values, post.operand.make))
