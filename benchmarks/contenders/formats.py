"""PyTorch's memory formats: channels first, or last."""

from collections.abc import Callable
from typing import Any

import torch
from networks import Network
from torch import Tensor

from .timing import seconds
from .torch_networks import TorchNetwork, input_of

FORMATS = {4: torch.channels_last, 5: torch.channels_last_3d}


def faster_format(network: Network, batch: int, build: Callable[[TorchNetwork, Tensor], Callable[[], Any]]) -> Any:
    """What `build` makes of a module and an input in the format that takes less time; one is built after the other."""
    x = input_of(network, batch)
    formats = {torch.contiguous_format} | {FORMATS[w.ndim] for w in TorchNetwork(network).weights if w.ndim in FORMATS}
    timed = []
    for memory_format in sorted(formats, key=str):
        module = TorchNetwork(network).eval().to(memory_format=memory_format)
        seen = x.contiguous(memory_format=memory_format) if FORMATS.get(x.ndim) == memory_format else x
        call = build(module, seen)
        timed.append((seconds(call), call))
    return min(timed, key=lambda pair: pair[0])[1]
