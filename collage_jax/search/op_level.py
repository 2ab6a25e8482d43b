"""Op-level choice: candidates and their costs -> which backend runs which region of one graph."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from ..candidates import XLA, Candidate, Candidates, is_view
from ..costs import Cost, Failed, Measured
from ..device import UNKEPT_BYTES
from ..graph.region import Region
from .cover import cheapest_cover
from .piece import Piece

#: What a region costs besides its own time, in microseconds: a custom call, and the end of XLA's fusion around it.
BOUNDARY_US = 1.0


@dataclass(frozen=True)
class Charges:
    """What regions cost besides their own time: each byte that a region hands to others, and what stays with XLA.

    ``fresh_us_per_byte`` is for results of XLA's that lie in memory which is not kept from call to call, as those do
    which are large: programs of ours keep theirs.

    A region of XLA's between others may cost ``xla_us`` more: there a joined call ends, the threads of the libraries
    fall asleep, and another call has to wake them. ``xla_share`` of its own time is charged where it has to be clearly
    faster to be chosen.

    ``leaving_us`` is what a region costs that leaves XLA. Of covers that cost the same, one with the least sum of
    ``rank`` is taken.
    """

    handover_us_per_byte: float = 0.0
    fresh_us_per_byte: float = 0.0
    xla_us: float = 0.0
    xla_share: float = 0.0
    leaving_us: float = BOUNDARY_US
    rank: Callable[[Candidate], int] = lambda candidate: int(candidate.backend != XLA)

    def unbroken(self) -> Charges:
        """Charges that keep XLA out from between other regions unless that costs much."""
        return replace(self, xla_us=50.0, xla_share=0.25)


NO_CHARGES = Charges()


@dataclass(frozen=True, eq=False)
class Choice:
    """``placed``: the regions that leave XLA. ``cost_us``: predicted time of all that had candidates."""

    placed: tuple[tuple[Region, str], ...]
    cost_us: float
    exact: bool


def choose(candidates: Candidates, costs: Mapping[tuple[str, str], Cost], charges: Charges = NO_CHARGES) -> Choice:
    """The cheapest cover. Candidates that failed or were not measured take no part.

    A node that there was no time to measure alone counts as taking XLA as long as the quickest region around it; what
    touches a node that XLA cannot run alone stays with XLA.
    """
    usable = [(c, cost) for c in candidates.chosen_from if isinstance(cost := costs.get((c.key, c.backend)), Measured)]
    usable += _at_most(candidates, costs, usable)
    alone = {c.region.indices[0] for c, _ in usable if c.backend == XLA and len(c.region.nodes) == 1}
    usable = [(c, cost) for c, cost in usable if alone.issuperset(c.region.indices)]
    if not usable:
        return Choice((), 0.0, True)
    pieces = [
        Piece(c.region.indices, _charged_us(c, cost, charges), charges.rank(c), is_step=c.backend != XLA)
        for c, cost in usable
    ]
    cover = cheapest_cover(pieces, candidates.graph.predecessors)
    placed = tuple((usable[i][0].region, usable[i][0].backend) for i in cover.chosen if usable[i][0].backend != XLA)
    return Choice(placed, cover.cost, cover.exact)


def _at_most(
    candidates: Candidates, costs: Mapping[tuple[str, str], Cost], usable: Sequence[tuple[Candidate, Measured]]
) -> Iterator[tuple[Candidate, Measured]]:
    """What XLA takes at most for single nodes that were not measured."""
    least: dict[int, Measured] = {}
    for candidate, cost in usable:
        if candidate.backend == XLA:
            for index in candidate.region.indices:
                least[index] = min(least.get(index, cost), cost, key=lambda c: c.median_us)
    singles = [c for c in candidates.chosen_from if c.backend == XLA and len(c.region.nodes) == 1]
    for candidate in singles:
        cost, index = costs.get((candidate.key, XLA)), candidate.region.indices[0]
        if (cost is None or (isinstance(cost, Failed) and cost.stage == "budget")) and index in least:
            yield candidate, least[index]


def _charged_us(candidate: Candidate, cost: Measured, charges: Charges) -> float:
    stays = candidate.backend == XLA
    if is_view(candidate.region):
        # A change of shape alone hands nothing over, and interrupts nothing.
        return cost.median_us + (0.0 if stays else charges.leaving_us)
    own_us = charges.xla_us + charges.xla_share * cost.median_us if stays else charges.leaving_us
    result_bytes = sum(v.nbytes for v in candidate.region.exits)
    fresh_bytes = result_bytes if stays and _working_bytes(candidate) > UNKEPT_BYTES else 0
    return (
        cost.median_us + own_us + charges.handover_us_per_byte * result_bytes + charges.fresh_us_per_byte * fresh_bytes
    )


def _working_bytes(candidate: Candidate) -> int:
    """The memory for what is made in each call and must be there while the region runs."""
    region = candidate.region
    return sum(v.nbytes for v in (*region.entries, *region.exits) if v not in candidate.frozen)
