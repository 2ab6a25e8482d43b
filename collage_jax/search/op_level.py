"""Op-level choice: candidates and their costs -> which backend runs which region of one graph."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ..candidates import XLA, Candidate, Candidates, is_view
from ..costs import Cost, Measured
from ..graph.region import Region
from .cover import Piece, cheapest_cover

#: What a region costs besides its own time, in microseconds: a custom call, and the end of XLA's fusion around it.
BOUNDARY_US = 1.0
#: What a region of XLA's may cost besides where it lies between others: there a joined call ends, the threads of the
#: libraries fall asleep, and another call has to wake them.
INTERRUPTION_US = 50.0


@dataclass(frozen=True, eq=False)
class Choice:
    """``placed``: the regions that leave XLA. ``cost_us``: predicted time of all that had candidates."""

    placed: tuple[tuple[Region, str], ...]
    cost_us: float
    exact: bool


def choose(
    candidates: Candidates,
    costs: Mapping[tuple[str, str], Cost],
    handover_us_per_byte: float = 0.0,
    interruption_us: float = 0.0,
) -> Choice:
    """The cheapest cover. Candidates that failed or were not measured take no part.

    A node without a measured XLA cost of its own can still be covered by a larger region; if that is not possible
    either, everything that touches it stays with XLA. Each byte that a region hands to others is charged
    ``handover_us_per_byte``, and each region that stays with XLA ``interruption_us``.
    """
    usable = [(c, cost) for c in candidates.chosen_from if isinstance(cost := costs.get((c.key, c.backend)), Measured)]
    alone = {c.region.indices[0] for c, _ in usable if c.backend == XLA and len(c.region.nodes) == 1}
    usable = [(c, cost) for c, cost in usable if alone.issuperset(c.region.indices)]
    if not usable:
        return Choice((), 0.0, True)
    pieces = [
        Piece(c.region.indices, cost.median_us + boundary_us, rank=int(c.backend != XLA), is_step=c.backend != XLA)
        for c, cost in usable
        for boundary_us in (_boundary_us(c, handover_us_per_byte, interruption_us),)
    ]
    cover = cheapest_cover(pieces, candidates.graph.predecessors)
    placed = tuple((usable[i][0].region, usable[i][0].backend) for i in cover.chosen if usable[i][0].backend != XLA)
    return Choice(placed, cover.cost, cover.exact)


def _boundary_us(candidate: Candidate, handover_us_per_byte: float, interruption_us: float) -> float:
    if is_view(candidate.region):
        # A change of shape alone hands nothing over, and interrupts nothing.
        return BOUNDARY_US if candidate.backend != XLA else 0.0
    own_us = BOUNDARY_US if candidate.backend != XLA else interruption_us
    return own_us + handover_us_per_byte * sum(v.nbytes for v in candidate.region.exits)
