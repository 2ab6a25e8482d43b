"""Region -> the kernel that runs it, with what its parameters get.

The region is matched anew, by itself: a proposal's label says nothing, and regions come from graphs of several stages.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...graph.ir import Constant, Value
from ...graph.region import Region
from ...host_functions import RESULT, CallbackKernel, refused_dtype
from ...patterns.matcher import Match, Matcher
from ..base import Unsupported
from ..user_kernels import first_bound


@dataclass(frozen=True)
class Fixed:
    """A parameter that is the same in every call: a number of the program, or None for what is not there."""

    value: Any


@dataclass(frozen=True, eq=False)
class Binding:
    """``kernel.function(*inputs, *results)``, each value as an array."""

    kernel: CallbackKernel
    inputs: tuple[Value | Fixed, ...]
    results: tuple[Value, ...]

    @property
    def operands(self) -> tuple[Value, ...]:
        return tuple(v for v in self.inputs if isinstance(v, Value))


def bind(kernels: Iterable[CallbackKernel], region: Region) -> Binding | Unsupported | None:
    """The first of ``kernels`` that does what ``region`` does, or why it cannot; None if no pattern describes it."""
    return first_bound(kernels, region, _bind)


def _bind(kernel: CallbackKernel, alone: Matcher, region: Region) -> Binding | Unsupported | None:
    """None where the pattern, or its condition, says no."""
    everything = set(region.nodes)
    refusal: Unsupported | None = None
    try:
        matches = alone.find(kernel.pattern)
    except Exception as error:  # from `where`
        return Unsupported(f"its condition failed: {type(error).__name__}: {error}")
    for match in matches:
        if set(match.nodes) != everything:
            continue
        found = _bind_match(kernel, match, region)
        if isinstance(found, Binding):
            return found
        refusal = refusal or found
    return refusal


def _bind_match(kernel: CallbackKernel, match: Match, region: Region) -> Binding | Unsupported:
    inputs, results = [], []
    for name in kernel.parameters[0]:
        given = _input(name, match)
        if isinstance(given, Value) and given not in region.entries:
            return Unsupported(f"`{name}` is made by the operations that the kernel stands for")
        inputs.append(given)
    for name in kernel.parameters[1]:
        made = _result(name, match)
        if made is None:
            return Unsupported(f"there is nothing that `{name}` would be")
        results.append(made)
    for value in region.entries:
        if value not in inputs:
            return Unsupported(f"an array is read that no parameter takes, {value!r}: capture it with any_('name')")
    for value in region.exits:
        if value not in results:
            return Unsupported(f"a result is read that no parameter makes, {value!r}: see out_<name>")
    for value in (*region.entries, *results):
        if not all(isinstance(n, int) for n in value.shape):
            return Unsupported(f"sizes must be known, got {value!r}")
        refusal = refused_dtype(value.dtype)
        if refusal is not None:
            return Unsupported(refusal)
    return Binding(kernel, tuple(inputs), tuple(results))


def _input(name: str, match: Match) -> Value | Fixed:
    if name not in match:
        return Fixed(None)
    if name in match.numbers:
        return Fixed(match.numbers[name])
    value = match[name]
    return Fixed(np.asarray(value.val).item()) if isinstance(value, Constant) else value


def _result(name: str, match: Match) -> Value | None:
    parts = RESULT.fullmatch(name)
    assert parts is not None, name
    capture = parts["capture"]
    if capture is None:
        number = int(parts["number"] or 0)
        return match.root.outputs[number] if number < len(match.root.outputs) else None
    return match[capture] if capture in match.params else None
