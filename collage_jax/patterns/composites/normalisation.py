"""Layer norm and RMS norm: x over a measure of its size along one axis, then scale and shift.

y = (x - mean) / sqrt(variance + epsilon) * scale + shift          epsilon may stand outside the root
y =  x         / sqrt(mean(x^2) + epsilon) * scale

Batch norm with the statistics of the batch is layer norm's formula along all axes but one.
"""

from __future__ import annotations

import math

from ..language import Term, any_, const, one_of, spread
from ..matcher import Match
from ..vocabulary import add, div, maximum, mul, neg, sub
from .algebra import average, inverse, inverse_square_root, square, square_root
from .found import Params, PatternRecogniser
from .shapes import are_vectors, stands_straight, whole_axes

_X, _SCALE, _SHIFT = any_("x", exact=True), any_("scale"), any_("shift")


def _with_epsilon(term: Term) -> Term:
    return one_of(spread(add(term, const(name="epsilon"))), term)


def _normalised(top: Term, moment: Term) -> Term:
    """``top`` over the root of ``moment``, perhaps scaled; the scale may be multiplied in at any point."""
    deviation = one_of(
        spread(square_root(_with_epsilon(moment))),
        spread(add(spread(square_root(moment)), const(name="outside"))),
    )
    factor = one_of(spread(inverse_square_root(_with_epsilon(moment))), spread(inverse(deviation)))
    scaled_top = mul(top, _SCALE)
    plain = one_of(mul(top, factor), div(top, deviation))
    return one_of(
        mul(plain, _SCALE),
        mul(top, spread(mul(factor, _SCALE))),
        mul(top, spread(div(_SCALE, deviation))),
        mul(scaled_top, factor),
        div(scaled_top, deviation),
        plain,
    )


def _layer_norm() -> Term:
    """
        x --+----------> sub --+--------------------------> mul or div -> [mul scale] -> [add shift]
            |             |    |                                 |
            +-> average --+    +-> square -> average -> (r)sqrt -+

    or, as Flax has it, variance = max(0, average(x^2) - average(x)^2), and as Keras has it,
    y = x * factor + (shift - average(x) * factor) with factor = scale / root.
    """
    centre = spread(average(_X, "n").named("mean"))
    centred = sub(_X, centre)
    fast = sub(spread(average(square(_X), "n")), square(centre))
    slow = average(square(centred), "n_variance")
    variance = spread(one_of(slow, maximum(slow, 0), maximum(fast, 0), fast).named("variance"))
    normalised = _normalised(centred, variance)
    root = spread(inverse_square_root(_with_epsilon(variance)))
    factor = spread(one_of(mul(root, _SCALE), root))
    offset = mul(spread(neg(centre)), factor)
    product = mul(_X, factor)
    return one_of(
        add(normalised, _SHIFT), normalised, add(product, spread(add(offset, _SHIFT))), add(product, spread(offset))
    )


def _axis(match: Match) -> int | None:
    """The only axis, if the reductions, the number of elements and the vectors agree on it."""
    axes = whole_axes(match.attributes["axes"])
    x = match["x"]
    if len(axes) != 1 or not stands_straight(match, "x") or match.numbers["n"] != x.shape[axes[0]]:
        return None
    return axes[0] if are_vectors(match, ("scale", "shift"), axes[0], x) else None


def _epsilon(match: Match) -> float | None:
    """Epsilon, 0 if there is none; None if it is no such thing."""
    epsilon = match.numbers.get("epsilon", match.numbers.get("outside", 0.0))
    return epsilon if 0.0 <= epsilon < math.inf else None


def _layer_norm_params(match: Match) -> Params | None:
    axis, epsilon = _axis(match), _epsilon(match)
    if axis is None or epsilon is None:
        return None
    n = match["x"].shape[axis]
    divisor = match.numbers.get("n_variance", n)
    if divisor not in (n, n - 1):
        return None
    return {
        "axis": axis,
        "epsilon": epsilon,
        "unbiased": divisor != n,
        "epsilon_outside": "outside" in match,
        "scale": "scale" in match,
        "shift": "shift" in match,
    }


def _batch_norm_params(match: Match) -> Params | None:
    """For channels that come last, as in the layout that libraries have it for."""
    x, epsilon = match["x"], _epsilon(match)
    channels, rows = x.ndim - 1, math.prod(x.shape[:-1])
    if x.ndim < 2 or whole_axes(match.attributes["axes"]) != tuple(range(channels)) or epsilon is None:
        return None
    if "outside" in match or {match.numbers["n"], match.numbers.get("n_variance", rows)} != {rows}:
        return None
    if not stands_straight(match, "x") or not are_vectors(match, ("scale", "shift"), channels, x):
        return None
    return {"axis": channels, "epsilon": epsilon, "scale": "scale" in match, "shift": "shift" in match}


def _rms_norm_params(match: Match) -> Params | None:
    axis, epsilon = _axis(match), _epsilon(match)
    if axis is None or epsilon is None or "outside" in match:
        return None
    return {"axis": axis, "epsilon": epsilon, "scale": "scale" in match}


_CENTRED = _layer_norm()

RECOGNISERS = (
    PatternRecogniser(
        "layer_norm",
        _CENTRED,
        _layer_norm_params,
        ("x", "scale", "shift"),
        through_casts=True,
        also=("mean", "variance"),
    ),
    PatternRecogniser(
        "rms_norm",
        _normalised(_X, spread(average(square(_X), "n").named("variance"))),
        _rms_norm_params,
        ("x", "scale"),
        through_casts=True,
        also=("variance",),
    ),
)

#: No composite, which would make one array: others read its statistics, too.
WITH_STATISTICS = PatternRecogniser(
    "batch_norm_with_statistics",
    _CENTRED,
    _batch_norm_params,
    ("x", "scale", "shift"),
    through_casts=True,
    also=("mean", "variance"),
)
