"""The part of a kernel that ever meets its input: the library would multiply the rest with padding.

A kernel of 3 over a padded input of 1, as in the last stages of three-dimensional networks, has one tap that matters.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Window:
    """One spatial dimension of a convolution: of input, output and kernel the sizes; padding before and after."""

    size: int
    out: int
    kernel: int
    stride: int
    dilation: int
    low: int
    high: int

    def place(self, out: int, tap: int) -> int:
        """The input position that ``tap`` reads for output ``out``; outside of the input it is padding."""
        return out * self.stride - self.low + tap * self.dilation

    def meets(self, tap: int) -> bool:
        """True if ``tap`` reads the input for any output."""
        return any(0 <= self.place(out, tap) < self.size for out in range(self.out))


def useful_taps(window: Window) -> tuple[range, int, int]:
    """The taps to keep, neighbours and at least one, and the padding before and after that they need.

    Padding is never negative, so that a tap beyond it may have to stay.
    """
    meeting = [tap for tap in range(window.kernel) if window.meets(tap)] or [0]
    first, last = meeting[0], meeting[-1]
    low, high = window.low - first * window.dilation, window.high - (window.kernel - 1 - last) * window.dilation
    if low < 0:
        first, low = 0, window.low
    if high < 0:
        last, high = window.kernel - 1, window.high
    return range(first, last + 1), low, high


def trimmed(windows: Sequence[Window]) -> tuple[tuple[slice, ...], tuple[int, ...], tuple[int, ...]] | None:
    """Slices of the kernel's spatial dimensions with padding before and after; None if all taps are needed."""
    taps, low, high = zip(*map(useful_taps, windows), strict=True)
    if all(len(kept) == window.kernel for kept, window in zip(taps, windows, strict=True)):
        return None
    return tuple(slice(kept.start, kept.stop) for kept in taps), low, high
