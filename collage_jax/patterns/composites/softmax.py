"""Softmax and its logarithm, with the maximum subtracted (without it, they overflow where these do not)."""

from __future__ import annotations

from ..language import Term, any_, one_of, spread
from ..matcher import Match
from ..vocabulary import div, exp, log, mul, sub
from .algebra import inverse, largest, total
from .found import Params, PatternRecogniser
from .shapes import stands_straight, whole_axes


def softmax_of(x: Term) -> Term:
    """
    x ---------> sub -> exp -+-----------> div
    |             |          |              |
    +-> reduce_max           +-> reduce_sum-+
    """
    numerator = exp(sub(x, largest(x)))
    return one_of(
        div(numerator, total(numerator)),
        mul(numerator, spread(inverse(total(numerator)))),
    )


def log_softmax_of(x: Term) -> Term:
    """
    x ---------> sub -+-----------------------> sub
    |             |   |                          |
    +-> reduce_max    +-> exp -> reduce_sum -> log
    """
    shifted = sub(x, largest(x))
    return sub(shifted, spread(log(total(exp(shifted)))))


def _params(match: Match) -> Params | None:
    axes = whole_axes(match.attributes["axes"])
    return {"axis": axes[0]} if len(axes) == 1 and stands_straight(match, "x") else None


_X = any_("x", exact=True)

RECOGNISERS = tuple(
    PatternRecogniser(op, term, _params, through_casts=through_casts, keeps_dtype=True)
    for op, term in (("softmax", softmax_of(_X)), ("log_softmax", log_softmax_of(_X)))
    for through_casts in (False, True)  # of 16-bit numbers the sum is one of single precision
)
