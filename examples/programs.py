"""The networks for the command line: `python -m collage_jax profile examples/programs.py:bert --frozen 0`."""

from collections.abc import Callable
from functools import partial
from typing import Any

from networks import NETWORKS


def _program(name: str, batch: int = 1) -> tuple[Callable[..., Any], tuple[Any, ...]]:
    network = NETWORKS[name]
    return network.apply, (network.init(), network.input(batch))


bert, dcgan, nasnet_a, resnet3d50, resnext50, resnet50 = (partial(_program, name) for name in NETWORKS)
