"""Batch norm with the statistics of the batch, which it gives out, and its gradient, which is given them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import prod
from typing import Any

import jax.numpy as jnp
from jax import lax

from ...graph.ir import Constant, Graph, Value
from ...graph.origins import Inside
from ...graph.region import Region
from ...graph.wholes import Gradient, Whole
from ..base import Unsupported
from .norms import by_inputs
from .stages import Operation, Output, Stages
from .tensors import UP_TO_SINGLE, Operand, Tensor, strides_of, type_name


def forward_plans(graph: Graph, whole: Whole, region: Region, inside: Inside) -> Iterator[Stages | Unsupported]:
    """``whole``, which the nodes of ``region`` are; or why not."""
    x, (result, *statistics) = whole.inputs[0], whole.made
    why = _refusal(x, (result,), (*whole.inputs[1:], *statistics))
    yield why if why is not None else _forward(whole, region)


def gradient_plans(graph: Graph, gradient: Whole, region: Region, inside: Inside) -> Iterator[Stages | Unsupported]:
    """``gradient``, which the nodes of ``region`` are; or why not."""
    assert isinstance(gradient, Gradient)
    x, *vectors = gradient.inputs
    by_x, *by_vectors = gradient.made
    why = _refusal(x, (gradient.cotangent, by_x), (*vectors, *by_vectors))
    yield why if why is not None else _backward(gradient, region)


def _refusal(x: Value, like_x: Sequence[Value], vectors: Sequence[Value]) -> Unsupported | None:
    """Why cuDNN has no such norm of ``x``: ``like_x`` must be of its dtype, ``vectors`` as long as its last axis."""
    if isinstance(x, Constant) or type_name(x.dtype) not in UP_TO_SINGLE or any(v.dtype != x.dtype for v in like_x):
        dtypes = ", ".join(sorted({str(v.dtype) for v in (x, *like_x)}))
        return Unsupported(f"cuDNN's batch norm takes float32, float16 or bfloat16 and gives the same, got {dtypes}")
    if any(isinstance(v, Constant) or type_name(v.dtype) not in UP_TO_SINGLE or v.size != x.shape[-1] for v in vectors):
        return Unsupported(f"scale, shift and statistics must be vectors of {x.shape[-1]} floating-point numbers")
    return Unsupported(f"rows of numbers are needed, got {x.shape}") if 0 in x.shape else None


def _tensors(x: Value) -> tuple[Tensor, Tensor]:
    """``x`` as cuDNN sees it, channels last in memory, and one number for each channel."""
    dims = (x.shape[0], x.shape[3], *x.shape[1:3]) if x.ndim == 4 else (prod(x.shape[:-1]), x.shape[-1], 1, 1)
    images = Tensor(dims, strides_of(dims, "last"), type_name(x.dtype) or "")
    row = (1, x.shape[-1], 1, 1)
    return images, Tensor(row, strides_of(row, "last"), "FLOAT")


def _vector(tensor: Tensor, value: Value | None, neutral: float) -> Operand:
    """``value`` in single precision, in which cuDNN has the channels' numbers; or else what changes nothing."""
    if value is None:
        return Operand(tensor, (), lambda: jnp.full(tensor.dims[1:2], neutral, jnp.float32))
    if type_name(value.dtype) == "FLOAT":
        return Operand(tensor, (value,))
    return Operand(tensor, (value,), lambda array: array.astype(jnp.float32))


def _given_out(value: Value) -> Output:
    """``value``, which cuDNN makes in single precision."""
    if type_name(value.dtype) == "FLOAT":
        return Output(value, value.shape)
    return Output(value, value.shape, lambda array: array.astype(value.dtype), jnp.float32)


def _forward(whole: Whole, region: Region) -> Stages:
    (x, *vectors), (result, mean, variance), params = whole.inputs, whole.made, whole.params
    images, row = _tensors(x)
    epsilon = float(params["epsilon"])
    scale = vectors[0] if params["scale"] else None
    shift = vectors[-1] if params["shift"] else None
    given = {"x": Operand(images, (x,)), "scale": _vector(row, scale, 1.0), "bias": _vector(row, shift, 0.0)}

    def variance_of(inverse: Any) -> Any:
        return jnp.maximum(1 / lax.square(inverse) - epsilon, 0).astype(variance.dtype)

    results = {
        "y": Output(result, result.shape),
        "mean": _given_out(mean),
        "inv_variance": Output(variance, variance.shape, variance_of, jnp.float32),
    }
    norm = Operation(
        "batchnorm", {"x": "x", "scale": "scale", "bias": "bias", "epsilon": epsilon}, {name: name for name in results}
    )
    made = {"y": images, "mean": row, "inv_variance": row}
    return Stages(region.nodes, whole.title, given, made, ((norm,),), results)


def _backward(gradient: Gradient, region: Region) -> Stages:
    (x, mean, variance, *vectors), params = gradient.inputs, gradient.params
    images, row = _tensors(x)
    epsilon = float(params["epsilon"])
    given = {
        "dy": Operand(images, (gradient.cotangent,)),
        "x": Operand(images, (x,)),
        "scale": _vector(row, vectors[0] if params["scale"] else None, 1.0),
        "mean": _vector(row, mean, 0.0),
        "inv_variance": Operand(row, (variance,), lambda array: lax.rsqrt(array.astype(jnp.float32) + epsilon)),
    }
    made = {"dx": images, "dscale": row, "dbias": row}
    norm = Operation("batchnorm_backward", {name: name for name in given}, {name: name for name in made})
    outputs = (Output(gradient.made[0], x.shape), *(v and _given_out(v) for v in gradient.results[1:]))
    results = {name: output for name, output in zip(by_inputs(params), outputs, strict=True) if output is not None}
    return Stages(region.nodes, gradient.title, given, made, ((norm,),), results)
