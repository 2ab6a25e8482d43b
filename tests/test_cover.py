"""The cheapest cover against every cover there is."""

import random
from itertools import pairwise

import pytest
from fakes import fake_graph, random_reads

from collage_jax.graph.region import Region
from collage_jax.search.cover import Cover, cheapest_cover
from collage_jax.search.order import in_shortest_order
from collage_jax.search.piece import Piece


def total(pieces, chosen):
    return sum(pieces[i].cost for i in chosen), sum(pieces[i].rank for i in chosen), len(chosen)


def can_run(groups, reads):
    """True if the groups, and the nodes in none of them, can run one after another."""
    owner = {n: i for i, nodes in enumerate(groups) for n in nodes}
    steps = {i: owner.get(i, -1 - i) for i in range(len(reads))}
    needs = {s: {steps[j] for i in range(len(reads)) if steps[i] == s for j in reads[i]} - {s} for s in steps.values()}
    while ready := [s for s, before in needs.items() if not before & set(needs)]:
        for s in ready:
            del needs[s]
    return not needs


def all_covers(pieces, reads):
    """Every set of pieces that takes each node once and can run."""
    nodes = sorted({n for p in pieces for n in p.nodes})

    def extend(covered, chosen):
        left = [n for n in nodes if n not in covered]
        if not left:
            if can_run([pieces[i].nodes for i in chosen], reads):
                yield chosen
            return
        for i, piece in enumerate(pieces):
            if left[0] in piece.nodes and covered.isdisjoint(piece.nodes):
                yield from extend(covered | set(piece.nodes), [*chosen, i])

    return list(extend(frozenset(), []))


def assert_cheapest(pieces, reads):
    """The cover found is valid and as cheap as the cheapest; returns whether the rule against cycles mattered."""
    predecessors = {i: set(before) for i, before in enumerate(reads)}
    covers = all_covers(pieces, reads)
    if not covers:
        with pytest.raises(ValueError, match="candidate"):
            cheapest_cover(pieces, predecessors)
        return False
    found = cheapest_cover(pieces, predecessors)
    assert found.exact
    assert sorted(found.chosen) in [sorted(c) for c in covers]
    assert total(pieces, found.chosen) == min(total(pieces, c) for c in covers)
    assert found.cost == total(pieces, found.chosen)[0]
    free = all_covers(pieces, [[] for _ in reads])
    return min(total(pieces, c) for c in free) < min(total(pieces, c) for c in covers)


def random_pieces(rng, reads, *, singles=True):
    """Whole-number costs, few of them, so that ties are many."""
    graph = fake_graph(reads)
    covered = [n for n in range(len(reads)) if rng.random() < 0.9] or [0]
    pieces = [Piece((n,), rng.randrange(4, 9), rng.randrange(2)) for n in covered if singles or rng.random() < 0.7]
    for _ in range(rng.randrange(9)):
        nodes = rng.sample(covered, min(len(covered), rng.randrange(1, 5)))
        if Region.of(graph, [graph.nodes[n] for n in nodes]).is_convex:
            pieces.append(Piece(tuple(nodes), rng.randrange(1, 12), rng.randrange(2)))
    rng.shuffle(pieces)
    return pieces


@pytest.mark.parametrize("seed", range(20))
def test_the_cover_is_the_cheapest_of_all(seed):
    rng = random.Random(seed)
    for _ in range(25):
        reads = random_reads(rng, rng.randrange(1, 9), rng.choice((0.15, 0.3, 0.5)))
        assert_cheapest(random_pieces(rng, reads), reads)


@pytest.mark.parametrize("seed", range(5))
def test_without_a_candidate_for_every_node_the_cover_is_the_cheapest_or_there_is_none(seed):
    rng = random.Random(1000 + seed)
    for _ in range(40):
        reads = random_reads(rng, rng.randrange(2, 7))
        pieces = random_pieces(rng, reads, singles=False)
        if pieces:
            assert_cheapest(pieces, reads)


def test_the_rule_against_cycles_matters_in_random_graphs():
    rng = random.Random(7)
    mattered = 0
    for _ in range(150):
        # Two interleaved chains with random steps between them: pairs of regions that feed each other are many.
        reads = [[i - 2] * (i >= 2) + [j for j in range(i) if rng.random() < 0.2] for i in range(8)]
        graph = fake_graph(reads)
        pieces = [Piece((n,), 5) for n in range(8)]
        for _ in range(10):
            nodes = tuple(sorted(rng.sample(range(8), rng.randrange(2, 4))))
            if Region.of(graph, [graph.nodes[n] for n in nodes]).is_convex:
                pieces.append(Piece(nodes, rng.randrange(1, 6)))
        mattered += assert_cheapest(pieces, reads)
    assert mattered >= 10


