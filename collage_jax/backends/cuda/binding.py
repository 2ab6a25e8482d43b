"""Region -> the kernel that runs it, and the arrays that it gets.

The region is matched anew, by itself: a proposal's label says nothing, and regions come from graphs of several stages.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import jax

from ...costs import told
from ...cuda_kernels import CudaKernel
from ...graph.ir import Constant, Value, is_array_dtype
from ...graph.region import Region
from ...patterns.matcher import Match, Matcher
from ..base import Unsupported
from ..user_kernels import first_bound


@dataclass(frozen=True, eq=False)
class Binding:
    """``kernel`` at ``match``: the arrays it reads, None for one whose part of the pattern is absent, and writes."""

    kernel: CudaKernel
    match: Match
    inputs: tuple[Value | None, ...]
    results: tuple[Value, ...]


def bind(kernels: Iterable[CudaKernel], region: Region) -> Binding | Unsupported | None:
    """The first of ``kernels`` that does what ``region`` does, or why it cannot; None if no pattern describes it."""
    return first_bound(kernels, region, _bind)


def _bind(kernel: CudaKernel, alone: Matcher, region: Region) -> Binding | Unsupported | None:
    """None where the pattern, or its condition, says no."""
    refusal: Unsupported | None = None
    try:
        found = [match for match in alone.find(kernel.pattern) if set(match.nodes) == set(region.nodes)]
    except Exception as error:  # from `where`
        return Unsupported(f"its condition failed: {told(error)}")
    for match in found:
        inputs = tuple(match.get(name) for name in kernel.inputs)
        inner = (match[name] for name in kernel.inner_results if name in match.params)
        results = tuple(dict.fromkeys((*match.root.outputs, *inner)))
        reason = _refused(kernel, region, inputs, results)
        if reason is None:
            return Binding(kernel, match, inputs, results)
        refusal = Unsupported(reason) if refusal is None else refusal
    return refusal


def _refused(
    kernel: CudaKernel, region: Region, inputs: tuple[Value | None, ...], results: tuple[Value, ...]
) -> str | None:
    for name, value in zip(kernel.inputs, inputs, strict=True):
        if isinstance(value, Constant):
            return f"`{name}` is a scalar of the program, and a pointer needs an array: take it by const(name={name!r})"
        if value is not None and value not in region.entries:
            return f"`{name}` is made by the operations that the kernel stands for"
    for value in region.entries:
        if value not in inputs:
            return f"an array is read that is not passed, {value!r}: capture it with any_('name')"
    for value in region.exits:
        if value not in results:
            return f"a result is read that no parameter is for, {value!r}: name its operation"
    for value in (*region.entries, *results):
        if not all(isinstance(n, int) for n in value.shape):
            return f"sizes must be known, got {value!r}"
        if not is_array_dtype(value.dtype) or jax.dtypes.itemsize_bits(value.dtype) % 8:
            return f"XLA packs numbers of less than a byte in its own way, got {value!r}"
    return None
