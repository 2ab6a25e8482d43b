"""Gradients of layer norm and RMS norm: the forward pass with its statistics, then the gradients by its inputs."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod

from ...graph.ir import Graph
from ...graph.origins import Inside
from ...graph.region import Region
from ...graph.wholes import Gradient
from ..base import Unsupported
from .norms import by_inputs, refusal, vector
from .stages import Operation, Output, Stages
from .tensors import Operand, Tensor, strides_of, type_name


def plans(graph: Graph, gradient: Gradient, region: Region, inside: Inside) -> Iterator[Stages | Unsupported]:
    """``gradient``, which the nodes of ``region`` are; or why not."""
    (x, *vectors), params = gradient.inputs, gradient.params
    why = refusal(x, (*vectors, gradient.cotangent, *gradient.made), params)
    if why is None and params.get("unbiased"):
        why = Unsupported("cuDNN's gradient is that of a norm by the variance over n")
    yield why if why is not None else _stages(gradient, region)


def _stages(gradient: Gradient, region: Region) -> Stages:
    (x, *vectors), params = gradient.inputs, gradient.params
    name, is_centred = type_name(x.dtype) or "", gradient.op == "layer_norm"
    rows, columns = prod(x.shape[:-1]), x.shape[-1]
    whole, row = (Tensor(d, strides_of(d, "last"), name) for d in ((rows, columns, 1, 1), (1, columns, 1, 1)))
    sums = Tensor((rows, 1, 1, 1), strides_of((rows, 1, 1, 1), "last"), "FLOAT")
    scale = vectors[0] if params["scale"] else None
    given = {
        "x": Operand(whole, (x,)),
        "scale": vector(columns, name, scale, 1.0, 1.0),
        "dy": Operand(whole, (gradient.cotangent,)),
    }
    made = {"y": whole, "inv_variance": sums, "dx": whole, "dscale": row}
    statistics, offset, by_offset = {"inv_variance": "inv_variance"}, {}, {}
    if is_centred:
        # What is added has no part in the gradient.
        given["bias"] = vector(columns, name, None, 1.0, 0.0)
        made |= {"mean": sums, "dbias": row}
        statistics, offset, by_offset = {"mean": "mean", **statistics}, {"bias": "bias"}, {"dbias": "dbias"}
    op = "layernorm" if is_centred else "rmsnorm"
    forward = Operation(
        op, {"x": "x", "scale": "scale", **offset, "epsilon": float(params["epsilon"])}, {"y": "y", **statistics}
    )
    backward = Operation(
        f"{op}_backward",
        {"dy": "dy", "x": "x", "scale": "scale", **statistics},
        {"dx": "dx", "dscale": "dscale", **by_offset},
    )
    results = {n: Output(v, v.shape) for n, v in zip(by_inputs(params), gradient.made, strict=True)}
    return Stages(region.nodes, gradient.title, given, made, ((forward,), (backward,)), results)