#: 0 -> 2 and 1 -> 3: the regions {0, 3} and {1, 2} feed each other.
CROSSED = {0: (), 1: (), 2: (0,), 3: (1,)}


def test_regions_that_feed_each_other_are_not_both_chosen():
    pieces = [Piece((n,), 10.0) for n in range(4)] + [Piece((0, 3), 1.0), Piece((1, 2), 2.0)]
    assert cheapest_cover(pieces, CROSSED) == Cover((4, 1, 2), 21.0)


def test_a_cycle_through_a_node_that_no_piece_covers_is_found():
    # node 2 reads the region's first node and feeds its last
    pieces = [Piece((0,), 5.0), Piece((1,), 5.0), Piece((3,), 5.0), Piece((0, 3), 1.0)]
    assert cheapest_cover(pieces, {0: (), 1: (), 2: (0,), 3: (2,)}).chosen == (0, 1, 2)


def test_another_backend_on_the_same_nodes_does_not_help_against_a_cycle():
    pieces = [Piece((n,), 10.0) for n in range(4)]
    pieces += [Piece(nodes, 1.0 + i) for i in range(12) for nodes in ((0, 3), (1, 2))]
    assert cheapest_cover(pieces, CROSSED).cost == 21.0


def test_a_cycle_of_three_regions_is_broken_at_its_cheapest_place():
    pieces = [Piece((n,), 10.0) for n in range(6)] + [Piece((0, 3), 1.0), Piece((1, 4), 2.0), Piece((2, 5), 9.0)]
    found = cheapest_cover(pieces, {0: (), 1: (), 2: (), 3: (2,), 4: (0,), 5: (1,)})
    assert sorted(found.chosen) == [2, 5, 6, 7]


def test_many_separate_cycles_are_broken_exactly():
    pieces, predecessors = [], {}
    for first in range(0, 200, 4):
        pieces += [Piece((first + n,), 10.0) for n in range(4)]
        pieces += [Piece((first, first + 3), 1.0), Piece((first + 1, first + 2), 2.0)]
        predecessors |= {first + n: tuple(first + p for p in before) for n, before in CROSSED.items()}
    found = cheapest_cover(pieces, predecessors)
    assert found.cost == 50 * 21.0
    assert found.exact


def test_many_cycles_within_one_segment_still_give_a_cover_that_runs():
    pieces = [Piece((0, 81), 0.0), Piece((0,), 1.0), Piece((81,), 1.0)]
    predecessors = {0: (), 81: ()}
    for first in range(1, 81, 4):
        pieces += [Piece((first + n,), 10.0) for n in range(4)]
        pieces += [Piece((first, first + 3), 1.0), Piece((first + 1, first + 2), 1.0)]
        predecessors |= {first + n: tuple(first + p for p in before) for n, before in CROSSED.items()}
    found = cheapest_cover(pieces, predecessors)
    assert not found.exact
    assert can_run([pieces[i].nodes for i in found.chosen], [predecessors[n] for n in range(82)])
    assert found.cost == 20 * 21.0


def test_equal_costs_go_to_the_lower_rank_then_to_fewer_pieces():
    chain = {0: (), 1: (0,), 2: (1,)}
    pieces = [Piece((0,), 1.0, 1), Piece((0,), 1.0, 0), Piece((1, 2), 2.0, 0), Piece((1,), 1.0, 0), Piece((2,), 1.0, 0)]
    assert cheapest_cover(pieces, chain).chosen == (1, 2)
    pieces[2] = Piece((1, 2), 2.0, 1)
    assert cheapest_cover(pieces, chain).chosen == (1, 3, 4)


def test_ties_are_broken_by_rank_among_covers_without_cycles_too():
    def chosen(ranks):
        pieces = [Piece((n,), 10.0, rank) for n, rank in enumerate(ranks)] + [Piece((0, 3), 1.0), Piece((1, 2), 1.0)]
        return sorted(cheapest_cover(pieces, CROSSED).chosen)

    assert chosen((1, 0, 0, 1)) == [1, 2, 4]
    assert chosen((0, 1, 1, 0)) == [0, 3, 5]


def test_nodes_that_no_piece_mentions_need_no_cover():
    assert cheapest_cover([Piece((5,), 1.0), Piece((9,), 2.0)], {5: (3,), 9: (5, 7)}).cost == 3.0


def test_no_pieces_make_an_empty_cover():
    assert cheapest_cover([], {}) == Cover((), 0.0)


