"""Which regions are measured when, so that little is lost where time runs out.

Regions that lie within each other (a convolution; the same with its bias and activation) form a *family* and are timed
in the same rounds. Families with most work come first, in each the largest region. What XLA takes seconds for could use
up all the time on one family, so each has its share, and parts of what a kernel runs as a whole wait: what a family
does not come to is measured when all others have been, if there is time.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TypeAlias

from ..candidates import XLA, Candidate
from ..costs import Cost, Failed
from ..graph.ir import Node
from .compare import reduction_length

#: The candidates of one region by backend.
Group: TypeAlias = Mapping[str, Candidate]

#: A family may take its part of all work of the time left, and at least so many times what each would get of equal
#: parts: compiling takes time whatever a region's work, and most need less than that.
EQUAL_PARTS = 2.0
#: Where XLA, or what stands for it, takes this many seconds, parts of a region wait. They have this much of the time
#: that the others leave: the rest is for whole programs.
WAIT_S, SECOND_PART = 0.1, 0.25


def shares(
    groups: Sequence[Group], uses: Mapping[str, int], deadline: float, unlimited: bool = False
) -> Iterator[tuple[list[Group], float]]:
    """The families of ``groups``, each with when its share of the time is over (of ``time.perf_counter``).

    ``uses`` is how often each region, by its key, is there. ``unlimited``: never.
    """
    works = [(sum(_work(g) * uses[g[XLA].key] for g in family), family) for family in _families(groups)]
    works.sort(key=lambda pair: pair[0], reverse=True)
    left = sum(work for work, _ in works)
    for i, (work, family) in enumerate(works):
        now = time.perf_counter()
        part = max(work / left if left else 0.0, EQUAL_PARTS / (len(works) - i))
        yield family, math.inf if unlimited else now + part * (deadline - now)
        left -= work


def second_deadline(deadline: float) -> float:
    """When what had to wait is no longer measured; both of ``time.perf_counter``."""
    now = time.perf_counter()
    return now + SECOND_PART * (deadline - now)


def may_wait(group: Group, done: Iterable[tuple[Group, Mapping[str, Cost], float]]) -> bool:
    """True if a larger region was slow to check, and all kernels for this one run that as well.

    Whether a kernel's tail pays is not worth the seconds. ``done`` are groups with the costs of what failed, and the
    seconds that XLA took for them, or what stands for it.
    """
    nodes = set(group[XLA].region.nodes)
    names = set(group) - {XLA}
    return bool(names) and any(
        seconds >= WAIT_S
        and nodes < set(larger[XLA].region.nodes)
        and names <= {name for name in larger if not isinstance(costs.get(name), Failed)}
        for larger, costs, seconds in done
    )


def _families(groups: Sequence[Group]) -> list[list[Group]]:
    """``groups`` parted so that regions of one graph that hold one another are together, the largest first."""
    largest_first = sorted(groups, key=lambda g: -len(g[XLA].region.nodes))
    families: list[tuple[set[Node], list[Group]]] = []
    for group in largest_first:
        nodes = set(group[XLA].region.nodes)
        home = next((family for held, family in families if nodes <= held), None)
        if home is not None:
            home.append(group)
        else:
            families.append((nodes, [group]))
    return [family for _, family in families]


def _work(group: Group) -> float:
    """A rough measure of what a region is to XLA: bytes moved, and products made."""
    region = group[XLA].region
    values = (*region.entries, *region.exits)
    primitives = [p for node in region.nodes for p in node.primitives]
    # On CPUs a convolution in groups takes XLA at least as long as one without.
    groups = [p.params.get("feature_group_count", 1) * p.params.get("batch_group_count", 1) for p in primitives]
    products = sum(reduction_length(p) * p.outputs[0].size * g for p, g in zip(primitives, groups, strict=True))
    return sum(v.nbytes for v in values) + products
