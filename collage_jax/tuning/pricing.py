"""What each candidate of a program costs: known from before, or measured now."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

from .. import _compat, device, watch
from ..backends.base import Backend
from ..candidates import XLA, Candidate, Candidates
from ..costs import Cost, CostKey, CostStore, Failed, Measured
from ..measure import regions
from ..placement import PlacedRegion


@dataclass(frozen=True)
class Prices:
    """Costs by (region key, backend); ``measured`` are the distinct regions that were measured for them now."""

    costs: Mapping[tuple[str, str], Cost]
    measured: int
    notes: tuple[str, ...] = ()

    @property
    def unknown(self) -> int:
        """How many distinct regions have a candidate that was not measured."""
        return len({key for (key, _), cost in self.costs.items() if isinstance(cost, Failed) and not cost.was_tried})

    @property
    def why_plain(self) -> str:
        """Why no plan is worth timing as a whole, if none is."""
        if any(isinstance(cost, Measured) and name != XLA for (_, name), cost in self.costs.items()):
            return "XLA is the fastest on every region that was measured."
        return "No kernel but XLA's own was right and timed."


def keys_by(backends: Mapping[str, Backend]) -> Callable[[Candidate | PlacedRegion], CostKey]:
    """What a candidate's cost is kept under, on this machine and with these settings; a placed one's too."""
    settings, machine = device.settings(), device.description()
    versions = {name: backend.version() for name, backend in backends.items()}

    def key_of(candidate: Candidate | PlacedRegion) -> CostKey:
        name = candidate.backend
        return CostKey(candidate.key, name, versions[name], _compat.JAXLIB_VERSION, machine, settings)

    return key_of


def price(
    options: Collection[Candidates],
    backends: Mapping[str, Backend],
    store: CostStore,
    deadline: float,
    one_by_one: bool = False,
) -> Prices:
    """The costs of all candidates in ``options``. An interrupt ends the measuring; what is known by then counts."""
    candidates = [c for o in options for c in o.chosen_from]
    costs: dict[tuple[str, str], Cost] = {}
    measured: set[str] = set()
    notes: tuple[str, ...] = ()
    total = len({c.key for c in candidates})
    seen: set[str] = set()
    try:
        for group, found in regions.measure(candidates, backends, store, keys_by(backends), deadline, one_by_one):
            costs.update(((group[name].key, name), cost) for name, cost in found.items())
            if any(isinstance(cost, Measured) and cost.runs and not cost.recalled for cost in found.values()):
                measured.update(c.key for c in group.values())
            seen.update(c.key for c in group.values())
            watch.report("regions", len(seen), total)
    except KeyboardInterrupt:
        notes = ("Tuning was interrupted: the best of what was measured is used.",)
    return Prices(costs, len(measured), notes)
