"""A training step by `jax.jit` and by `collage_jax.jit`."""

import jax
import jax.numpy as jnp
import numpy as np
from networks import Network

import collage_jax

from .step import RATE, Step


def plain(network: Network, batch: int) -> Step:
    """`jax.jit` of the whole step."""
    return _step(jax.jit(_function(network)), network, batch)


def placed(network: Network, batch: int) -> Step:
    """What a user writes; everything else is as it comes."""
    return _step(collage_jax.jit(_function(network)), network, batch)


def _function(network):
    def step(weights, x):
        loss, gradients = jax.value_and_grad(lambda w: 0.5 * jnp.sum(jnp.square(network.apply(w, x))))(weights)
        return loss, [w - RATE * g for w, g in zip(weights, gradients, strict=True)]

    return step


def _step(function, network, batch):
    weights, x = network.init(), network.input(batch)

    def run():
        loss, after = jax.block_until_ready(function(weights, x))
        return float(loss), [np.asarray(w) for w in after]  # views, no copies

    return Step(run, [np.asarray(w) for w in weights])
