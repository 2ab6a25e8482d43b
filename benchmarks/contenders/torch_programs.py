"""PyTorch, eager and compiled, each in the memory format that is faster for the network."""

import time
from collections.abc import Callable

import numpy as np
import torch
from networks import Network

from .torch_networks import TorchNetwork, input_of, output_of

torch.set_grad_enabled(False)

FORMATS = {4: torch.channels_last, 5: torch.channels_last_3d}
PRODUCT = 2048


def eager(network: Network, batch: int) -> Callable[[], np.ndarray]:
    """As it is."""
    return _faster_format(network, batch, lambda module: module)


def inductor(network: Network, batch: int) -> Callable[[], np.ndarray]:
    """`torch.compile` with constant weights."""
    import torch._inductor.config

    torch._inductor.config.freezing = True

    return _faster_format(network, batch, lambda module: torch.compile(module, fullgraph=True, dynamic=False))


def product(network: Network, batch: int) -> Callable[[], np.ndarray]:
    """A square product in float32 from the library that PyTorch brings: what the machine can do at best."""
    a, b = torch.rand(PRODUCT, PRODUCT), torch.rand(PRODUCT, PRODUCT)
    out = torch.empty(PRODUCT, PRODUCT)
    return lambda: torch.mm(a, b, out=out).numpy()


def _faster_format(network, batch, prepare):
    """Channels first or last, whichever takes less time; a module for each, timed before the next is made."""
    x = input_of(network, batch)
    formats = {torch.contiguous_format} | {FORMATS[w.ndim] for w in TorchNetwork(network).weights if w.ndim in FORMATS}
    timed = []
    for memory_format in sorted(formats, key=str):
        module = TorchNetwork(network).eval().to(memory_format=memory_format)
        seen = x.contiguous(memory_format=memory_format) if FORMATS.get(x.ndim) == memory_format else x
        call = _calling(prepare(module), seen)
        timed.append((_seconds(call), call))
    return min(timed, key=lambda pair: pair[0])[1]


def _calling(function, x):
    return lambda: output_of(function(x).numpy())


def _seconds(call, calls=3):
    call()
    start = time.perf_counter()
    for _ in range(calls):
        call()
    return time.perf_counter() - start
