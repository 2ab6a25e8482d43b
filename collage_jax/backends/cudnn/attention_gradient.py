"""The gradient of attention: the forward pass with the logarithms of its sums, then the gradients by q, k and v.

The forward pass is run again, since no program keeps those logarithms; its weights are then in no memory at all.
"""

from __future__ import annotations

from collections.abc import Iterator

from ...graph.ir import Graph, Node
from ...graph.origins import Inside
from ...graph.region import Region
from ...graph.strides import Strided, destinations, sources_for
from ...graph.wholes import Gradient
from ..base import Unsupported
from ..heads import Axes, Mask, axes_of, in_order, mask_of
from .attention import bias_of, is_half, tensor_of
from .stages import Operation, Output, Stages
from .tensors import Operand, Tensor, strides_of


def plans(graph: Graph, gradient: Gradient, region: Region, inside: Inside) -> Iterator[Stages | Unsupported]:
    """``gradient``, which the nodes of ``region`` are, with and without the transpositions around it; or why not."""
    axes, mask = axes_of(gradient), mask_of(gradient)
    if isinstance(axes, Unsupported) or isinstance(mask, Unsupported):
        yield next(why for why in (axes, mask) if isinstance(why, Unsupported))
        return
    arrays = (*gradient.inputs[:3], gradient.cotangent, *gradient.made)
    if len({v.dtype for v in arrays}) > 1 or not is_half(gradient.cotangent.dtype):
        yield Unsupported(f"cuDNN's attention takes float16 or bfloat16, got {gradient.cotangent.dtype}")
        return
    options = {
        name: [in_order(seen, axes[of]) for seen in sources_for(graph, value, region.nodes, inside)]
        for name, of, value in zip(("q", "k", "v", "do"), ("q", "k", "v", "result"), arrays[:4], strict=True)
    }
    for name, value in zip("qkv", gradient.made, strict=True):
        options["d" + name] = [in_order(seen, axes[name]) for seen in destinations(graph, value, inside)]
    for name, found in options.items():
        options[name] = [seen for seen in found if seen.strides[3] == 1 or seen.sizes[3] == 1]
    if not all(options.values()):
        missing = " and ".join(name for name, found in options.items() if not found)
        yield Unsupported(f"the last axis in memory must be the columns of {missing}")
        return
    for choice in (0, -1):
        seen = {name: found[choice] for name, found in options.items()}
        nodes = Region.of(graph, (*region.nodes, *(n for each in seen.values() for n in each.nodes))).nodes
        yield _stages(nodes, axes, seen, float(gradient.params["scale"]), mask)


def _stages(nodes: tuple[Node, ...], axes: Axes, seen: dict[str, Strided], scale: float, mask: Mask | None) -> Stages:
    given = {name: Operand(tensor_of(seen[name]), (seen[name].value,)) for name in ("q", "k", "v", "do")}
    made = {name: tensor_of(seen[name]) for name in ("dq", "dk", "dv")}
    batch, heads, rows, _ = seen["q"].sizes
    sums = (batch, heads, rows, 1)
    made["o"] = Tensor(seen["do"].sizes, strides_of(seen["do"].sizes, "first"), given["do"].tensor.dtype)
    made["stats"] = Tensor(sums, strides_of(sums, "first"), "FLOAT")
    inputs: dict[str, str | float] = {name: name for name in "qkv"}
    if mask is not None:
        given["bias"] = bias_of(mask, (batch, heads, rows, seen["k"].sizes[2]), seen["q"].value.dtype)
        inputs["bias"] = "bias"
    forward = Operation("sdpa", inputs, {"o": "o", "stats": "stats"}, {"scale": scale})
    backward = Operation(
        "sdpa_backward",
        {**inputs, **{name: name for name in ("o", "do", "stats")}},
        {name: name for name in ("dq", "dk", "dv")},
        {"scale": scale},
    )
    label = "attention_gradient" if mask is None else "attention_gradient+mask"
    results = {name: Output(seen[name].value, seen[name].value.shape) for name in ("dq", "dk", "dv")}
    return Stages(nodes, label, given, made, ((forward,), (backward,)), results)
