"""PyTorch, eager and compiled, each in the memory format that is faster for the network."""

from collections.abc import Callable

import numpy as np
import torch
from networks import Network

from .formats import faster_format
from .torch_networks import output_of

torch.set_grad_enabled(False)


def eager(network: Network, batch: int) -> Callable[[], np.ndarray]:
    """As it is."""
    return faster_format(network, batch, _calling)


def inductor(network: Network, batch: int) -> Callable[[], np.ndarray]:
    """`torch.compile` with constant weights."""
    import torch._inductor.config

    torch._inductor.config.freezing = True

    return faster_format(
        network, batch, lambda module, x: _calling(torch.compile(module, fullgraph=True, dynamic=False), x)
    )


def _calling(function, x):
    return lambda: output_of(function(x).numpy())
