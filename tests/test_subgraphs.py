"""Subgraphs for graph runtimes: as few as there can be, able to run in turn; neighbours merged as far as they go."""

import random
from itertools import combinations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from fakes import fake_graph, random_reads, random_regions
from jax import lax

from collage_jax.graph.region import Region
from collage_jax.graph.subgraphs import maximal_convex, merged
from collage_jax.graph.trace import trace_function
from collage_jax.lowering.plan import Plan


def can_run(graph, sets):
    """True if the sets and the other nodes can run one after another."""
    try:
        Plan(graph, tuple((Region.of(graph, nodes), "fake") for nodes in sets)).steps  # noqa: B018
    except ValueError:
        return False
    return True


def places(graph, sets):
    return [tuple(graph.position[node] for node in nodes) for nodes in sets]


def taking(graph, accepted):
    """The subgraphs of those nodes of ``graph`` whose places are in ``accepted``, by place."""
    return places(graph, maximal_convex(graph, lambda node: graph.position[node] in accepted))


def partitions(items):
    """Every way to part ``items``."""
    if not items:
        yield []
        return
    first, *rest = items
    for parts in partitions(rest):
        yield [[first], *parts]
        for i, part in enumerate(parts):
            yield [*parts[:i], [first, *part], *parts[i + 1 :]]


def random_graph(rng, most):
    count = rng.randrange(1, most)
    reads = random_reads(rng, count, rng.choice((0.15, 0.3, 0.6)))
    effects = rng.sample(range(count), rng.choice((0, 0, min(2, count))))
    return fake_graph(reads, rng.sample(range(count), rng.randrange(min(3, count + 1))), effects)


# Maximal subgraphs


@pytest.mark.parametrize("seed", range(5))
def test_there_are_as_few_subgraphs_as_there_can_be(seed):
    rng = random.Random(seed)
    numbers = set()
    for _ in range(50):
        graph = random_graph(rng, 10)
        wanted = rng.sample(range(len(graph.nodes)), rng.randrange(min(6, len(graph.nodes)) + 1))
        accepted = [graph.nodes[i] for i in wanted if not graph.nodes[i].barrier]
        found = maximal_convex(graph, lambda node, taken=set(wanted), graph=graph: graph.position[node] in taken)
        assert sorted(n.op for nodes in found for n in nodes) == sorted(n.op for n in accepted)
        assert can_run(graph, found)
        assert len(found) == min(len(parts) for parts in partitions(accepted) if can_run(graph, parts))
        numbers.add(len(found))
    assert {0, 1, 2} <= numbers


@pytest.mark.parametrize("seed", range(10))
def test_subgraphs_of_larger_graphs_are_convex_and_in_an_order_in_which_they_run(seed):
    rng = random.Random(seed)
    graph = random_graph(rng, 60)
    found = maximal_convex(graph, lambda node: rng.random() < 0.7)
    assert can_run(graph, found)
    done = set()
    for nodes in found:
        assert Region.of(graph, nodes).nodes == nodes
        assert Region.of(graph, nodes).is_convex
        later = {node for each in found for node in each} - done - set(nodes)
        assert not any(depends(graph, node, later) for node in nodes)
        done |= set(nodes)


def depends(graph, node, others):
    behind, pending = set(), [graph.position[node]]
    while pending:
        fresh = graph.predecessors[pending.pop()] - behind
        behind |= fresh
        pending += fresh
    return any(graph.position[other] in behind for other in others)


def test_an_accepted_graph_is_one_set_though_its_parts_are_not_connected():
    graph = fake_graph([[], [0], [], [2], [1]], [3, 4])
    assert taking(graph, {0, 1, 2, 3, 4}) == [(0, 1, 2, 3, 4)]
    assert taking(fake_graph([]), set()) == taking(graph, set()) == []


def test_a_node_that_is_not_accepted_parts_what_is_before_from_what_is_after():
    graph = fake_graph([[], [0], [1], [2], [0, 3]], [4])
    assert taking(graph, {0, 1, 3, 4}) == [(0, 1), (3, 4)]


def test_nodes_that_are_not_accepted_and_depend_on_no_accepted_ones_part_nothing():
    graph = fake_graph([[], [], [1], [0, 2]], [3])
    assert taking(graph, {1, 2, 3}) == [(1, 2, 3)]


def test_barriers_are_not_asked_about_and_keep_their_order():
    # nodes 1 and 3 have effects, and so 3 follows 1 although it does not read it
    graph = fake_graph([[], [0], [], [2], [3]], [4], effects=[1, 3])
    asked = []
    found = maximal_convex(graph, lambda node: not asked.append(node.op))
    assert asked == ["op0", "op2", "op4"]
    assert places(graph, found) == [(0, 2), (4,)]


