"""Attention: softmax(scale q k^T, masked) v as one graph, whose scores stay inside."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from math import isinf
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax.numpy import finfo

from ...graph.ir import Graph, Node
from ...graph.region import Region
from ...graph.strides import Strided
from .. import heads as heads_of
from ..base import Proposal, Unsupported
from ..heads import Heads, Mask
from .fusion import Fusion, Step
from .tensors import Operand, Tensor, type_name

_ARRAYS = ("q", "k", "v", "result")


def proposals(graph: Graph) -> Iterator[Proposal]:
    """Every attention of ``graph``, with and without the transpositions around it."""
    return heads_of.proposals(graph, _refused, _ARRAYS)


def read(region: Region) -> Fusion | Unsupported:
    """The attention that all nodes of ``region`` are."""
    found = heads_of.read(region, _refused, _ARRAYS)
    return found if isinstance(found, Unsupported) else _fusion(found)


def _refused(node: Node) -> Unsupported | None:
    dtypes = {v.dtype for v in node.inputs}
    # Scores in single precision are what it computes in.
    if len(dtypes) == 1 and all(map(is_half, dtypes)) and (node.out.dtype in dtypes or node.out.dtype == "float32"):
        return None
    # Of float32 it multiplies halves.
    return Unsupported(f"cuDNN's attention takes float16 or bfloat16, got {', '.join(sorted(map(str, dtypes)))}")


def is_half(dtype: Any) -> bool:
    """True for the dtypes that cuDNN's attention takes."""
    return type_name(dtype) in ("HALF", "BFLOAT16")


def _fusion(heads: Heads) -> Fusion:
    q, k, v, result = (tensor_of(getattr(heads, name)) for name in _ARRAYS)
    operands = [Operand(t, (s.value,)) for t, s in ((q, heads.q), (k, heads.k), (v, heads.v))]
    inputs = {"q": 1, "k": 2, "v": 3}
    if heads.mask is not None:
        sizes = (*heads.q.sizes[:3], heads.k.sizes[2])
        operands.append(bias_of(heads.mask, sizes, heads.q.value.dtype))
        inputs["bias"] = 4
    made = heads.result.value
    return Fusion(
        nodes=heads.nodes,
        labels=tuple(heads.label.split("+")),
        result=made,
        axes=(None,) * 4,
        operands=tuple(operands),
        steps=(Step("sdpa", inputs, "o", result, {"scale": heads.scale}),),
        stored=made.shape,
        fuses=False,
    )


def tensor_of(seen: Strided) -> Tensor:
    """``seen`` as it lies in memory."""
    return Tensor(seen.sizes, _filled(seen.sizes, seen.strides), type_name(seen.value.dtype) or "")


def _filled(sizes: Sequence[int], strides: Iterable[int]) -> tuple[int, ...]:
    """Strides where those of lone elements are as far as everything else reaches."""
    pairs = list(zip(sizes, strides, strict=True))
    reach = max([1, *(n * s for n, s in pairs)])
    return tuple(s if n > 1 or i == len(pairs) - 1 else reach for i, (n, s) in enumerate(pairs))


def bias_of(mask: Mask, sizes: Sequence[int], dtype: Any) -> Operand:
    """What is added to the scores: the mask itself, or a number that leaves nothing of them where it says so."""
    dims = tuple(n if s else 1 for n, s in zip(sizes, mask.strides, strict=True))
    tensor = Tensor(dims, _filled(dims, (*mask.strides[:3], 1)), type_name(dtype) or "")
    if mask.keeps is None:
        return Operand(tensor, (mask.value,))

    def make(array: Any) -> Any:
        kept = array if mask.keeps else ~array
        # A number too large for the dtype stays one: of a row that is masked throughout, infinities leave NaN.
        fill = mask.fill if isinf(mask.fill) else float(np.clip(mask.fill, finfo(dtype).min, finfo(dtype).max))
        return jnp.where(kept, 0, jnp.asarray(fill, dtype))

    return Operand(tensor, (mask.value,), make)
