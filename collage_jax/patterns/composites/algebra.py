"""The ways in which users and JAX write the same small formula."""

from __future__ import annotations

from ..language import Term, const, one_of, op, same, spread
from ..vocabulary import div, maximum, mul, reduce_max, reduce_sum, select_n


def scaled(term: Term, factor: float) -> Term:
    """``term`` times a constant, or divided by its inverse."""
    return one_of(mul(term, factor), div(term, 1 / factor))


def product(a: Term, b: Term, c: Term) -> Term:
    """a * b * c in any association."""
    return one_of(mul(mul(a, b), c), mul(mul(a, c), b), mul(mul(b, c), a))


def square(term: Term) -> Term:
    return one_of(
        op("square")(term),
        op("integer_pow")(term, y=2),
        mul(term, term),
        op("pow")(term, 2),
    )


def cube(term: Term) -> Term:
    return one_of(op("integer_pow")(term, y=3), mul(square(term), term), op("pow")(term, 3))


def square_root(term: Term) -> Term:
    return one_of(op("sqrt")(term), op("pow")(term, 0.5))


def inverse(term: Term) -> Term:
    return one_of(div(1, term), op("integer_pow")(term, y=-1), op("reciprocal")(term))


def inverse_square_root(term: Term) -> Term:
    return one_of(op("rsqrt")(term), op("pow")(term, -0.5), inverse(square_root(term)))


def chosen_if_positive(x: Term, positive: Term, negative: Term) -> Term:
    """where(x > 0, positive, negative), however compared; for functions whose two sides meet at 0."""
    above = one_of(op("gt", "ge")(x, 0), op("lt", "le")(0, x))
    return one_of(select_n(above, negative, positive), unless_negative(x, positive, negative))


def unless_negative(x: Term, positive: Term, negative: Term) -> Term:
    """where(x < 0, negative, positive), however compared: ``positive`` where x is NaN."""
    below = one_of(op("lt", "le")(x, 0), op("gt", "ge")(0, x))
    return select_n(below, positive, negative)


def total(term: Term) -> Term:
    """The sum over the pattern's ``axes``, which all its reductions share."""
    return spread(reduce_sum(term, axes=same("axes")))


def average(term: Term, count: str) -> Term:
    """The mean over the pattern's ``axes``: sum / n or sum * (1/n), n captured as ``count``."""
    summed = total(term)
    return one_of(
        div(summed, const(name=count)),
        mul(summed, const(name=count, reading=whole_inverse)),
    )


def largest(term: Term) -> Term:
    """The maximum over the pattern's ``axes``; ``jax.nn.softmax`` adds a maximum with minus infinity."""
    reduced = reduce_max(term, axes=same("axes"))
    return spread(one_of(reduced, maximum(spread(reduced), -float("inf"))))


def whole_inverse(number: float) -> float:
    """1 / number, rounded to the whole number it stands for."""
    return float(round(1 / number))