@pytest.mark.parametrize("seed", range(5))
def test_no_more_values_pass_between_steps_than_if_all_ran_as_soon_as_possible(seed):
    rng = random.Random(seed)
    fewer = False
    for _ in range(80):
        graph = random_graph(rng, 16)
        accepted = {i for i, node in enumerate(graph.nodes) if not node.barrier and rng.random() < 0.7}
        stages = {}
        for i, before in graph.predecessors.items():
            back = [stages[p] + (i in accepted and p not in accepted) for p in before]
            stages[i] = max(back, default=0 if i in accepted else -1)
        soonest = [[graph.nodes[i] for i in accepted if stages[i] == s] for s in {stages[i] for i in accepted}]
        found = [[graph.nodes[i] for i in nodes] for nodes in taking(graph, accepted)]
        assert len(found) == len(soonest) and can_run(graph, found)
        ours, theirs = (sum(len(Region.of(graph, nodes).exits) for nodes in sets) for sets in (found, soonest))
        assert ours <= theirs
        fewer = fewer or ours < theirs
    assert fewer


X, W = np.ones((4, 4), np.float32), np.ones((4, 4), np.float32)
B = np.ones(4, np.float32)


def two_layers(x, w, b, c):
    return jnp.tanh(jnp.sin(jnp.tanh(x @ w + b)) @ w + c)


def without_sin(fun, *args):
    graph = trace_function(fun, *args)
    return graph, [Region.of(graph, nodes) for nodes in maximal_convex(graph, lambda node: node.op != "sin")]


def test_the_broadcast_of_a_bias_goes_to_its_reader():
    graph, (first, second) = without_sin(two_layers, X, W, B, B)
    assert [v.shape for v in first.exits] == [(4, 4)] and graph.inputs[3] not in first.entries
    assert set(second.entries) == {graph.nodes[graph.position[first.nodes[-1]] + 1].out, *graph.inputs[1::2]}


def test_a_chain_that_is_read_late_runs_late():
    _, (first, second) = without_sin(lambda x, y: jnp.sin(jnp.tanh(x)) + jnp.exp(jnp.cos(y)), X, X)
    assert (first.ops, second.ops) == (("tanh",), ("cos", "exp", "add"))


def test_a_node_stays_where_moving_would_pass_more_bytes():
    # the sum is read late, but small, unlike what it is made of
    def fun(x):
        h = jnp.tanh(x)
        return jnp.sin(jnp.exp(h)) + jnp.sum(h)

    _, (first, second) = without_sin(fun, X)
    assert set(first.ops) == {"tanh", "exp", "reduce_sum"}
    assert second.ops[-1] == "add"


def test_a_result_is_handed_over_wherever_it_is_made():
    # exp runs first: later, tanh's result would be handed over, which cos alone would read otherwise
    def fun(x):
        h = jnp.tanh(x)
        e = jnp.exp(h)
        return e, jnp.sin(jnp.cos(h)) + e

    _, (first, second) = without_sin(fun, X)
    assert (first.ops, second.ops) == (("tanh", "exp", "cos"), ("add",))


def test_of_several_results_the_one_that_is_read_first_counts():
    def fun(x, y):
        a, b = jnp.split(y, 2)
        return jnp.sin(jnp.sin(jnp.tanh(x)) + a) + b

    graph, found = without_sin(fun, X[:2], X)
    assert len(found) == 3 and can_run(graph, [region.nodes for region in found])
    assert found[1].ops == ("split", "add")


def test_a_random_number_parts_a_network_and_a_plain_one_is_whole():
    def network(x, k):
        for _ in range(3):
            x = jax.nn.relu(lax.conv(x, k, (1, 1), "SAME")) + x
        return jax.nn.softmax(x.reshape(1, -1))

    x, k = np.ones((1, 4, 8, 8), np.float32), np.ones((4, 4, 3, 3), np.float32)
    graph = trace_function(network, x, k)
    assert maximal_convex(graph, lambda node: True) == [graph.nodes]

    def dropped(x, k):
        return network(lax.optimization_barrier(network(x, k).reshape(x.shape)), k)

    graph = trace_function(dropped, x, k)
    first, second = maximal_convex(graph, lambda node: True)
    assert len(first) + len(second) == len(graph.nodes) - 1


def test_a_dimension_that_is_not_known_is_no_obstacle():
    (rows,) = jax.export.symbolic_shape("n")
    _, found = without_sin(two_layers, jax.ShapeDtypeStruct((rows, 4), np.float32), W, B, B)
    assert len(found) == 2


# Merging


