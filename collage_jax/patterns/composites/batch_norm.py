"""Batch norm with given statistics, as at inference: four vectors along the channels."""

from __future__ import annotations

import math

from ..language import Term, any_, const, one_of, spread
from ..matcher import Match
from ..vocabulary import add, div, mul, sub
from .algebra import inverse_square_root, square_root
from .found import Params, PatternRecogniser
from .shapes import are_vectors, axis_of, stands_straight

_VECTORS = ("mean", "variance", "scale", "shift")


def _batch_norm() -> Term:
    """
        x -> sub(mean) -> mul(rsqrt(variance + epsilon)) or div(sqrt(...)) -> [mul scale] -> [add shift]

    or, with the factor f = rsqrt(variance + epsilon) * scale, x * f + (shift - mean * f).
    """
    x, mean, scale, shift = (
        any_("x", exact=True),
        any_("mean"),
        any_("scale"),
        any_("shift"),
    )
    safe = spread(add(spread(any_("variance")), const(name="epsilon")))
    deviation, factor = spread(square_root(safe)), spread(inverse_square_root(safe))
    scaled_factor = one_of(spread(mul(factor, scale)), spread(div(scale, deviation)))
    centred = sub(x, mean)
    plain = one_of(mul(centred, factor), div(centred, deviation))
    scaled = one_of(
        mul(plain, scale),
        mul(centred, scaled_factor),
        mul(mul(centred, scale), factor),
        div(mul(centred, scale), deviation),
    )
    unfolded = add(mul(x, scaled_factor), spread(sub(shift, mul(mean, scaled_factor))))
    return one_of(add(scaled, shift), scaled, add(plain, shift), plain, unfolded)


def _params(match: Match) -> Params | None:
    x = match["x"]
    axis = axis_of(match, "mean")
    epsilon = match.numbers["epsilon"]
    if axis is None or x.ndim < 2 or not 0.0 <= epsilon < math.inf or not stands_straight(match, "x"):
        return None
    # A batch of one is a vector too; where it shifts itself, what follows it is no function of it and of statistics.
    if not are_vectors(match, _VECTORS, axis, x) or any(match[name] is x for name in _VECTORS if name in match):
        return None
    return {
        "axis": axis,
        "epsilon": epsilon,
        "scale": "scale" in match,
        "shift": "shift" in match,
    }


RECOGNISERS = (PatternRecogniser("batch_norm", _batch_norm(), _params, ("x", *_VECTORS)),)
