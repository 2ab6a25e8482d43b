"""Equinox: `collage_jax.equinox.filter_jit` where `eqx.filter_jit` stood."""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import optax

import collage_jax.equinox

from .sizes import ResNetSize, ViTSize

OWN, PLACED = eqx.filter_jit, collage_jax.equinox.filter_jit


class ConvNorm(eqx.Module):
    """A convolution without bias and batch norm, on one image with its channels first, as Equinox has them."""

    conv: eqx.nn.Conv2d
    norm: eqx.nn.BatchNorm

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1, *, key):
        self.conv = eqx.nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, use_bias=False, key=key)
        self.norm = eqx.nn.BatchNorm(outputs, axis_name="batch", mode="batch", momentum=0.9)

    def __call__(self, x, state):
        return self.norm(self.conv(x), state)


class Bottleneck(eqx.Module):
    reduce: ConvNorm
    conv: ConvNorm
    expand: ConvNorm
    shortcut: ConvNorm | None

    def __init__(self, inputs: int, width: int, stride: int, *, key):
        keys = jax.random.split(key, 4)
        self.reduce = ConvNorm(inputs, width, 1, key=keys[0])
        self.conv = ConvNorm(width, width, 3, stride, key=keys[1])
        self.expand = ConvNorm(width, 4 * width, 1, key=keys[2])
        projects = stride != 1 or inputs != 4 * width
        self.shortcut = ConvNorm(inputs, 4 * width, 1, stride, key=keys[3]) if projects else None

    def __call__(self, x, state):
        y, state = self.reduce(x, state)
        y, state = self.conv(jax.nn.relu(y), state)
        y, state = self.expand(jax.nn.relu(y), state)
        if self.shortcut is not None:
            x, state = self.shortcut(x, state)
        return jax.nn.relu(x + y), state


class ResNet(eqx.Module):
    """`(3, image, image)` to `(classes,)`, with the state of batch norm beside it."""

    stem: ConvNorm
    pool: eqx.nn.MaxPool2d
    blocks: list[Bottleneck]
    head: eqx.nn.Linear

    def __init__(self, size: ResNetSize, *, key):
        stem, head, *keys = jax.random.split(key, 2 + sum(size.blocks))
        self.stem = ConvNorm(3, size.width, 7, 2, key=stem)
        self.pool = eqx.nn.MaxPool2d(3, 2, 1)
        self.blocks, channels = [], size.width
        for count, width, stride in size.stages():
            for i in range(count):
                key = keys[len(self.blocks)]
                self.blocks.append(Bottleneck(channels, width, stride if i == 0 else 1, key=key))
                channels = 4 * width
        self.head = eqx.nn.Linear(channels, size.classes, key=head)

    def __call__(self, x, state):
        x, state = self.stem(x, state)
        x = self.pool(jax.nn.relu(x))
        for block in self.blocks:
            x, state = block(x, state)
        return self.head(x.mean((1, 2))), state


class EncoderLayer(eqx.Module):
    attention_norm: eqx.nn.LayerNorm
    attention: eqx.nn.MultiheadAttention
    norm: eqx.nn.LayerNorm
    wide: eqx.nn.Linear
    narrow: eqx.nn.Linear
    activation: Callable  # no array, and no static field either: Equinox's filters sort it out

    def __init__(self, size: ViTSize, *, key):
        keys = jax.random.split(key, 3)
        self.attention_norm, self.norm = eqx.nn.LayerNorm(size.width), eqx.nn.LayerNorm(size.width)
        self.attention = eqx.nn.MultiheadAttention(size.heads, size.width, key=keys[0])
        self.wide = eqx.nn.Linear(size.width, 4 * size.width, key=keys[1])
        self.narrow = eqx.nn.Linear(4 * size.width, size.width, key=keys[2])
        self.activation = jax.nn.gelu

    def __call__(self, x):
        y = jax.vmap(self.attention_norm)(x)
        x = x + self.attention(y, y, y)
        return x + jax.vmap(lambda row: self.narrow(self.activation(self.wide(self.norm(row)))))(x)


class ViT(eqx.Module):
    """`(3, image, image)` to `(classes,)`; it has no state, which goes through."""

    patches: eqx.nn.Conv2d
    token: jax.Array
    places: jax.Array
    layers: list[EncoderLayer]
    norm: eqx.nn.LayerNorm
    head: eqx.nn.Linear

    def __init__(self, size: ViTSize, *, key):
        patches, places, head, *keys = jax.random.split(key, 3 + size.layers)
        self.patches = eqx.nn.Conv2d(3, size.width, size.patch, size.patch, key=patches)
        self.token = jnp.zeros((1, size.width))
        self.places = 0.02 * jax.random.normal(places, (size.tokens, size.width))
        self.layers = [EncoderLayer(size, key=key) for key in keys]
        self.norm = eqx.nn.LayerNorm(size.width)
        self.head = eqx.nn.Linear(size.width, size.classes, key=head)

    def __call__(self, x, state):
        x = self.patches(x)
        x = jnp.concatenate([self.token, x.reshape(len(x), -1).T]) + self.places
        for layer in self.layers:
            x = layer(x)
        return self.head(self.norm(x[0])), state


def resnet(size: ResNetSize, seed: int = 0):
    return eqx.nn.make_with_state(ResNet)(size, key=jax.random.key(seed))


def vit(size: ViTSize, seed: int = 0):
    return eqx.nn.make_with_state(ViT)(size, key=jax.random.key(seed))


def _scores(model, state, images):
    """Of a batch `(batch, image, image, 3)`, with the state after it."""
    over_batch = jax.vmap(model, axis_name="batch", in_axes=(0, None), out_axes=(0, None))
    return over_batch(images.transpose(0, 3, 1, 2), state)


def predictor(network, jit=PLACED, **options):
    """Images to scores; `frozen_argnums=(0, 1)` says that model and state stay as they are."""
    model, state = network
    model = eqx.nn.inference_mode(model)
    predict = jit(lambda model, state, images: _scores(model, state, images)[0], **options)
    return lambda images: predict(model, state, images)


def trainer(network, jit=PLACED, **options):
    """A step on a batch, which gives the loss before it; model and states are kept here."""
    optimizer = optax.sgd(0.01, momentum=0.9)

    @jit(**options)
    def step(model, state, optimizer_state, images, labels):
        @eqx.filter_value_and_grad(has_aux=True)
        def loss_of(model):
            scores, changed = _scores(model, state, images)
            return optax.softmax_cross_entropy_with_integer_labels(scores, labels).mean(), changed

        (loss, changed), gradients = loss_of(model)
        updates, optimizer_state = optimizer.update(gradients, optimizer_state, eqx.filter(model, eqx.is_array))
        return (eqx.apply_updates(model, updates), changed, optimizer_state), loss

    model, state = network
    carried = model, state, optimizer.init(eqx.filter(model, eqx.is_array))

    def on_batch(images, labels):
        nonlocal carried
        carried, loss = step(*carried, images, labels)
        return loss

    return on_batch
