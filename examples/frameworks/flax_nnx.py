"""Flax NNX: `collage_jax.nnx.jit` where `nnx.jit` stood."""

import jax
import jax.numpy as jnp
import optax
from flax import nnx

import collage_jax.nnx

from .sizes import ResNetSize, ViTSize

OWN, PLACED = nnx.jit, collage_jax.nnx.jit
#: Modules are pytrees. At inference it does, and spares `nnx.jit`'s walk through all objects in every call.
PLAIN = jax.jit


class ConvNorm(nnx.Module):
    """A convolution without bias and batch norm."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1, *, rngs: nnx.Rngs):
        pad = kernel // 2
        self.conv = nnx.Conv(
            inputs, outputs, (kernel, kernel), strides=stride, padding=[(pad, pad)] * 2, use_bias=False, rngs=rngs
        )
        self.norm = nnx.BatchNorm(outputs, momentum=0.9, rngs=rngs)

    def __call__(self, x):
        return self.norm(self.conv(x))


class Bottleneck(nnx.Module):
    def __init__(self, inputs: int, width: int, stride: int, *, rngs: nnx.Rngs):
        self.reduce = ConvNorm(inputs, width, 1, rngs=rngs)
        self.conv = ConvNorm(width, width, 3, stride, rngs=rngs)
        self.expand = ConvNorm(width, 4 * width, 1, rngs=rngs)
        projects = stride != 1 or inputs != 4 * width
        self.shortcut = ConvNorm(inputs, 4 * width, 1, stride, rngs=rngs) if projects else None

    def __call__(self, x):
        y = nnx.relu(self.reduce(x))
        y = self.expand(nnx.relu(self.conv(y)))
        return nnx.relu(y + (x if self.shortcut is None else self.shortcut(x)))


class ResNet(nnx.Module):
    """`(batch, image, image, 3)` to `(batch, classes)`."""

    def __init__(self, size: ResNetSize, *, rngs: nnx.Rngs):
        self.stem = ConvNorm(3, size.width, 7, 2, rngs=rngs)
        blocks, channels = [], size.width
        for count, width, stride in size.stages():
            for i in range(count):
                blocks.append(Bottleneck(channels, width, stride if i == 0 else 1, rngs=rngs))
                channels = 4 * width
        self.blocks = nnx.List(blocks)
        self.head = nnx.Linear(channels, size.classes, rngs=rngs)

    def __call__(self, x):
        x = nnx.max_pool(nnx.relu(self.stem(x)), (3, 3), (2, 2), [(1, 1), (1, 1)])
        for block in self.blocks:
            x = block(x)
        return self.head(x.mean((1, 2)))


class EncoderLayer(nnx.Module):
    def __init__(self, size: ViTSize, *, rngs: nnx.Rngs):
        width = size.width
        self.attention_norm, self.norm = nnx.LayerNorm(width, rngs=rngs), nnx.LayerNorm(width, rngs=rngs)
        self.attention = nnx.MultiHeadAttention(size.heads, width, decode=False, rngs=rngs)
        self.wide, self.narrow = nnx.Linear(width, 4 * width, rngs=rngs), nnx.Linear(4 * width, width, rngs=rngs)

    def __call__(self, x):
        x = x + self.attention(self.attention_norm(x))
        return x + self.narrow(nnx.gelu(self.wide(self.norm(x))))


class ViT(nnx.Module):
    """`(batch, image, image, 3)` to `(batch, classes)`."""

    def __init__(self, size: ViTSize, *, rngs: nnx.Rngs):
        patch = (size.patch, size.patch)
        self.patches = nnx.Conv(3, size.width, patch, strides=patch, padding="VALID", rngs=rngs)
        self.token = nnx.Param(jnp.zeros((1, 1, size.width)))
        self.places = nnx.Param(0.02 * jax.random.normal(rngs.params(), (1, size.tokens, size.width)))
        self.layers = nnx.List([EncoderLayer(size, rngs=rngs) for _ in range(size.layers)])
        self.norm = nnx.LayerNorm(size.width, rngs=rngs)
        self.head = nnx.Linear(size.width, size.classes, rngs=rngs)

    def __call__(self, x):
        x = self.patches(x).reshape(x.shape[0], -1, self.token.shape[-1])
        x = jnp.concatenate([jnp.broadcast_to(self.token[...], (x.shape[0], 1, x.shape[-1])), x], 1) + self.places[...]
        for layer in self.layers:
            x = layer(x)
        return self.head(self.norm(x)[:, 0])


def resnet(size: ResNetSize, seed: int = 0) -> nnx.Module:
    return ResNet(size, rngs=nnx.Rngs(seed))


def vit(size: ViTSize, seed: int = 0) -> nnx.Module:
    return ViT(size, rngs=nnx.Rngs(seed))


def predictor(model, jit=PLACED, **options):
    """Images to scores; `frozen_argnums=0` says that the model stays as it is."""
    model.eval()
    predict = jit(lambda model, images: model(images), **options)
    return lambda images: predict(model, images)


def trainer(model, jit=PLACED, **options):
    """A step on a batch, which changes `model` in place and gives the loss before it."""
    model.train()
    optimizer = nnx.Optimizer(model, optax.sgd(0.01, momentum=0.9), wrt=nnx.Param)

    @jit(**options)
    def step(model, optimizer, images, labels):
        def loss_of(model):
            return optax.softmax_cross_entropy_with_integer_labels(model(images), labels).mean()

        loss, gradients = nnx.value_and_grad(loss_of)(model)
        optimizer.update(model, gradients)
        return loss

    return lambda images, labels: step(model, optimizer, images, labels)