def test_a_node_that_cannot_be_covered_is_an_error():
    with pytest.raises(ValueError, match="node 2 has no candidate"):
        cheapest_cover([Piece((0, 1), 1.0), Piece((1, 2), 1.0)], {0: (), 1: (0,), 2: (1,)})


def test_an_error_is_raised_if_every_cover_has_a_cycle():
    with pytest.raises(ValueError, match="feed each other"):
        cheapest_cover([Piece((0, 3), 1.0), Piece((1, 2), 1.0)], CROSSED)


def test_a_beam_is_admitted_and_still_gives_a_cover():
    rng = random.Random(3)
    pieces = [Piece((n,), 10.0) for n in range(12)]
    pieces += [Piece(tuple(sorted(rng.sample(range(12), 2))), rng.random()) for _ in range(40)]
    free = dict.fromkeys(range(12), ())
    exact, narrow = cheapest_cover(pieces, free), cheapest_cover(pieces, free, beam=2)
    assert exact.exact
    assert not narrow.exact
    assert narrow.cost >= exact.cost
    assert sorted(n for i in narrow.chosen for n in pieces[i].nodes) == list(range(12))


def nasnet_like(cells):
    """Cells of five branches that read the two cells before; 45 nodes a cell, and regions of several backends."""
    reads, pieces = [], []
    before, last = [], []

    def node(*inputs):
        reads.append(list(inputs))
        return len(reads) - 1

    rng = random.Random(0)
    for _ in range(cells):
        halves = []
        for start in (last, before):
            chain = [node(*start)]
            chain.append(node(chain[-1]))
            chain.append(node(chain[-1]))
            pieces += [Piece(tuple(chain), rng.uniform(10, 30)), Piece(tuple(chain[:2]), rng.uniform(8, 25))]
            halves.append(chain[-1])
        joined = []
        for _ in range(5):
            ends = []
            for half in halves:
                branch = [node(half)]
                for _ in range(2):
                    branch.append(node(branch[-1]))
                pieces += [Piece((a, b), rng.uniform(5, 20)) for a, b in pairwise(branch)]
                pieces.append(Piece(tuple(branch), rng.uniform(8, 30)))
                ends.append(branch)
            added = node(ends[0][-1], ends[1][-1])
            pieces.append(Piece((*ends[0], added), rng.uniform(5, 40)))
            pieces.append(Piece((*ends[1], added), rng.uniform(5, 40)))
            pieces.append(Piece((*ends[0], *ends[1], added), rng.uniform(20, 60)))
            joined.append(added)
        before, last = last, joined
    pieces += [Piece((n,), rng.uniform(5, 15)) for n in range(len(reads))]
    return pieces, dict(enumerate(reads))


def test_a_network_of_many_cells_is_covered_exactly():
    pieces, predecessors = nasnet_like(17)
    assert len(predecessors) > 680
    found = cheapest_cover(pieces, predecessors)
    assert found.exact
    assert sorted(n for i in found.chosen for n in pieces[i].nodes) == list(range(len(predecessors)))


def test_regions_that_reach_across_cells_keep_the_cover_exact():
    pieces, predecessors = nasnet_like(17)
    cell = len(predecessors) // 17
    # A graph runtime's offers: three whole cells at once, each overlapping the next.
    pieces += [Piece(tuple(range(i * cell, (i + 3) * cell)), 900.0 + i) for i in range(15)]
    assert cheapest_cover(pieces, predecessors).exact


def test_what_is_read_much_later_does_not_widen_the_search():
    """A forward pass that writes down factors, and a backward pass that reads them in reverse: exact, and at once."""
    length = 400
    forward = {2 * i: [2 * i - 2] if i else [] for i in range(length)}
    factors = {2 * i + 1: [2 * i] for i in range(length)}
    first = 2 * length
    backward = {first + j: ([first + j - 1] if j else []) + [2 * (length - 1 - j) + 1] for j in range(length)}
    predecessors = forward | factors | backward
    singles = [Piece((n,), 1.0, is_step=False) for n in predecessors]
    joined = [Piece((2 * (length - 1 - j) + 1, first + j), 1.5) for j in range(length)]
    cover = cheapest_cover([*singles, *joined], predecessors)
    assert cover.exact
    assert cover.cost == pytest.approx(length + 1.5 * length)
    renumbered, before = in_shortest_order([*singles, *joined], predecessors)
    assert max(max(p.nodes) - min(p.nodes) for p in renumbered) <= 2
    assert all(p < n for n, ps in before.items() for p in ps)
