"""A training step by PyTorch, eager and compiled."""

from collections.abc import Callable

import torch
from networks import Network

from .formats import faster_format
from .step import RATE, Step
from .torch_networks import TorchNetwork


def eager(network: Network, batch: int) -> Step:
    """As it is."""
    return _step(network, batch, lambda module: module)


def inductor(network: Network, batch: int) -> Step:
    """`torch.compile`, forward and backward."""
    return _step(network, batch, lambda module: torch.compile(module, fullgraph=True, dynamic=False))


def _step(network: Network, batch: int, prepare: Callable[[TorchNetwork], Callable]) -> Step:
    def build(module, x):
        weights = list(module.weights.requires_grad_())
        function = prepare(module)

        def run():
            loss = 0.5 * function(x).square().sum()
            gradients = torch.autograd.grad(loss, weights)
            with torch.no_grad():
                after = torch._foreach_add(weights, gradients, alpha=-RATE)
            return loss.item(), [w.numpy() for w in after]

        return Step(run, [w.detach().numpy() for w in weights])

    return faster_format(network, batch, build)
