"""Windows that slide over an axis: which of their taps ever meet the array, and which only its padding."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Window:
    """One spatial dimension of a convolution: of input, output and kernel the sizes; padding before, negative crops."""

    size: int
    out: int
    kernel: int
    stride: int
    dilation: int
    low: int

    def place(self, out: int, tap: int) -> int:
        """The input position that ``tap`` reads for output ``out``; outside of the input it is padding."""
        return out * self.stride - self.low + tap * self.dilation

    def meets(self, tap: int) -> bool:
        """True if ``tap`` reads the input for any output."""
        return any(0 <= self.place(out, tap) < self.size for out in range(self.out))

    def meeting(self) -> range:
        """The taps that meet the input, and those between them; at least one."""
        taps = [tap for tap in range(self.kernel) if self.meets(tap)] or [0]
        return range(taps[0], taps[-1] + 1)
