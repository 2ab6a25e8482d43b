"""`jax.jit` and `collage_jax.jit` on a network."""

from collections.abc import Callable

import jax
import numpy as np
from networks import Network

import collage_jax


def plain(network: Network, batch: int) -> Callable[[], np.ndarray]:
    """`jax.jit`, the weights passed as arguments."""
    return _calling(jax.jit(network.apply), network, batch)


def placed(network: Network, batch: int) -> Callable[[], np.ndarray]:
    """What a user writes; everything else is as it comes."""
    return _calling(collage_jax.jit(network.apply, frozen_argnums=0), network, batch)


def _calling(fun, network, batch):
    params, x = network.init(), network.input(batch)
    return lambda: np.asarray(jax.block_until_ready(fun(params, x)))
