"""Layer norm and RMS norm along the last axis."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod, sqrt
from typing import Any

import jax.numpy as jnp

from ...graph.ir import Constant, Node, Value
from ..base import Unsupported
from .fusion import Fusion, Step
from .tensors import UP_TO_SINGLE, Operand, Tensor, strides_of, type_name


def plan(node: Node) -> Fusion | Unsupported:
    """``node`` alone."""
    x, *vectors = node.inputs
    params = node.params
    why = refusal(x, (*vectors, node.out), params)
    if why is not None:
        return why
    name = type_name(x.dtype) or ""
    rows, columns = prod(x.shape[:-1]), x.shape[-1]
    dims = (rows, columns, 1, 1)
    made = Tensor(dims, strides_of(dims, "last"), name)
    scale = vectors[0] if params["scale"] else None
    # A variance over n - 1 is n / (n - 1) times that over n: what that does to the root goes into scale and epsilon.
    share = (columns - 1) / columns if params.get("unbiased") else 1.0
    operands = [Operand(made, (x,)), vector(columns, name, scale, sqrt(share), 1.0)]
    inputs: dict[str, int | float] = {"x": 1, "scale": 2, "epsilon": float(params["epsilon"]) * share}
    if node.op == "layer_norm":
        inputs["bias"] = 3
        operands.append(vector(columns, name, vectors[-1] if params["shift"] else None, 1.0, 0.0))
    step = Step("layernorm" if node.op == "layer_norm" else "rmsnorm", inputs, "y", made)
    return Fusion(
        nodes=(node,),
        labels=(node.op,),
        result=node.out,
        axes=(None, x.ndim - 1, None, None),
        operands=tuple(operands),
        steps=(step,),
        stored=node.out.shape,
        fuses=False,
    )


def refusal(x: Value, others: Sequence[Value], params: Mapping[str, Any]) -> Unsupported | None:
    """Why cuDNN has no norm of ``x`` with ``params``, ``others`` being all other arrays that it reads or makes."""
    if any(isinstance(v, Constant) for v in (x, *others)) or type_name(x.dtype) not in UP_TO_SINGLE:
        return Unsupported(f"cuDNN's norms take float32, float16 and bfloat16, got {x.dtype}")
    if any(v.dtype != x.dtype for v in others):
        return Unsupported(f"one type is needed, got {x.dtype} and {', '.join(sorted({str(v.dtype) for v in others}))}")
    if int(params["axis"]) != x.ndim - 1:
        return Unsupported(f"the norm must be along the last axis, got {params['axis']} of {x.ndim}")
    if params.get("epsilon_outside"):
        return Unsupported("cuDNN adds epsilon to the variance, not to its root")
    if 0 in x.shape or x.ndim < 2 or (params.get("unbiased") and x.shape[-1] < 2):
        return Unsupported(f"rows of numbers are needed, got {x.shape}")
    return None


def by_inputs(params: Mapping[str, Any]) -> tuple[str, ...]:
    """cuDNN's names of the gradients by the inputs of a norm with ``params``."""
    return ("dx", *(("dscale",) if params["scale"] else ()), *(("dbias",) if params.get("shift") else ()))


def vector(columns: int, name: str, value: Value | None, factor: float, neutral: float) -> Operand:
    """``value``, or else the number that changes nothing, times ``factor``."""
    dims = (1, columns, 1, 1)
    tensor = Tensor(dims, strides_of(dims, "last"), name)
    if value is not None:
        return Operand(tensor, (value,), None if factor == 1 else lambda array: array * factor)
    dtype: Any = {"FLOAT": jnp.float32, "HALF": jnp.float16, "BFLOAT16": jnp.bfloat16}[name]
    return Operand(tensor, (), lambda: jnp.full((columns,), factor * neutral, dtype))


ANCHORS = {"layer_norm": plan, "rms_norm": plan}
