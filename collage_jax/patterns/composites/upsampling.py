"""Nearest-neighbour upsampling by whole factors, as a broadcast that a reshape merges, or as a gather.

        x (h, w) -> broadcast (h, f, w, g) -> reshape (h * f, w * g)          x[:, None, :, None], jnp.repeat

Successive ones (``jnp.repeat`` along one dimension, then another) become one.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from ...graph.ir import Node, Value
from ...graph.region import Region
from ..arithmetic import compute_array
from ..constants import is_float
from ..dimensions import frame_before, identity, is_spreader
from ..matcher import Matcher
from .found import Found


@dataclass(frozen=True, eq=False)
class _Step:
    """``nodes`` repeat each element of ``x`` ``factors[d]`` times along dimension d."""

    x: Value
    factors: tuple[int, ...]
    nodes: frozenset[Node]


def _steps_behind(matcher: Matcher, out: Value) -> _Step | None:
    """The longest run of upsamplings that ends in ``out``, all read only within it."""
    step = _merged_broadcast(matcher, out) or _gather(matcher, out)
    if step is None:
        return None
    before = _steps_behind(matcher, step.x) if matcher.graph.only_user(step.x) is not None else None
    if before is None:
        return step
    factors = tuple(a * b for a, b in zip(before.factors, step.factors, strict=True))
    return _Step(before.x, factors, before.nodes | step.nodes)


def _merged_broadcast(matcher: Matcher, out: Value) -> _Step | None:
    producer = matcher.graph.producer
    reshape = producer.get(out)
    if reshape is None or reshape.op != "reshape" or is_spreader(reshape):
        return None
    x = wide = reshape.inputs[0]
    frame, nodes = identity(wide), [reshape]
    while (node := producer.get(x)) is not None and is_spreader(node) and matcher.graph.only_user(x) is not None:
        nodes.append(node)
        x, frame = node.inputs[0], frame_before(node, frame)
        factors = _factors(x, frame, wide.shape, out.shape)
        if factors is not None:
            return _Step(x, factors, frozenset(nodes))
    return None


def _gather(matcher: Matcher, out: Value) -> _Step | None:
    """``jax.image.resize`` by a whole factor: slices of one dimension, each index repeated."""
    node = matcher.graph.producer.get(out)
    if node is None or node.op != "gather":
        return None
    x, indices = node.inputs
    numbers = node.params["dimension_numbers"]
    axes = tuple(int(d) for d in numbers.collapsed_slice_dims)
    if len(axes) != 1 or tuple(numbers.start_index_map) != axes or numbers.operand_batching_dims or out.ndim != x.ndim:
        return None
    (axis,) = axes
    slices = tuple(1 if d == axis else n for d, n in enumerate(x.shape))
    others = tuple(d for d in range(x.ndim) if d != axis)
    if tuple(node.params["slice_sizes"]) != slices or tuple(int(d) for d in numbers.offset_dims) != others:
        return None
    factor, left_over = divmod(out.shape[axis], x.shape[axis])
    computed = compute_array(matcher.graph, indices)
    if computed is None or left_over or factor < 2 or indices.shape != (out.shape[axis], 1):
        return None
    positions, makers = computed
    if not np.array_equal(positions[:, 0], np.arange(out.shape[axis]) // factor):
        return None
    return _Step(x, tuple(factor if d == axis else 1 for d in range(x.ndim)), makers | {node})


def _factors(
    x: Value, frame: tuple[int | None, ...], wide: tuple[int, ...], out: tuple[int, ...]
) -> tuple[int, ...] | None:
    """How often each element of ``x``, broadcast to ``wide``, is repeated in ``out``; None if it is no upsampling.

    In ``wide`` every dimension of x must come before the repetitions that belong to it (after them, it is a tiling).
    """
    if x.ndim != len(out) or any(n == 0 for n in x.shape):
        return None
    long = [d for d, n in enumerate(x.shape) if n > 1]
    places = [frame[d] for d in long]
    starts = [p for p in places if p is not None]
    if len(starts) != len(places) or starts != sorted(starts):
        return None
    factors = [1] * x.ndim
    for d, start, end in zip(long, starts, [*starts[1:], len(wide)], strict=True):
        factors[d] = math.prod(wide[start + 1 : end])
    leading = math.prod(wide[: starts[0]]) if starts else math.prod(wide)
    upsampled = tuple(n * f for n, f in zip(x.shape, factors, strict=True))
    return tuple(factors) if leading == 1 and upsampled == out and max(factors) > 1 else None


def _upsamplings(matcher: Matcher) -> Iterable[Found]:
    for root in matcher.nodes("gather", "reshape"):
        step = _steps_behind(matcher, root.out) if is_float(root.out.dtype) else None
        if step is not None:
            nodes = Region.of(matcher.graph, step.nodes).nodes
            yield Found("upsample_nearest", {"factors": step.factors}, (step.x,), nodes, root)


RECOGNISERS = (_upsamplings,)
