"""Checks on the dimensions of what a pattern captured."""

from __future__ import annotations

from collections.abc import Iterable

from ...graph.ir import Value
from ..dimensions import Frame
from ..matcher import Match


def stands_straight(match: Match, name: str) -> bool:
    """True if every occurrence of ``name`` has its dimensions where the result has them.

    False for ``e / e.sum(1)`` of a square ``e``, whose sums are divided along the wrong dimension.
    """
    shape = match[name].shape
    return all(_is_straight(shape, frame) for frame in match.captures[name].frames)


def _is_straight(shape: tuple[int, ...], frame: Frame) -> bool:
    return all(at is None or at == d or shape[d] == 1 for d, at in enumerate(frame))


def axis_of(match: Match, name: str) -> int | None:
    """The dimension of the result along which the vector ``name`` stands; None if it is not a vector."""
    value, frame = match[name], match.dims(name)
    if value.ndim == 1:
        return frame[0]
    long = [d for d, n in enumerate(value.shape) if n > 1]
    return frame[long[0]] if len(long) == 1 else None


def are_vectors(match: Match, names: Iterable[str], axis: int, x: Value) -> bool:
    """True if each of ``names`` that the match has is a vector along dimension ``axis`` of ``x``."""
    return all(_is_vector(match, name, axis, x.shape[axis]) for name in names if name in match)


def _is_vector(match: Match, name: str, axis: int, size: int) -> bool:
    at = axis_of(match, name)
    return match[name].size == size and match[name].ndim > 0 and (at == axis or (at is None and size == 1))


def whole_axes(axes: Iterable[int]) -> tuple[int, ...]:
    """Axes as plain integers, ascending."""
    return tuple(sorted(int(a) for a in axes))
