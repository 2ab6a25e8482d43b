"""Haiku: `collage_jax.jit` where `jax.jit` stood; `hk.transform_with_state` makes pure functions already."""

from functools import partial

import haiku as hk
import jax
import jax.numpy as jnp
import optax

import collage_jax

from .sizes import ResNetSize, ViTSize

OWN, PLACED = jax.jit, collage_jax.jit


def conv_norm(x, features: int, kernel: int, stride: int = 1, *, training: bool):
    """A convolution without bias and batch norm."""
    pad = [(kernel // 2, kernel // 2)] * 2
    x = hk.Conv2D(features, kernel, stride, padding=pad, with_bias=False)(x)
    return hk.BatchNorm(create_scale=True, create_offset=True, decay_rate=0.9)(x, is_training=training)


def bottleneck(x, width: int, stride: int, *, training: bool):
    y = jax.nn.relu(conv_norm(x, width, 1, training=training))
    y = jax.nn.relu(conv_norm(y, width, 3, stride, training=training))
    y = conv_norm(y, 4 * width, 1, training=training)
    if x.shape != y.shape:
        x = conv_norm(x, 4 * width, 1, stride, training=training)
    return jax.nn.relu(x + y)


def resnet_forward(size: ResNetSize, x, training: bool = False):
    """`(batch, image, image, 3)` to `(batch, classes)`."""
    x = jax.nn.relu(conv_norm(x, size.width, 7, 2, training=training))
    x = hk.max_pool(x, (1, 3, 3, 1), (1, 2, 2, 1), "SAME")
    for count, width, stride in size.stages():
        for i in range(count):
            x = bottleneck(x, width, stride if i == 0 else 1, training=training)
    return hk.Linear(size.classes)(x.mean((1, 2)))


def layer_norm(x):
    return hk.LayerNorm(-1, create_scale=True, create_offset=True)(x)


def vit_forward(size: ViTSize, x, training: bool = False):
    """`(batch, image, image, 3)` to `(batch, classes)`."""
    x = hk.Conv2D(size.width, size.patch, size.patch, padding="VALID")(x).reshape(x.shape[0], -1, size.width)
    token = hk.get_parameter("token", (1, 1, size.width), init=jnp.zeros)
    places = hk.get_parameter("places", (1, size.tokens, size.width), init=hk.initializers.RandomNormal(0.02))
    x = jnp.concatenate([jnp.tile(token, (x.shape[0], 1, 1)), x], 1) + places
    start = hk.initializers.VarianceScaling(1.0)
    for _ in range(size.layers):
        y = layer_norm(x)
        x = x + hk.MultiHeadAttention(size.heads, size.width // size.heads, w_init=start)(y, y, y)
        x = x + hk.Linear(size.width)(jax.nn.gelu(hk.Linear(4 * size.width)(layer_norm(x))))
    return hk.Linear(size.classes)(layer_norm(x)[:, 0])


def _with_variables(forward, size, seed):
    network = hk.without_apply_rng(hk.transform_with_state(partial(forward, size)))
    init = jax.jit(partial(network.init, training=True))  # which is when statistics are made, of these images
    key, images = jax.random.split(jax.random.key(seed))
    return network, *init(key, jax.random.uniform(images, (2, size.image, size.image, 3)))


def resnet(size: ResNetSize, seed: int = 0):
    return _with_variables(resnet_forward, size, seed)


def vit(size: ViTSize, seed: int = 0):
    return _with_variables(vit_forward, size, seed)


def predictor(network, jit=PLACED, **options):
    """Images to scores; `frozen_argnums=(0, 1)` says that weights and statistics stay as they are."""
    transformed, weights, statistics = network
    predict = jit(lambda weights, statistics, images: transformed.apply(weights, statistics, images)[0], **options)
    return partial(predict, weights, statistics)


def trainer(network, jit=PLACED, **options):
    """A step on a batch, which gives the loss before it; weights and statistics are kept here."""
    transformed, weights, statistics = network
    optimizer = optax.sgd(0.01, momentum=0.9)

    @partial(jit, **options)
    def step(state, images, labels):
        weights, statistics, optimizer_state = state

        def loss_of(weights):
            scores, changed = transformed.apply(weights, statistics, images, training=True)
            return optax.softmax_cross_entropy_with_integer_labels(scores, labels).mean(), changed

        (loss, statistics), gradients = jax.value_and_grad(loss_of, has_aux=True)(weights)
        updates, optimizer_state = optimizer.update(gradients, optimizer_state, weights)
        return (optax.apply_updates(weights, updates), statistics, optimizer_state), loss

    state = weights, statistics, optimizer.init(weights)

    def on_batch(images, labels):
        nonlocal state
        state, loss = step(state, images, labels)
        return loss

    return on_batch
