"""Attention as one composite: two products around a softmax, which may be one already.

q, k -> dot_general -> [mul or div by a constant] -> [add bias | where mask] -> softmax -> dot_general <- v
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from ...graph.ir import Constant, Value
from ..constants import is_float
from ..language import Pattern, Term, any_, const, one_of, op
from ..matcher import Match, Matcher
from ..vocabulary import add, div, mul, select_n, softmax
from .found import Found
from .shapes import stands_straight, whole_axes
from .softmax import softmax_of


def _attention() -> Term:
    product = op("dot_general")(any_("first"), any_("second")).named("qk")
    scaled = one_of(mul(product, const(name="factor")), div(product, const(name="divisor")), product)
    mask, fill = any_("mask"), const(name="fill")
    scores = one_of(
        add(scaled, mask).named("bias"),
        select_n(mask, fill, scaled).named("keep"),
        select_n(mask, scaled, fill).named("drop"),
        scaled,
    ).named("scores")
    weights, v = one_of(softmax(scores).named("softmax"), softmax_of(scores)), any_("v")
    return one_of(
        op("dot_general")(weights, v).named("weights_first"),
        op("dot_general")(v, weights).named("v_first"),
    )


_PATTERN = Pattern("attention", _attention(), through_casts=True)
_READ_INSIDE = replace(_PATTERN, multi_exit=True)


def find_attention(matcher: Matcher, *, read_inside: bool = False) -> Iterable[Found]:
    """Attention with ``(q, k, v, [mask])``; see the package for its parameters.

    ``read_inside``: scores and weights may be read by others, too, as a gradient does.
    """
    for match in matcher.find(_READ_INSIDE if read_inside else _PATTERN):
        found = _read(match)
        if found is not None:
            yield found


def _read(match: Match) -> Found | None:
    axes = (int(match.params["softmax"]["axis"]),) if "softmax" in match else whole_axes(match.attributes["axes"])
    qk = match.params["qk"]["dimension_numbers"]
    weights_operand = 0 if "weights_first" in match else 1
    av = match.root.params["dimension_numbers"]
    if match.node("qk").out.shape != match["scores"].shape or match.numbers.get("divisor") == 0:
        return None  # a mask repeats the scores; nothing is divided by zero
    k_operand = _operand_of_score_dim(match["first"], qk, axes[0]) if len(axes) == 1 else None
    straight = stands_straight(match, "scores") and is_float(match["scores"].dtype)
    mask = match.get("mask")
    if k_operand is None or not straight or whole_axes(av[0][weights_operand]) != axes or isinstance(mask, Constant):
        return None
    q, k = (match["second"], match["first"]) if k_operand == 0 else (match["first"], match["second"])
    if not q.dtype == k.dtype == match["v"].dtype == match.root.out.dtype:
        return None  # conversions inside are the same function in wider numbers; at the ends they are none
    numbers = match.numbers
    params = {
        "scale": numbers["factor"] if "factor" in numbers else 1.0 / numbers.get("divisor", 1.0),
        "qk": qk,
        "q_operand": 1 - k_operand,
        "axis": axes[0],
        "av": av,
        "v_operand": 1 - weights_operand,
        "mask": next((kind for kind in ("bias", "keep", "drop") if kind in match), "none"),
        "mask_dims": match.dims("mask") if mask is not None else (),
        "fill": numbers.get("fill"),
    }
    inputs = (q, k, match["v"]) if mask is None else (q, k, match["v"], mask)
    return Found("attention", params, inputs, match.nodes, match.root)


def _operand_of_score_dim(first: Value, qk: Any, dim: int) -> int | None:
    """The operand of the first product whose own dimension is ``dim`` of the scores; None for a batch dimension."""
    (contracting, _), (batch, _) = qk
    own = first.ndim - len(batch) - len(contracting)
    return None if dim < len(batch) else 0 if dim < len(batch) + own else 1
