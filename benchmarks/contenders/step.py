"""One step of gradient descent, as all contenders make it: from the same weights each time, on half the sum of squares.

The step is as long as the gradient, so that what a weight changes by shows its gradient in all digits.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

RATE = 1.0


@dataclass(frozen=True)
class Step:
    """`run()` makes a step and gives the loss and the new weights, NumPy arrays; `weights` are the old ones."""

    run: Callable[[], tuple[float, Sequence[np.ndarray]]]
    weights: Sequence[np.ndarray]

    def __call__(self) -> None:
        """What is timed."""
        self.run()

    def figures(self) -> np.ndarray:
        """The loss, and the length of each weight's gradient: the same in any order of axes."""
        loss, after = self.run()
        changes = (np.linalg.norm(np.float64(b) - np.float64(a)) for b, a in zip(self.weights, after, strict=True))
        return np.array([loss, *changes])
