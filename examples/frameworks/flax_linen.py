"""Flax Linen: `collage_jax.jit` where `jax.jit` stood; the variables are an argument of the caller's."""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

import collage_jax

from .sizes import ResNetSize, ViTSize

OWN, PLACED = jax.jit, collage_jax.jit


class ConvNorm(nn.Module):
    """A convolution without bias and batch norm."""

    features: int
    kernel: int
    stride: int = 1

    @nn.compact
    def __call__(self, x, train: bool):
        pad = [(self.kernel // 2, self.kernel // 2)] * 2
        x = nn.Conv(self.features, (self.kernel, self.kernel), self.stride, pad, use_bias=False)(x)
        return nn.BatchNorm(use_running_average=not train, momentum=0.9)(x)


class Bottleneck(nn.Module):
    width: int
    stride: int

    @nn.compact
    def __call__(self, x, train: bool):
        y = nn.relu(ConvNorm(self.width, 1)(x, train))
        y = nn.relu(ConvNorm(self.width, 3, self.stride)(y, train))
        y = ConvNorm(4 * self.width, 1)(y, train)
        if x.shape != y.shape:
            x = ConvNorm(4 * self.width, 1, self.stride, name="shortcut")(x, train)
        return nn.relu(x + y)


class ResNet(nn.Module):
    """`(batch, image, image, 3)` to `(batch, classes)`."""

    size: ResNetSize

    @nn.compact
    def __call__(self, x, train: bool = False):
        x = nn.relu(ConvNorm(self.size.width, 7, 2, name="stem")(x, train))
        x = nn.max_pool(x, (3, 3), (2, 2), [(1, 1), (1, 1)])
        for count, width, stride in self.size.stages():
            for i in range(count):
                x = Bottleneck(width, stride if i == 0 else 1)(x, train)
        return nn.Dense(self.size.classes)(x.mean((1, 2)))


class ViT(nn.Module):
    """`(batch, image, image, 3)` to `(batch, classes)`."""

    size: ViTSize

    @nn.compact
    def __call__(self, x, train: bool = False):
        size = self.size
        patch = (size.patch, size.patch)
        x = nn.Conv(size.width, patch, patch, "VALID")(x).reshape(x.shape[0], -1, size.width)
        token = self.param("token", nn.initializers.zeros, (1, 1, size.width))
        places = self.param("places", nn.initializers.normal(0.02), (1, size.tokens, size.width))
        x = jnp.concatenate([jnp.tile(token, (x.shape[0], 1, 1)), x], 1) + places
        for _ in range(size.layers):
            x = x + nn.MultiHeadDotProductAttention(size.heads)(nn.LayerNorm()(x))
            y = nn.Dense(4 * size.width)(nn.LayerNorm()(x))
            x = x + nn.Dense(size.width)(nn.gelu(y))
        return nn.Dense(size.classes)(nn.LayerNorm()(x)[:, 0])


def _with_variables(model, seed):
    return model, jax.jit(model.init)(jax.random.key(seed), jnp.zeros((1, model.size.image, model.size.image, 3)))


def resnet(size: ResNetSize, seed: int = 0):
    return _with_variables(ResNet(size), seed)


def vit(size: ViTSize, seed: int = 0):
    return _with_variables(ViT(size), seed)


def predictor(network, jit=PLACED, **options):
    """Images to scores; `frozen_argnums=0` says that the variables stay as they are."""
    model, variables = network
    return partial(jit(model.apply, **options), variables)


def trainer(network, jit=PLACED, **options):
    """A step on a batch, which gives the loss before it; weights and statistics are kept here."""
    model, variables = network
    optimizer = optax.sgd(0.01, momentum=0.9)

    @partial(jit, **options)
    def step(state, images, labels):
        (weights, others), optimizer_state = state

        def loss_of(weights):
            scores, changed = model.apply({"params": weights, **others}, images, train=True, mutable=["batch_stats"])
            return optax.softmax_cross_entropy_with_integer_labels(scores, labels).mean(), changed

        (loss, others), gradients = jax.value_and_grad(loss_of, has_aux=True)(weights)
        updates, optimizer_state = optimizer.update(gradients, optimizer_state, weights)
        return ((optax.apply_updates(weights, updates), others), optimizer_state), loss

    weights = variables["params"]
    state = (weights, {k: v for k, v in variables.items() if k != "params"}), optimizer.init(weights)

    def on_batch(images, labels):
        nonlocal state
        state, loss = step(state, images, labels)
        return loss

    return on_batch
