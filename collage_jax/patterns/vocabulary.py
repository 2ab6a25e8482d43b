"""Names for operations: the primitives that patterns are written with, and every composite.

A composite is called with its inputs in canonical order and, if wished, its parameters: ``gelu(x, approximate=True)``,
``layer_norm(x, scale, shift)``. Uncalled, it matches whatever the inputs are.
"""

from __future__ import annotations

import re

from .. import _compat
from ..graph.elementwise import ELEMENTWISE
from ..graph.ir import Node
from ..spelling import did_you_mean
from ..switches import NAME_DIGITS
from .language import Op, op

#: The name of a region is the beginning of a hash.
_REGION = re.compile(f"[0-9a-f]{{{NAME_DIGITS},}}")


def is_spatial(node: Node) -> bool:
    """True if the node reduces all that is neither batch nor channels, channels being last or second."""
    ndim, axes = node.inputs[0].ndim, tuple(sorted(int(a) for a in node.params["axes"]))
    return ndim >= 3 and axes in (tuple(range(1, ndim - 1)), tuple(range(2, ndim)))


add, sub, mul, div = op("add", "add_any"), op("sub"), op("mul"), op("div")
maximum, minimum = op("max"), op("min")
exp, expm1, log, log1p = op("exp"), op("expm1"), op("log"), op("log1p")
tanh, neg, absolute = op("tanh"), op("neg"), op("abs")
reduce_sum, reduce_max = op("reduce_sum"), op("reduce_max")
select_n, clamp = op("select_n"), op("clamp")

sigmoid, silu, softplus, mish = op("sigmoid"), op("silu"), op("softplus"), op("mish")
relu, relu6, clip, leaky_relu, elu = (
    op("relu"),
    op("relu6"),
    op("clip"),
    op("leaky_relu"),
    op("elu"),
)
gelu, hard_sigmoid, hard_swish = op("gelu"), op("hard_sigmoid"), op("hard_swish")
softmax, log_softmax = op("softmax"), op("log_softmax")
layer_norm, rms_norm, batch_norm = op("layer_norm"), op("rms_norm"), op("batch_norm")
avg_pool, max_pool, global_max_pool = (
    op("avg_pool"),
    op("max_pool"),
    op("global_max_pool"),
)
mean, global_avg_pool = op("mean"), op("mean", where=is_spatial)
upsample_nearest, attention = op("upsample_nearest"), op("attention")


def why_no_region(name: str) -> str | None:
    """What is wrong with a name that stands for no region of any program; None if it may stand for one."""
    composites = {each for term in globals().values() if isinstance(term, Op) for each in term.ops}
    known = composites | ELEMENTWISE | _compat.lowered_on("cpu") | _compat.lowered_on("cuda")
    if name in known or _REGION.fullmatch(name):
        return None
    return (
        "must hold operations by their full names, such as 'conv_general_dilated', and names of regions, as `explain` "
        f"prints them, got {name!r}, which switches nothing off{did_you_mean(name, known)}"
    )
