"""A residual network (Flax NNX) that tells gratings of ten directions apart; images are made as they are needed."""

from collections.abc import Iterator

import jax
import numpy as np
import optax
from flax import nnx

from .task import Task

CLASSES, BATCH, SIZE = 10, 32, 32
WIDTHS = (32, 64, 128)
OPTIMIZER = optax.sgd(0.02, momentum=0.9)


class Block(nnx.Module):
    """Two convolutions beside a shortcut."""

    def __init__(self, inputs: int, outputs: int, stride: int, rngs: nnx.Rngs) -> None:
        self.first = nnx.Conv(inputs, outputs, (3, 3), strides=stride, use_bias=False, rngs=rngs)
        self.first_norm = nnx.BatchNorm(outputs, rngs=rngs)
        self.second = nnx.Conv(outputs, outputs, (3, 3), use_bias=False, rngs=rngs)
        self.second_norm = nnx.BatchNorm(outputs, rngs=rngs)
        self.shortcut = nnx.Conv(inputs, outputs, (1, 1), strides=stride, use_bias=False, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        y = jax.nn.relu(self.first_norm(self.first(x)))
        return jax.nn.relu(self.second_norm(self.second(y)) + self.shortcut(x))


class ResNet(nnx.Module):
    """`(batch, 32, 32, 3)` to `(batch, classes)`."""

    def __init__(self, rngs: nnx.Rngs) -> None:
        self.stem = nnx.Conv(3, WIDTHS[0], (3, 3), rngs=rngs)
        sizes = list(zip((WIDTHS[0], *WIDTHS), WIDTHS, (1, 2, 2), strict=False))
        self.blocks = nnx.List([Block(inputs, outputs, stride, rngs) for inputs, outputs, stride in sizes])
        self.head = nnx.Linear(WIDTHS[-1], CLASSES, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        x = jax.nn.relu(self.stem(x))
        for block in self.blocks:
            x = block(x)
        return self.head(x.mean((1, 2)))


#: The network's structure, which no step changes.
GRAPH = nnx.split(ResNet(nnx.Rngs(0)))[0]


def init(seed: int):
    """Weights, running statistics, and the optimizer's own state."""
    _, weights, others = nnx.split(ResNet(nnx.Rngs(seed)), nnx.Param, ...)
    return weights, others, OPTIMIZER.init(weights)


def step(state, images, labels):
    """One step of momentum on the cross-entropy of a batch."""
    weights, others, optimizer_state = state

    def loss_of(weights):
        model = nnx.merge(GRAPH, weights, others, copy=True)
        loss = optax.softmax_cross_entropy_with_integer_labels(model(images), labels).mean()
        return loss, nnx.split(model, nnx.Param, ...)[2]

    (loss, others), gradients = jax.value_and_grad(loss_of, has_aux=True)(weights)
    updates, optimizer_state = OPTIMIZER.update(gradients, optimizer_state, weights)
    return (optax.apply_updates(weights, updates), others, optimizer_state), loss


def batches(seed: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Images of gratings in noise, with the number of their direction."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[:SIZE, :SIZE].astype(np.float32) / SIZE
    while True:
        labels = random.integers(0, CLASSES, BATCH, dtype=np.int32)
        angle = (np.pi * labels / CLASSES)[:, None, None]
        wave = 2 * np.pi * random.uniform(3, 6, (BATCH, 1, 1)) * (x * np.cos(angle) + y * np.sin(angle))
        image = np.sin(wave + random.uniform(0, 2 * np.pi, (BATCH, 1, 1)))[..., None]
        noise = random.standard_normal((BATCH, SIZE, SIZE, 3))
        yield (image + noise).astype(np.float32), labels


RESNET = Task("resnet", "ResNet on images, Flax NNX", init, step, batches)