@pytest.mark.parametrize("seed", range(8))
def test_merged_sets_can_run_and_no_two_neighbours_could_be_one(seed):
    rng = random.Random(seed)
    joined, kept = False, False
    for _ in range(60):
        graph = random_graph(rng, 14)
        regions = [region.nodes for region in random_regions(rng, graph, rng.choice((0.5, 1.0)))]
        cut = rng.randrange(len(regions) + 1) if rng.random() < 0.5 else len(regions)
        sets, fixed = regions[:cut], regions[cut:]
        found = merged(graph, sets, fixed)
        assert can_run(graph, [*found, *fixed])
        assert sorted(n.op for nodes in found for n in nodes) == sorted(n.op for nodes in sets for n in nodes)
        for nodes in sets:
            (holder,) = [each for each in found if not set(each).isdisjoint(nodes)]
            assert set(nodes) <= set(holder)
        assert found == sorted(found, key=lambda nodes: places(graph, [nodes]))
        for a, b in combinations(found, 2):
            if are_neighbours(graph, a, b):
                others = [each for each in found if each not in (a, b)]
                assert not can_run(graph, [(*a, *b), *others, *fixed])
                kept = True
        joined = joined or len(found) < len(sets)
    assert joined and kept


def are_neighbours(graph, a, b):
    return any(v in n.inputs for one, other in ((a, b), (b, a)) for v in Region.of(graph, one).made for n in other)


def merged_places(graph, sets, fixed=()):
    def nodes_at(each):
        return [[graph.nodes[i] for i in at] for at in each]

    return places(graph, merged(graph, nodes_at(sets), nodes_at(fixed)))


def test_a_chain_becomes_one():
    graph = fake_graph([[], [0], [1], [2]], [3])
    assert merged_places(graph, [{2}, {0}, {3}, {1}]) == [(0, 1, 2, 3)]


def test_a_side_of_a_diamond_that_is_not_given_keeps_the_others_apart():
    graph = fake_graph([[], [0], [0], [1, 2]], [3])
    assert merged_places(graph, [{0}, {1}, {3}]) == [(0, 1), (3,)]
    assert merged_places(graph, [{0}, {1}, {2}, {3}]) == [(0, 1, 2, 3)]


def test_the_regions_of_others_are_steps_too():
    # node 3 reads node 0; as one step, nodes 1 and 2 follow node 0 and precede node 3
    graph = fake_graph([[], [0], [], [0, 2]], [1, 3])
    assert merged_places(graph, [{0}, {3}]) == [(0, 3)]
    assert merged_places(graph, [{0}, {3}], [{1, 2}]) == [(0,), (3,)]


def test_sets_that_only_share_an_input_are_not_merged():
    assert merged_places(fake_graph([[], []], [0, 1]), [{0}, {1}]) == [(0,), (1,)]


def test_a_set_given_in_parts_that_are_merged_later_does_not_keep_others_apart():
    # 0 -> 3 is barred by 1 and 2 until these are a part of 0
    graph = fake_graph([[], [0], [1], [0, 2]], [3])
    assert merged_places(graph, [{0}, {3}, {2}, {1}]) == [(0, 1, 2, 3)]


def test_paths_through_sets_merged_before_keep_others_apart():
    # 2 -> 3 -> {0, 4} -> 5 -> {1, 6} -> 7 -> 8, and 8 reads 2
    graph = fake_graph([[], [], [], [2], [0, 3], [0], [1, 5], [1], [2, 7]], [8])
    assert merged_places(graph, [{i} for i in (0, 1, 2, 4, 6, 8)]) == [(0, 4), (1, 6), (2,), (8,)]


def test_an_effect_between_two_sets_keeps_them_apart():
    # node 1 reads node 0; node 2 has an effect too and so follows node 1; node 3 reads nodes 0 and 2
    graph = fake_graph([[], [0], [], [0, 2]], [3], effects=[1, 2])
    assert merged_places(graph, [{0}, {3}]) == [(0,), (3,)]


def test_nothing_given_is_nothing_merged():
    assert merged(fake_graph([[]]), []) == []


def test_bad_sets_are_errors_that_say_what_is_wrong():
    graph = fake_graph([[], [0], [1]], [2])
    with pytest.raises(ValueError, match=r"must hold nodes of this graph, got \(\)"):
        merged_places(graph, [set()])
    with pytest.raises(ValueError, match="must hold nodes of this graph, got"):
        merged(graph, [fake_graph([[]]).nodes])
    with pytest.raises(ValueError, match="must not share nodes"):
        merged_places(graph, [{0, 1}], [{1, 2}])
    with pytest.raises(ValueError, match=r"circle.*op0\+op2.*op1"):
        merged_places(graph, [{0, 2}])


def test_large_graphs_are_no_trouble():
    rng = random.Random(0)
    count = 1000
    reads = [[], *(sorted(rng.sample(range(max(0, i - 8), i), min(i, 2))) for i in range(1, count))]
    graph = fake_graph(reads, [count - 1])
    assert merged(graph, [[node] for node in graph.nodes]) == [graph.nodes]
    found = maximal_convex(graph, lambda node: rng.random() < 0.95)
    assert can_run(graph, found)
    assert can_run(graph, merged(graph, [[node] for nodes in found for node in nodes]))
