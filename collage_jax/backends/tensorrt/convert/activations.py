"""Activations: those that are a layer, and those of two or three."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from ....graph.ir import Node
from ..tensors import FLOATS, Network, Refused, Tensor
from .elementwise import combine, scalar

#: Composites and primitives that are one layer, with its ``alpha`` and ``beta`` where they are fixed.
_LAYERS = {
    "tanh": ("TANH", {}),
    "logistic": ("SIGMOID", {}),
    "relu": ("RELU", {}),
    "sigmoid": ("SIGMOID", {}),
    "hard_sigmoid": ("HARD_SIGMOID", {"alpha": 1 / 6, "beta": 0.5}),
    "softplus": ("SOFTPLUS", {"alpha": 1.0, "beta": 1.0}),
}


def _activation(network: Network, name: str, x: Any, **settings: float) -> Any:
    return network.layer("activation", x, network.choice("ActivationType", name), **settings)


def _layer(name: str, settings: dict[str, float], network: Network, x: Any, node: Node) -> Any:
    return _activation(network, name, x, **settings)


def _sloped(name: str, network: Network, x: Any, node: Node) -> Any:
    return _activation(network, name, x, alpha=float(node.params["alpha"]))


def _gelu(network: Network, x: Any, node: Node) -> Any:
    return _activation(network, "GELU_TANH" if node.params["approximate"] else "GELU_ERF", x)


def _gated(gate: Sequence[str], network: Network, x: Any, node: Node) -> Any:
    """``x`` times the layers in ``gate``, one after another, of it."""
    made = x
    for name in gate:
        made = _activation(network, _LAYERS[name][0], made, **_LAYERS[name][1])
    return combine(network, "PROD", x, made)


def _bounded(low: float | None, high: float | None, network: Network, x: Any, node: Node) -> Any:
    dtype = node.out.dtype
    bottom = scalar(network, float(node.params["min"]) if low is None else low, x, dtype)
    top = scalar(network, float(node.params["max"]) if high is None else high, x, dtype)
    return combine(network, "MIN", combine(network, "MAX", x, bottom), top)


def _on_floats(
    make: Callable[[Network, Any, Node], Any], network: Network, node: Node, inputs: Sequence[Tensor]
) -> list[Tensor]:
    if str(node.out.dtype) not in FLOATS or node.inputs[0].dtype != node.out.dtype:
        raise Refused(f"{node.op} is of floating-point numbers, got {node.inputs[0].dtype}")
    return [Tensor(make(network, inputs[0].made, node), inputs[0].order)]


CONVERTERS = {
    name: partial(_on_floats, make)
    for name, make in {
        **{name: partial(_layer, *made) for name, made in _LAYERS.items()},
        "leaky_relu": partial(_sloped, "LEAKY_RELU"),
        "elu": partial(_sloped, "ELU"),
        "gelu": _gelu,
        "silu": partial(_gated, ("sigmoid",)),
        "hard_swish": partial(_gated, ("hard_sigmoid",)),
        "mish": partial(_gated, ("softplus", "tanh")),
        "clip": partial(_bounded, None, None),
        "relu6": partial(_bounded, 0.0, 6.0),
    }.items()
}
