"""The cheapest cover of a graph by candidates, exactly.

Nodes are numbered in topological order. A cover takes each node exactly once, and running its regions one after
another must be possible: no cycle between regions. The dynamic programme walks the nodes in order; its state is the set
of nodes already covered beyond the walk, so that where no candidate reaches across a point the state is a single one (a
*cut*), and the stretch between two cuts (a *segment*) is solved on its own. Segments that look alike are solved once.

Cycles are rare (two regions that each feed the other) and lie within one segment, so they are excluded lazily: the
cheapest cover of a segment is found without the rule, and if it breaks the rule, the segment is solved again without
each of a cycle's regions in turn, the cheapest attempt first.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from heapq import heappop, heappush
from itertools import count
from typing import TypeAlias

from .order import in_shortest_order
from .piece import Nodes, Piece

#: States of one segment beyond which only the cheapest are kept; the result then says that it may not be optimal.
BEAM = 4_000
#: Attempts at breaking the cycles of one segment beyond which they are broken greedily; the result then says so.
ATTEMPTS = 200

#: A piece within a segment: its place among all pieces, its nodes' places in order, cost, rank, whether it is a step.
Option: TypeAlias = tuple[int, Nodes, float, int, bool]
#: Cost, rank, number of pieces: what is minimised, in this order.
Total: TypeAlias = tuple[float, int, int]
#: Places in the options, what they come to, and whether that is surely the least.
Solution: TypeAlias = tuple[tuple[int, ...], Total, bool]


@dataclass(frozen=True)
class Cover:
    """``chosen`` indexes the pieces, in the order of their first nodes.

    ``exact`` is False if a beam or a greedy step was needed somewhere.
    """

    chosen: tuple[int, ...]
    cost: float
    exact: bool = True


def cheapest_cover(pieces: Sequence[Piece], predecessors: Mapping[int, Collection[int]], beam: int = BEAM) -> Cover:
    """The cheapest cover of all nodes that ``pieces`` mention.

    ``predecessors[i]`` are the nodes whose results node ``i`` reads, those that no piece mentions included. Ties go to
    the lower total ``rank``, then to fewer pieces. Raises ``ValueError`` if some node cannot be covered.
    """
    first = [min(piece.nodes) for piece in pieces]
    pieces, predecessors = in_shortest_order(pieces, predecessors)
    nodes = sorted({n for piece in pieces for n in piece.nodes})
    place = {n: i for i, n in enumerate(nodes)}
    reach = list(range(len(nodes)))
    starting: dict[int, list[Option]] = {}
    for i, piece in enumerate(pieces):
        covered = tuple(sorted(place[n] for n in piece.nodes))
        reach[covered[0]] = max(reach[covered[0]], covered[-1])
        starting.setdefault(covered[0], []).append((i, covered, piece.cost, piece.rank, piece.is_step))
    chosen: list[int] = []
    cost, exact = 0.0, True
    memo: dict[tuple, Solution] = {}
    begin = 0
    while begin < len(nodes):
        end = begin
        i = begin
        while i <= end:
            end = max(end, reach[i])
            i += 1
        options = [p for n in range(begin, end + 1) for p in starting.get(n, ())]
        segment = _Segment(begin, end, options, beam, nodes)
        key = (end - begin, tuple((tuple(n - begin for n in p[1]), p[2], p[3]) for p in options))
        if key not in memo:
            memo[key] = segment.solve(frozenset())
        picked, total, segment_exact = segment.without_cycles(memo[key], predecessors)
        chosen += [options[i][0] for i in picked]
        cost += total[0]
        exact &= segment_exact
        begin = end + 1
    return Cover(tuple(sorted(chosen, key=lambda i: first[i])), cost, exact)


@dataclass(frozen=True)
class _Segment:
    """Nodes ``begin..end`` (places in ``nodes``) and the pieces that cover them, none of which reaches beyond."""

    begin: int
    end: int
    options: Sequence[Option]
    beam: int
    nodes: Sequence[int]

    def solve(self, banned: frozenset[Nodes]) -> Solution:
        """The cheapest cover in which no step has a ``banned`` set of nodes, cycles allowed."""
        allowed = [i for i, option in enumerate(self.options) if not (option[4] and option[1] in banned)]
        options = [self.options[i] for i in allowed]
        picked, total, exact = _solve_segment(self.begin, self.end, options, self.beam, lambda n: self.nodes[n])
        return tuple(allowed[i] for i in picked), total, exact

    def without_cycles(self, solution: Solution, predecessors: Mapping[int, Collection[int]]) -> Solution:
        """The cheapest cover in which no regions feed each other; ``solution`` is the cheapest of all."""
        first, last = self.nodes[self.begin], self.nodes[self.end]
        within = {n: [p for p in predecessors.get(n, ()) if first <= p] for n in range(first, last + 1)}
        order = count()
        attempts: list[tuple[Total, int, frozenset[Nodes], Solution]] = []
        heappush(attempts, (solution[1], next(order), frozenset(), solution))
        tried: set[frozenset[Nodes]] = set()
        greedy, exact = False, solution[2]
        while attempts:
            _, _, banned, solution = heappop(attempts)
            cycle = self._cycle(solution, within)
            if not cycle:
                return solution[0], solution[1], exact and not greedy
            if len(tried) > ATTEMPTS:
                greedy = True
                attempts.clear()
            for covered in cycle:
                further = banned | {covered}
                if len(covered) == 1 or (further in tried and not greedy):
                    continue
                tried.add(further)
                try:
                    solved = self.solve(further)
                except ValueError:
                    continue
                exact &= solved[2]
                heappush(attempts, (solved[1], next(order), further, solved))
        raise ValueError("every cover has regions that feed each other; add single-node candidates for its nodes")

    def _cycle(self, solution: Solution, predecessors: Mapping[int, Collection[int]]) -> list[Nodes]:
        """The pieces of one cycle in ``solution``, by the places of their nodes."""
        steps = [self.options[i][1] for i in solution[0] if self.options[i][4]]
        return [steps[i] for i in _cycle([tuple(self.nodes[n] for n in step) for step in steps], predecessors)]


def _solve_segment(
    begin: int,
    end: int,
    options: Sequence[Option],
    beam: int,
    name: Callable[[int], int],
) -> Solution:
    """Cover ``begin..end``, cycles allowed."""
    by_first: dict[int, list[tuple[int, int, float, int]]] = {}
    for i, (_, covered, cost, rank, _) in enumerate(options):
        mask = sum(1 << (n - begin) for n in covered)
        by_first.setdefault(covered[0] - begin, []).append((i, mask, cost, rank))
    # State: nodes covered so far as a bit mask -> (cost, rank, pieces, last piece, previous state's entry).
    states: dict[int, tuple] = {0: (0.0, 0, 0, None, None)}
    exact = True
    for n in range(end - begin + 1):
        following: dict[int, tuple] = {}
        for mask, entry in states.items():
            if mask >> n & 1:
                _keep(following, mask, entry)
                continue
            cost, rank, number, _, _ = entry
            for i, covered, piece_cost, piece_rank in by_first.get(n, ()):
                if not covered & mask:
                    _keep(following, mask | covered, (cost + piece_cost, rank + piece_rank, number + 1, i, entry))
        if not following:
            raise ValueError(f"node {name(begin + n)} has no candidate; give every node one (the reference backend's)")
        if len(following) > beam:
            exact = False
            following = dict(sorted(following.items(), key=lambda item: item[1][:3])[:beam])
        states = following
    entry = min(states.values(), key=lambda e: e[:3])
    total = entry[:3]
    picked = []
    while entry is not None:
        if entry[3] is not None:
            picked.append(entry[3])
        entry = entry[4]
    return tuple(reversed(picked)), total, exact


def _keep(states: dict[int, tuple], mask: int, entry: tuple) -> None:
    known = states.get(mask)
    if known is None or entry[:3] < known[:3]:
        states[mask] = entry


def _cycle(regions: Sequence[tuple[int, ...]], predecessors: Mapping[int, Collection[int]]) -> list[int]:
    """Places in ``regions`` of one cycle of regions feeding each other, or an empty list.

    A node outside every region is a step of its own, so a cycle through it is found as well.
    """
    owner: dict[int, int] = {n: i for i, nodes in enumerate(regions) for n in nodes}
    outside = set(predecessors).union(*predecessors.values()) - set(owner) if predecessors else set()
    owner.update((n, len(regions) + i) for i, n in enumerate(sorted(outside)))
    feeds: dict[int, set[int]] = {o: set() for o in owner.values()}
    needs: dict[int, set[int]] = {o: set() for o in owner.values()}
    for n, before in predecessors.items():
        for p in before:
            if owner[p] != owner[n]:
                feeds[owner[p]].add(owner[n])
                needs[owner[n]].add(owner[p])
    _trim(needs, feeds)
    path: dict[int, None] = {}
    step = min(needs, default=None)
    while step is not None and step not in path:
        path[step] = None
        step = min(needs[step])
    cycle = list(path)[list(path).index(step) :] if step is not None else []
    return [o for o in cycle if o < len(regions)]


def _trim(needs: dict[int, set[int]], feeds: dict[int, set[int]]) -> None:
    """Remove, again and again, what needs nothing; what then remains needs something that remains."""
    ready = [o for o, before in needs.items() if not before]
    while ready:
        done = ready.pop()
        del needs[done]
        for o in feeds.pop(done):
            needs[o].discard(done)
            if not needs[o]:
                ready.append(o)
