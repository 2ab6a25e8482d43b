"""Activations: functions of one value, element by element.

In the sketches, ``c`` is a constant and operands may stand in either order.
"""

from __future__ import annotations

import math

from ..language import Term, any_, const, one_of, op
from ..matcher import Match
from ..vocabulary import absolute, add, clamp, div, exp, expm1, log1p, maximum, minimum, mul, neg, select_n, sub, tanh
from .algebra import chosen_if_positive, cube, product, scaled, square, unless_negative
from .found import Params, PatternRecogniser, no_params

X = any_("x", exact=True)

# max(x, 0)   or   where(x < 0, 0, x); where(x > 0, x, 0) makes 0 of NaN
_RELU = one_of(maximum(X, 0), unless_negative(X, X, const(0)))


def _clipped(x: Term, low: Term, high: Term) -> Term:
    """min(max(x, low), high), max(min(x, high), low) or clamp."""
    return one_of(
        minimum(maximum(x, low), high),
        maximum(minimum(x, high), low),
        clamp(low, x, high),
    )


def _clip_params(match: Match) -> Params | None:
    low, high = match.numbers["min"], match.numbers["max"]
    return {"min": low, "max": high} if low <= high and (low, high) != (0.0, 6.0) else None


# where(x > 0, x, c * x)   or   max(x, c * x) if 0 < c <= 1
_LEAKY = one_of(
    chosen_if_positive(X, X, mul(X, const(name="alpha"))),
    maximum(X, mul(X, const(name="alpha"))).named("max"),
)


def _leaky_params(match: Match) -> Params | None:
    alpha = match.numbers["alpha"]
    return None if "max" in match and not 0 < alpha <= 1 else {"alpha": alpha}


def _scaled_by_alpha(term: Term) -> Term:
    return one_of(mul(term, const(name="alpha")), term)


def _exp_minus_1(x: Term) -> Term:
    return one_of(expm1(x), sub(exp(x), 1), add(exp(x), -1))


# where(x > 0, x, c * expm1(x)), the inner x perhaps cut off above 0   or   max(x, 0) + c * expm1(min(x, 0))
_NOT_POSITIVE = one_of(chosen_if_positive(X, const(0), X), minimum(X, 0), X)
_ELU = one_of(
    chosen_if_positive(X, X, _scaled_by_alpha(_exp_minus_1(_NOT_POSITIVE))),
    add(maximum(X, 0), _scaled_by_alpha(_exp_minus_1(minimum(X, 0)))),
)


def _elu_params(match: Match) -> Params:
    return {"alpha": match.numbers.get("alpha", 1.0)}


# logistic(x)   or   1 / (1 + exp(-x))   or   (1 + tanh(x / 2)) / 2
_SIGMOID = one_of(
    op("logistic")(X),
    div(1, add(1, exp(neg(X)))),
    scaled(add(1, tanh(scaled(X, 0.5))), 0.5),
)

# x * sigmoid(x)   or   x / (1 + exp(-x))
_SILU = one_of(mul(X, _SIGMOID), div(X, add(1, exp(neg(X)))))

# clip(x + 3, 0, 6) / 6   or   clip(x / 6 + 1/2, 0, 1)
_RELU6_OF_X_PLUS_3 = _clipped(add(X, 3), const(0), const(6))
_HARD_SIGMOID = one_of(
    scaled(_RELU6_OF_X_PLUS_3, 1 / 6),
    _clipped(add(scaled(X, 1 / 6), 0.5), const(0), const(1)),
)

# x * hard_sigmoid(x)   or   x * clip(x + 3, 0, 6) / 6
_HARD_SWISH = one_of(mul(X, _HARD_SIGMOID), scaled(mul(X, _RELU6_OF_X_PLUS_3), 1 / 6))

# 1 + erf(x / sqrt 2), written so or as erfc(-x / sqrt 2)
_TWICE_NORMAL_CDF = one_of(
    add(1, op("erf")(scaled(X, math.sqrt(0.5)))),
    op("erfc")(
        one_of(
            scaled(neg(X), math.sqrt(0.5)),
            neg(scaled(X, math.sqrt(0.5))),
            scaled(X, -math.sqrt(0.5)),
        )
    ),
)

# 1 + tanh(sqrt(2 / pi) * (x + 0.044715 x^3)), the argument in any association
_SQRT_2_PI, _CUBIC = math.sqrt(2 / math.pi), 0.044715
_CUBIC_TERM = one_of(mul(cube(X), _CUBIC), mul(mul(X, _CUBIC), square(X)), mul(mul(mul(X, _CUBIC), X), X))
_TANH_ARGUMENT = one_of(
    mul(add(X, _CUBIC_TERM), _SQRT_2_PI),
    product(X, const(_SQRT_2_PI), add(1, mul(square(X), _CUBIC))),
    product(X, const(_SQRT_2_PI), add(1, product(X, X, const(_CUBIC)))),
)
_TWICE_TANH_CDF = add(1, tanh(_TANH_ARGUMENT))


def _half_of_product(x: Term, other: Term) -> Term:
    """x * other / 2 in any association."""
    return one_of(
        scaled(mul(x, other), 0.5),
        mul(scaled(x, 0.5), other),
        mul(x, scaled(other, 0.5)),
    )


# logaddexp(x, 0) as JAX writes it:   where(x - 0 != x - 0, x + 0, max(x, 0) + log1p(exp(-|x - 0|)))
_DIFFERENCE = one_of(sub(X, 0), X)
_STABLE_SOFTPLUS = add(maximum(X, 0), log1p(exp(neg(absolute(_DIFFERENCE)))))
_SOFTPLUS = one_of(
    select_n(op("ne")(_DIFFERENCE, _DIFFERENCE), _STABLE_SOFTPLUS, add(X, 0)),
    _STABLE_SOFTPLUS,
)

GELU_BY_TANH = PatternRecogniser("gelu", _half_of_product(X, _TWICE_TANH_CDF), lambda match: {"approximate": True})

RECOGNISERS = (
    PatternRecogniser("relu", _RELU, no_params),
    PatternRecogniser("relu6", one_of(_clipped(X, const(0), const(6)), minimum(_RELU, 6)), no_params),
    PatternRecogniser("clip", _clipped(X, const(name="min"), const(name="max")), _clip_params),
    PatternRecogniser("leaky_relu", _LEAKY, _leaky_params),
    PatternRecogniser("elu", _ELU, _elu_params),
    PatternRecogniser("sigmoid", _SIGMOID, no_params),
    PatternRecogniser("silu", _SILU, no_params),
    PatternRecogniser("hard_sigmoid", _HARD_SIGMOID, no_params),
    PatternRecogniser("hard_swish", _HARD_SWISH, no_params),
    PatternRecogniser(
        "gelu",
        _half_of_product(X, _TWICE_NORMAL_CDF),
        lambda match: {"approximate": False},
    ),
    GELU_BY_TANH,
    PatternRecogniser("softplus", _SOFTPLUS, no_params),
    PatternRecogniser("mish", mul(X, tanh(_SOFTPLUS)), no_params),
)
