"""How much work the contract puts into a backend."""

from __future__ import annotations

from dataclasses import dataclass

from ..spelling import did_you_mean


@dataclass(frozen=True)
class Effort:
    """Bounds on what is tried.

    ``examples``: arguments drawn for each case of strategies. ``regions``: distinct regions compiled and compared with
    XLA, the cases' own not counted. ``asked``: random regions in each graph that ``supports`` is asked about.
    ``sampled``: regions for the checks that compile each of them several times. ``placed``: whole programs under JAX's
    transformations. ``threads``: those that use the backend at once.
    """

    examples: int
    regions: int
    asked: int
    sampled: int
    placed: int
    threads: int = 4


EFFORTS = {
    "quick": Effort(examples=3, regions=10, asked=2, sampled=3, placed=1, threads=3),
    "normal": Effort(examples=10, regions=100, asked=5, sampled=10, placed=3),
    "thorough": Effort(examples=50, regions=1000, asked=20, sampled=40, placed=12, threads=8),
}


def effort_of(given: str | Effort) -> Effort:
    """``given``, or the effort of that name; ``ValueError`` if there is none."""
    if isinstance(given, Effort):
        return given
    if given not in EFFORTS:
        remedy = did_you_mean(given, EFFORTS) or "; leave it out for 'normal'"
        raise ValueError(f"`effort` must be one of {', '.join(map(repr, EFFORTS))} or an Effort, got {given!r}{remedy}")
    return EFFORTS[given]
