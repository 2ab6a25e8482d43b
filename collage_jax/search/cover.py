"""The cheapest cover of a graph by candidates, exactly.

Nodes are numbered in topological order. A cover takes each node exactly once, and running its regions one after another
must be possible: no cycle between regions. The dynamic programme walks the nodes in order; its state is the set of nodes
already covered beyond the walk, so that where no candidate reaches across a point the state is a single one (a *cut*),
and the stretch between two cuts (a *segment*) is solved on its own. Segments that look alike are solved once.

Cycles are rare (two regions that each feed the other), so they are excluded lazily: the cheapest cover is found without
the rule, and if it breaks the rule, the problem is solved again without each of the cycle's regions in turn.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

#: States of one segment beyond which only the cheapest are kept; the result then says that it may not be optimal.
BEAM = 20_000


@dataclass(frozen=True)
class Piece:
    """A candidate as the search sees it: the nodes it covers, what it costs, and how it ranks in a tie (low first)."""

    nodes: tuple[int, ...]
    cost: float
    rank: int = 0


@dataclass(frozen=True)
class Cover:
    """``chosen`` indexes the pieces. ``exact`` is False if a beam was needed somewhere."""

    chosen: tuple[int, ...]
    cost: float
    exact: bool = True


def cheapest_cover(
    pieces: Sequence[Piece], predecessors: Mapping[int, Collection[int]], beam: int = BEAM
) -> Cover:
    """The cheapest cover of all nodes that ``pieces`` mention.

    ``predecessors[i]`` are the nodes whose results node ``i`` reads, those that no piece mentions included. Ties go to
    the lower total ``rank``, then to fewer pieces. Raises ``ValueError`` if some node cannot be covered.
    """
    banned: frozenset[int] = frozenset()
    best: Cover | None = None
    waiting = [banned]
    tried: set[frozenset[int]] = set()
    while waiting:
        banned = waiting.pop()
        if banned in tried:
            continue
        tried.add(banned)
        try:
            cover = _solve(pieces, banned, beam)
        except ValueError:
            if not banned:
                raise
            continue
        if best is not None and cover.cost >= best.cost:
            continue
        cycle = _cycle([pieces[i].nodes for i in cover.chosen], predecessors)
        if cycle:
            waiting.extend(banned | {cover.chosen[i]} for i in cycle if len(pieces[cover.chosen[i]].nodes) > 1)
        else:
            best = cover
    if best is None:
        raise ValueError("every cover has regions that feed each other; add single-node candidates for its nodes")
    return best


def _solve(pieces: Sequence[Piece], banned: frozenset[int], beam: int) -> Cover:
    """The cheapest cover, cycles allowed."""
    nodes = sorted({n for piece in pieces for n in piece.nodes})
    place = {n: i for i, n in enumerate(nodes)}
    local = [
        (i, tuple(sorted(place[n] for n in p.nodes)), p.cost, p.rank) for i, p in enumerate(pieces) if i not in banned
    ]
    reach = list(range(len(nodes)))
    for _, covered, _, _ in local:
        reach[covered[0]] = max(reach[covered[0]], covered[-1])
    starting: dict[int, list[tuple[int, tuple[int, ...], float, int]]] = {}
    for piece in local:
        starting.setdefault(piece[1][0], []).append(piece)
    chosen: list[int] = []
    cost, exact = 0.0, True
    memo: dict[tuple, tuple[tuple[int, ...], float, bool]] = {}
    begin = 0
    while begin < len(nodes):
        end = begin
        i = begin
        while i <= end:
            end = max(end, reach[i])
            i += 1
        options = [p for n in range(begin, end + 1) for p in starting.get(n, ())]
        key = (end - begin, tuple((tuple(n - begin for n in p[1]), p[2], p[3]) for p in options))
        if key not in memo:
            memo[key] = _solve_segment(begin, end, options, beam, lambda n: nodes[n])
        picked, segment_cost, segment_exact = memo[key]
        chosen += [options[i][0] for i in picked]
        cost += segment_cost
        exact &= segment_exact
        begin = end + 1
    return Cover(tuple(chosen), cost, exact)


def _solve_segment(
    begin: int,
    end: int,
    options: Sequence[tuple[int, tuple[int, ...], float, int]],
    beam: int,
    name: Callable[[int], int],
) -> tuple[tuple[int, ...], float, bool]:
    """Cover ``begin..end``; returns places in ``options``, the cost, and whether no beam was needed."""
    by_first: dict[int, list[tuple[int, int, float, int]]] = {}
    for i, (_, covered, cost, rank) in enumerate(options):
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
            cost, rank, count, _, _ = entry
            for i, covered, piece_cost, piece_rank in by_first.get(n, ()):
                if not covered & mask:
                    _keep(following, mask | covered, (cost + piece_cost, rank + piece_rank, count + 1, i, entry))
        if not following:
            raise ValueError(f"node {name(begin + n)} has no candidate; give every node one (the reference backend's)")
        if len(following) > beam:
            exact = False
            following = dict(sorted(following.items(), key=lambda item: item[1][:3])[:beam])
        states = following
    entry = min(states.values(), key=lambda e: e[:3])
    total = entry[0]
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
    """Places in ``regions`` that lie on or between cycles of regions feeding each other, or an empty list.

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
    _trim(feeds, needs)
    return [o for o in sorted(needs) if o < len(regions)]


def _trim(needs: dict[int, set[int]], feeds: dict[int, set[int]]) -> None:
    """Remove, again and again, what needs nothing; what then remains lies on a cycle or behind one."""
    ready = [o for o, before in needs.items() if not before]
    while ready:
        done = ready.pop()
        del needs[done]
        for o in feeds.pop(done):
            needs[o].discard(done)
            if not needs[o]:
                ready.append(o)
