"""What the machine does at best: a large product by the faster of two libraries.

MKL, which PyTorch brings, keeps to AVX2 on processors that are not Intel's.
"""

from collections.abc import Callable

import jax
import numpy as np
import torch
from networks import Network

from .results import PRODUCT
from .timing import seconds


def product(network: Network, batch: int) -> Callable[[], np.ndarray]:
    """A square product in float32, whatever the network."""
    return min((_by_mkl(), _by_xla()), key=seconds)


def _by_mkl() -> Callable[[], np.ndarray]:
    a, b, out = (torch.rand(PRODUCT, PRODUCT) for _ in range(3))
    return lambda: torch.mm(a, b, out=out).numpy()


def _by_xla() -> Callable[[], np.ndarray]:
    a, b = (jax.random.normal(jax.random.key(seed), (PRODUCT, PRODUCT)) for seed in range(2))
    multiply = jax.jit(jax.numpy.matmul)
    return lambda: np.asarray(jax.block_until_ready(multiply(a, b)))
