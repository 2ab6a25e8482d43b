"""What a workload is: a function of weights and an input, with the shapes and numbers that go with it."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np


@dataclass(frozen=True)
class Weight:
    """One float32 parameter tensor: `offset + deviation * standard normal`."""

    shape: tuple[int, ...]
    deviation: float
    offset: float = 0.0

    def draw(self, rng: np.random.Generator) -> np.ndarray:
        """The tensor's values; a constant tensor takes no numbers from `rng`."""
        if self.deviation == 0:
            return np.full(self.shape, self.offset, np.float32)
        values = rng.standard_normal(self.shape, np.float32)
        values *= np.float32(self.deviation)
        return values + np.float32(self.offset) if self.offset else values


def conv_weight(*shape: int) -> Weight:
    """`(*kernel, in / groups, out)`. The factor 0.7 keeps fifty layers without normalization finite."""
    return Weight(shape, 0.7 * math.sqrt(2 / math.prod(shape[:-1])))


def dense_weight(inputs: int, outputs: int) -> Weight:
    """`(inputs, outputs)`."""
    return Weight((inputs, outputs), inputs**-0.5)


def bias(channels: int) -> Weight:
    """`(channels,)`: a bias, or the shift of a LayerNorm."""
    return Weight((channels,), 0.1)


def scale(channels: int) -> Weight:
    """`(channels,)`: the scale of a LayerNorm, all ones."""
    return Weight((channels,), 0.0, 1.0)


@dataclass(frozen=True)
class Network:
    """A workload in channels-last float32.

    `apply(params, x)` maps `(batch, *input_dims)` to `(batch, *output_dims)`; `params` is a flat list in the order
    of `weights`. `gflops` counts 2 per multiply-add of the convolutions and matrix products, for one image.
    """

    name: str
    title: str
    apply: Callable[[Sequence[jax.Array], jax.Array], jax.Array]
    weights: tuple[Weight, ...]
    input_dims: tuple[int, ...]
    output_dims: tuple[int, ...]
    gflops: float

    @property
    def parameter_count(self) -> int:
        """The number of scalars in all weights."""
        return sum(math.prod(weight.shape) for weight in self.weights)

    def draw(self, seed: int = 0) -> Iterator[np.ndarray]:
        """Random weights, drawn one after the other from a single seeded generator."""
        rng = np.random.default_rng(seed)
        return (weight.draw(rng) for weight in self.weights)

    def draw_input(self, batch: int = 1, seed: int = 0) -> np.ndarray:
        """An input, uniform in [-1, 1)."""
        # Doubles drawn from [-1, 1) can round up to 1.0f; single-precision draws cannot.
        return np.random.default_rng(seed).random(self.input_shape(batch), np.float32) * 2 - 1

    def init(self, seed: int = 0) -> list[jax.Array]:
        """What `draw` gives, as JAX's arrays."""
        return [jnp.asarray(values) for values in self.draw(seed)]

    def input(self, batch: int = 1, seed: int = 0) -> jax.Array:
        """What `draw_input` gives, as JAX's array."""
        return jnp.asarray(self.draw_input(batch, seed))

    def input_shape(self, batch: int = 1) -> tuple[int, ...]:
        """The shape of `x`."""
        return (batch, *self.input_dims)

    def output_shape(self, batch: int = 1) -> tuple[int, ...]:
        """The shape of `apply(params, x)`."""
        return (batch, *self.output_dims)
