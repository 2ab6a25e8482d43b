"""DCGAN: a generator from a 100-vector to a 256x256x3 image, then a discriminator from the image to one number."""

import jax
import jax.numpy as jnp

from .layers import conv, dense, upsample
from .network import Network, bias, conv_weight, dense_weight

LATENT, SIDE, CHANNELS = 100, 64, 128
# (input channels, output channels) of the 3x3 convolutions, generator then discriminator.
CONVS = ((128, 128), (128, 64), (64, 3), (3, 16), (16, 32), (32, 64), (64, 128))


def _weights():
    yield from (dense_weight(LATENT, SIDE * SIDE * CHANNELS), bias(SIDE * SIDE * CHANNELS))
    for inputs, outputs in CONVS:
        yield from (conv_weight(3, 3, inputs, outputs), bias(outputs))
    yield from (dense_weight(16 * 16 * 128, 1), bias(1))


def generator(params, z):
    """`z`: `(batch, 100)`; gives `(batch, 256, 256, 3)`. The first layer's columns are in H, W, C order."""
    w_in, b_in, w1, b1, w2, b2, w3, b3 = params
    x = dense(z, w_in, b_in).reshape(z.shape[0], SIDE, SIDE, -1)
    x = jax.nn.relu(conv(upsample(x), w1, padding=1) + b1)
    x = jax.nn.relu(conv(upsample(x), w2, padding=1) + b2)
    return jnp.tanh(conv(x, w3, padding=1) + b3)


def discriminator(params, image):
    """`image`: `(batch, 256, 256, 3)`; gives `(batch, 1)`. The last layer's rows are in H, W, C order."""
    *convs, w_out, b_out = params
    x = image
    for weight, shift in zip(convs[::2], convs[1::2], strict=True):
        x = jax.nn.relu(conv(x, weight, stride=2, padding=1) + shift)
    return jax.nn.sigmoid(dense(x.reshape(x.shape[0], -1), w_out, b_out))


def apply(params, z):
    """`z`: `(batch, 100)`; gives `(batch, 1)`."""
    return discriminator(params[8:], generator(params[:8], z))


DCGAN = Network(
    name="dcgan",
    title="DCGAN",
    apply=apply,
    weights=tuple(_weights()),
    input_dims=(LATENT,),
    output_dims=(1,),
    gflops=14.954,
)
