"""The part of a kernel that ever meets its input: the library would multiply the rest with padding.

A kernel of 3 over a padded input of 1, as in the last stages of three-dimensional networks, has one tap that matters.
"""

from __future__ import annotations

from collections.abc import Sequence

from ...graph.windows import Window


def useful_taps(window: Window, high: int) -> tuple[range, int, int]:
    """The taps to keep, neighbours and at least one, and the padding before and after (``high``) that they need.

    Padding is never negative, so that a tap beyond it may have to stay.
    """
    meeting = window.meeting()
    first, last = meeting[0], meeting[-1]
    low, left = window.low - first * window.dilation, high - (window.kernel - 1 - last) * window.dilation
    if low < 0:
        first, low = 0, window.low
    if left < 0:
        last, left = window.kernel - 1, high
    return range(first, last + 1), low, left


def trimmed(
    windows: Sequence[Window], highs: Sequence[int]
) -> tuple[tuple[slice, ...], tuple[int, ...], tuple[int, ...]] | None:
    """Slices of the kernel's spatial dimensions with padding before and after; None if all taps are needed."""
    taps, low, high = zip(*map(useful_taps, windows, highs), strict=True)
    if all(len(kept) == window.kernel for kept, window in zip(taps, windows, strict=True)):
        return None
    return tuple(slice(kept.start, kept.stop) for kept in taps), low, high
