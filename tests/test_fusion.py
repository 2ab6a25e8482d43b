"""Regions from rules: post-dominators, every legal prefix, feeders, and what elementwise fusion takes."""

import random

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from fakes import fake_graph, random_reads
from jax import lax

from collage_jax.backends.base import Unsupported
from collage_jax.graph.dominators import PostDominators, successors
from collage_jax.graph.evaluate import callable_of, evaluate
from collage_jax.graph.region import Region
from collage_jax.graph.trace import trace_function
from collage_jax.patterns.fusion import ELEMENTWISE, ElementwiseFusion, FusionRule, generate, label
from collage_jax.patterns.recognise import recognise

DIAMOND = [[], [0], [0], [1, 2], [3]]
SPREADERS = {"broadcast_in_dim", "reshape"}


def random_graph(rng, most=10):
    """Any graph, or one that is almost a chain: in those, post-dominators are far from rare."""
    count = rng.randrange(1, most)
    reads = random_reads(rng, count, rng.choice((0.15, 0.3, 0.6)))
    if rng.random() < 0.5:
        reads = [sorted({max(0, i - rng.randrange(1, 4)) for _ in range(2)}) if i else [] for i in range(count)]
    effects = rng.sample(range(count), rng.choice((0, 0, 0, min(2, count))))
    returned = [count - 1] if rng.random() < 0.5 else rng.sample(range(count), rng.randrange(min(3, count + 1)))
    return fake_graph(reads, returned, effects)


def following(graph):
    """By place: the places that must follow, and "end" after what is returned and what nothing follows."""
    found = {i: {j for j in graph.predecessors if i in graph.predecessors[j]} for i in range(len(graph.nodes))}
    for i, node in enumerate(graph.nodes):
        if node.out in graph.output_set or not found[i]:
            found[i].add("end")
    return found


def reached(edges, start, without=None):
    found, pending = set(), [start]
    while pending:
        fresh = edges.get(pending.pop(), set()) - found - {without}
        found |= fresh
        pending += fresh
    return found


def post_dominators(edges, i):
    return {d for d in edges if d != i and "end" not in reached(edges, i, without=d)}


def on_paths(edges, i, j):
    return {i, j} | {n for n in reached(edges, i) if n != "end" and j in reached(edges, n)}


def places(graph, regions):
    return [tuple(graph.position[node] for node in nodes) for nodes in regions]


def main_ops(nodes):
    """The operations of a region, broadcasts left out."""
    return [node.op for node in nodes if node.op not in SPREADERS]


class Anything(FusionRule):
    """Fuses all that may be fused, feeders left out."""

    max_nodes = 256

    def op_rule(self, node):
        return True

    def fusion_rule(self, source, sink, path):
        return True

    def feed_rule(self, node):
        return False


class Listed(Anything):
    """Starts at the operations ``alone`` and takes those in ``after``."""

    def __init__(self, alone, after, max_nodes=256):
        self.alone, self.after, self.max_nodes = alone, after, max_nodes

    def op_rule(self, node):
        return node.op in self.alone

    def fusion_rule(self, source, sink, path):
        return all(node.op in self.after for node in (*path.between, sink))


# Post-dominators


@pytest.mark.parametrize("seed", range(5))
def test_post_dominators_are_the_nodes_without_which_the_end_is_not_reached(seed):
    rng = random.Random(seed)
    found_some = False
    for _ in range(40):
        graph = random_graph(rng)
        edges = following(graph)
        dominators = PostDominators(graph)
        for i, node in enumerate(graph.nodes):
            expected = post_dominators(edges, i)
            chain = [graph.position[d] for d in dominators.chain(node)]
            assert sorted(expected) == sorted(chain)
            assert all(post_dominators(edges, near) == set(chain[k + 1 :]) for k, near in enumerate(chain))
            assert dominators.immediate[node] is (graph.nodes[chain[0]] if chain else None)
            if chain:
                inner = on_paths(edges, i, chain[0]) - {i, chain[0]}
                assert [graph.position[n] for n in dominators.between(node)] == sorted(inner)
                found_some = found_some or bool(inner)
    assert found_some


def test_successors_are_the_predecessors_turned_round():
    graph = fake_graph([[], [0], [0, 1], []], [2], effects=[1, 3])
    assert successors(graph) == ((1, 2), (2, 3), (), ())


def test_a_returned_value_is_where_paths_end():
    graph = fake_graph(DIAMOND, [1, 4])
    immediate = PostDominators(graph).immediate
    assert [immediate[n] and immediate[n].op for n in graph.nodes] == [None, None, "op3", "op4", None]


def test_an_empty_graph_has_no_post_dominators():
    assert PostDominators(fake_graph([])).immediate == {}


# Regions


@pytest.mark.parametrize("seed", range(5))
def test_regions_are_all_that_the_rule_allows(seed):
    rng = random.Random(seed)
    sizes = set()
    for _ in range(160):
        graph = random_graph(rng)
        count = len(graph.nodes)
        names = [node.op for node in graph.nodes]
        alone, after = ({n for n in names if rng.random() < share} for share in (0.6, 0.8))
        most = rng.choice((1, 3, 256, 256))
        edges = following(graph)
        expected = set()
        for i in (i for i in range(count) if names[i] in alone and not graph.nodes[i].barrier):
            for j in {i} | post_dominators(edges, i):
                inside = on_paths(edges, i, j)
                others = inside - {i}
                if len(inside) <= most and all(names[n] in after and not graph.nodes[n].barrier for n in others):
                    expected.add(tuple(sorted(inside)))
        found = places(graph, generate(graph, Listed(alone, after, most)))
        assert len(found) == len(set(found)) and set(found) == expected
        assert all(Region.of(graph, [graph.nodes[i] for i in nodes]).is_convex for nodes in found)
        sizes |= {len(nodes) for nodes in found}
    assert {1, 2, 3, 4} <= sizes


@pytest.mark.parametrize("seed", range(5))
def test_feeders_are_the_nodes_that_nothing_else_reads(seed):
    rng = random.Random(seed)

    class Fed(Anything):
        def feed_rule(self, node):
            return node.op in self.feeders

    fed = False
    for _ in range(40):
        graph = random_graph(rng)
        rule = Fed()
        rule.feeders = {node.op for node in graph.nodes if rng.random() < 0.8}
        allowed = [n for n in graph.nodes if n.op in rule.feeders and not n.barrier and n.out not in graph.output_set]
        expected = set()
        for nodes in generate(graph, Anything()):
            inside, size = set(nodes), 0
            while size < len(inside):
                size = len(inside)
                inside |= {n for n in allowed if graph.users.get(n.out) and inside.issuperset(graph.users[n.out])}
            fed = fed or len(inside) > len(nodes)
            expected.add(Region.of(graph, inside).indices)
        found = places(graph, generate(graph, rule))
        assert len(found) == len(set(found)) and set(found) == expected
        assert all(Region.of(graph, [graph.nodes[i] for i in nodes]).is_convex for nodes in found)
    assert fed


def test_every_prefix_is_a_region_the_shorter_first():
    graph = fake_graph([[], [0], [1]], [2])
    assert places(graph, generate(graph, Anything())) == [(0,), (0, 1), (0, 1, 2), (1,), (1, 2), (2,)]


def test_a_diamond_is_taken_whole():
    graph = fake_graph(DIAMOND, [4])
    found = places(graph, generate(graph, Listed({"op0"}, {"op1", "op2", "op3", "op4"})))
    assert found == [(0,), (0, 1, 2, 3), (0, 1, 2, 3, 4)]
    assert places(graph, generate(graph, Listed({"op0"}, {"op1", "op3", "op4"}))) == [(0,)]


def test_a_rule_sees_what_is_taken_and_what_would_come():
    seen = []

    class Watching(Listed):
        def fusion_rule(self, source, sink, path):
            names = [[node.op for node in nodes] for nodes in (path.taken, path.between)]
            seen.append((path.anchor.op, source.op, sink.op, *names))
            return True

    graph = fake_graph(DIAMOND, [4])
    list(generate(graph, Watching({"op0"}, set())))
    assert seen == [
        ("op0", "op0", "op3", ["op0"], ["op1", "op2"]),
        ("op0", "op3", "op4", ["op0", "op1", "op2", "op3"], []),
    ]


def test_a_veto_leaves_longer_regions():
    class Vetoing(Listed):
        def verify(self, nodes):
            return Unsupported("two are too few") if len(nodes) == 2 else True

    graph = fake_graph([[], [0], [1]], [2])
    found = generate(graph, Vetoing({"op0"}, {"op1", "op2"}))
    assert places(graph, found) == [(0,), (0, 1, 2)]


def test_a_refusal_with_a_reason_is_a_no():
    class Refusing(Anything):
        def op_rule(self, node):
            return Unsupported("not this one") if node.op == "op0" else True

        def fusion_rule(self, source, sink, path):
            return Unsupported("nothing follows op1") if source.op == "op1" else True

    graph = fake_graph([[], [0], [1], [2]], [3])
    assert places(graph, generate(graph, Refusing())) == [(1,), (2,), (2, 3), (3,)]


@pytest.mark.parametrize("question", ["op_rule", "fusion_rule", "feed_rule", "verify"])
def test_a_rule_that_answers_nothing_is_an_error(question):
    rule = type("Forgetful", (Anything,), {question: lambda self, *args: None})()
    graph = fake_graph([[], [], [0, 1]], [2])
    with pytest.raises(TypeError, match=f"{question} must return True, False or Unsupported"):
        list(generate(graph, rule))


def chain(count):
    return fake_graph([[], *([i] for i in range(count - 1))], [count - 1])


def test_a_chain_longer_than_allowed_ends_at_the_bound():
    rule = Anything()
    rule.max_nodes = 4
    expected = [tuple(range(i, j)) for i in range(9) for j in range(i + 1, min(i + 4, 9) + 1)]
    graph = chain(9)
    assert places(graph, generate(graph, rule)) == expected


def test_without_a_bound_of_its_own_a_rule_takes_256_nodes():
    graph = chain(258)
    assert {len(nodes) for nodes in generate(graph, ElementwiseFusion({"op0"}, {n.op for n in graph.nodes}))} == {
        *range(1, 257)
    }


def test_feeders_count_for_the_bound():
    graph = fake_graph([[], [], [0, 1]], [2])
    rule = type("Fed", (Listed,), {"feed_rule": lambda self, node: True})
    assert places(graph, generate(graph, rule({"op0"}, {"op2"}, 2))) == [(0,)]
    assert places(graph, generate(graph, rule({"op0"}, {"op2"}, 3))) == [(0,), (0, 1, 2)]


def test_the_bound_must_be_positive():
    with pytest.raises(ValueError, match="max_nodes must be at least 1, got 0"):
        list(generate(fake_graph([[]]), ElementwiseFusion({"op0"}, max_nodes=0)))


def test_labels_are_the_operations_shortened_if_many():
    graph = chain(8)
    assert label(graph.nodes[:2]) == "op0+op1"
    assert label(graph.nodes[:6]) == "op0+op1+op2+op3+op4+op5"
    assert label(graph.nodes) == "op0+op1+op2+op3+...+op7 (8 operations)"


# Real functions

RNG = np.random.default_rng(0)
X, W, R = (RNG.standard_normal((4, 4), np.float32) for _ in range(3))
B = RNG.standard_normal(4, np.float32)


def regions_of(fun, rule, *args, recognised=True):
    graph = trace_function(fun, *args)
    graph = recognise(graph) if recognised else graph
    return graph, [Region.of(graph, nodes) for nodes in generate(graph, rule)]


def block(x, w, b, r):
    return jax.nn.relu(x @ w + b) + r


def test_a_product_takes_bias_activation_and_residual_one_after_another():
    graph, found = regions_of(block, ElementwiseFusion({"dot_general"}), X, W, B, R)
    longest = ["dot_general", "add", "relu", "add"]
    assert [main_ops(region.nodes) for region in found] == [longest[:n] for n in (1, 2, 3, 4)]
    assert found[-1].nodes == graph.nodes
    assert found[1].entries == graph.inputs[:3] and found[3].entries == graph.inputs
    arrays = dict(zip(graph.inputs, (X, W, B, R), strict=True))
    results = (X @ W, X @ W + B, np.maximum(X @ W + B, 0), block(X, W, B, R))
    for region, expected in zip(found, results, strict=True):
        (got,) = callable_of(region.nodes, region.entries, region.exits)(*(arrays[v] for v in region.entries))
        np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-5)


def test_a_product_keeps_its_bias_outside_if_the_rule_says_so():
    class Bare(ElementwiseFusion):
        def feed_rule(self, node):
            return False

    _, found = regions_of(block, Bare({"dot_general"}), X, W, B, R)
    assert [region.ops for region in found][-1] == ("dot_general", "add", "relu", "add")
    assert B.shape not in [v.shape for v in found[-1].entries]


def test_fusion_ends_where_a_value_is_read_outside():
    def two(x, w):
        h = jnp.tanh(x @ w)
        return h, jnp.exp(h) * 2

    _, found = regions_of(two, ElementwiseFusion({"dot_general"}), X, W)
    assert [region.ops for region in found] == [("dot_general",), ("dot_general", "tanh")]


def test_a_branch_within_elementwise_operations_is_taken_and_one_through_a_product_is_not():
    rule = ElementwiseFusion({"dot_general"})
    _, found = regions_of(lambda x, w: (lambda h: jnp.sin(h) * jnp.cos(h))(x @ w), rule, X, W)
    assert [sorted(region.ops) for region in found] == [["dot_general"], ["cos", "dot_general", "mul", "sin"]]
    graph, found = regions_of(lambda x, w: (lambda h: jnp.sin(h) + h @ w)(x @ w), rule, X, W)
    first, second = (node for node in graph.nodes if node.op == "dot_general")
    assert [region.nodes for region in found] == [(first,), (second,), (second, graph.nodes[-1])]


def test_softmax_in_primitives_can_be_taken_whole_but_not_element_by_element():
    softmax = lambda x: jax.nn.softmax(x, axis=-1)  # noqa: E731
    graph, found = regions_of(softmax, Anything(), X, recognised=False)
    from_difference = [region.ops for region in found if region.ops[0] == "sub"]
    assert from_difference[:2] == [("sub",), ("sub", "exp")]
    assert {"reduce_sum", "div"} <= set(from_difference[-1]) and from_difference[-1][-1] == graph.nodes[-1].op
    _, found = regions_of(softmax, ElementwiseFusion({"sub"}, reductions={"reduce_sum"}), X, recognised=False)
    assert [main_ops(region.nodes) for region in found] == [["sub"], ["sub", "exp"]]


def test_a_chain_of_convolutions_is_cut_before_each():
    def network(x, k, b):
        for _ in range(3):
            x = jax.nn.relu(lax.conv(x, k, (1, 1), "SAME") + b[:, None, None])
        return x

    x, k, b = np.ones((1, 4, 8, 8), np.float32), np.ones((4, 4, 3, 3), np.float32), B
    _, found = regions_of(network, ElementwiseFusion({"conv_general_dilated"}), x, k, b)
    one = ["conv_general_dilated", "add", "relu"]
    assert [main_ops(region.nodes) for region in found] == [one[:n] for n in (1, 2, 3)] * 3
    assert len(found[2].entries) == 3 and found[2].exits[0] in found[5].entries


def test_a_reduction_ends_a_region_and_can_start_one():
    fun = lambda x, w: jnp.exp(jnp.sum(jnp.tanh(x @ w)))  # noqa: E731
    _, found = regions_of(fun, ElementwiseFusion({"dot_general"}, reductions={"reduce_sum"}), X, W)
    assert [region.ops[-1] for region in found] == ["dot_general", "tanh", "reduce_sum"]
    _, found = regions_of(fun, ElementwiseFusion({"reduce_sum"}, reductions={"reduce_sum"}), X, W)
    assert [region.ops for region in found] == [("reduce_sum",), ("reduce_sum", "exp")]


def test_injective_operations_are_taken_if_named():
    fun = lambda x, w: jnp.tanh((x @ w).T)  # noqa: E731
    assert len(regions_of(fun, ElementwiseFusion({"dot_general"}), X, W)[1]) == 1
    _, found = regions_of(fun, ElementwiseFusion({"dot_general"}, injective={"transpose"}), X, W)
    assert found[-1].ops == ("dot_general", "transpose", "tanh")


def test_conditions_are_asked_about_anchors_and_followers():
    def where(node):
        return node.out.dtype == np.float32 or Unsupported("float32 alone")

    fun = lambda x, w: jnp.tanh(x @ w).astype(jnp.bfloat16) + 1  # noqa: E731
    _, found = regions_of(fun, ElementwiseFusion({"dot_general"}, where=where), X, W)
    assert [region.ops for region in found] == [("dot_general",), ("dot_general", "tanh")]
    assert not regions_of(
        fun, ElementwiseFusion({"dot_general"}, where=where), X.astype("bfloat16"), W.astype("bfloat16")
    )[1]


def test_conditions_are_asked_about_branches_too():
    where = lambda node: node.op != "cos"  # noqa: E731
    for fun in (lambda h: jnp.sin(h) * jnp.cos(h), lambda h: jnp.cos(h) * jnp.sin(h), jnp.cos):
        _, found = regions_of(lambda x, w, fun=fun: fun(x @ w), ElementwiseFusion({"dot_general"}, where=where), X, W)
        assert [region.ops for region in found] == [("dot_general",)]


def test_a_condition_that_answers_nothing_is_an_error():
    with pytest.raises(TypeError, match="where must return"):
        regions_of(block, ElementwiseFusion({"dot_general"}, where=lambda node: None), X, W, B, R)


@pytest.mark.parametrize("names", ["dot_general", [jnp.tanh]])
def test_operations_are_given_by_name_in_a_set(names):
    with pytest.raises(TypeError, match="anchors must be a set of names"):
        ElementwiseFusion(names)


def test_barriers_are_in_no_region():
    fun = lambda x, w: jnp.tanh(lax.optimization_barrier(x @ w))  # noqa: E731
    _, found = regions_of(fun, Anything(), X, W)
    assert [region.ops for region in found] == [("dot_general",), ("tanh",)]


def test_control_flow_is_in_no_region_and_its_body_has_its_own():
    def fun(x, w):
        return jnp.tanh(lax.scan(lambda c, _: (jnp.tanh(c @ w), None), x @ w, None, length=2)[0])

    graph, found = regions_of(fun, Anything(), X, W)
    assert {region.ops for region in found} == {("dot_general",), ("tanh",)}
    (loop,) = [node for node in graph.nodes if node.subgraphs]
    ((body,),) = loop.subgraphs.values()
    assert ("dot_general", "tanh") in [tuple(n.op for n in nodes) for nodes in generate(body, Anything())]


# What counts as elementwise

UNARY = (
    "abs", "acos", "acosh", "asin", "asinh", "atan", "atanh", "cbrt", "ceil", "cos", "cosh", "erf", "erf_inv", "erfc",
    "exp", "exp2", "expm1", "floor", "is_finite", "log", "log1p", "logistic", "neg", "round", "rsqrt", "sign", "sin",
    "sinh", "sqrt", "square", "tan", "tanh",
)  # fmt: skip
BINARY = ("add", "atan2", "div", "eq", "ge", "gt", "le", "lt", "max", "min", "mul", "ne", "pow", "rem", "sub")
ACTIVATIONS = ("relu", "relu6", "silu", "hard_sigmoid", "hard_swish", "softplus", "mish", "leaky_relu", "elu", "gelu")


def unary(function):
    return lambda x, y: function(x)


FUNCTIONS = {
    **{name: unary(getattr(lax, name)) for name in UNARY},
    **{name: getattr(lax, name) for name in BINARY},
    **{name: unary(getattr(jax.nn, name)) for name in ACTIVATIONS},
    "add_any": lambda x, y: jax.grad(lambda z: jnp.sum(z * x) + jnp.sum(z * y))(x),
    "and": lambda x, y: lax.bitwise_and(x > 0.5, y > 0.5),
    "or": lambda x, y: lax.bitwise_or(x > 0.5, y > 0.5),
    "xor": lambda x, y: lax.bitwise_xor(x > 0.5, y > 0.5),
    "not": lambda x, y: lax.bitwise_not(x > 0.5),
    "clamp": lambda x, y: lax.clamp(y, x, y + 0.1),
    "clip": lambda x, y: jnp.clip(x, 0.25, 0.5),
    "convert_element_type": lambda x, y: x.astype(jnp.bfloat16),
    "gelu_gradient": lambda x, y: (lambda made: made[0] + made[1](y)[0])(jax.vjp(jax.nn.gelu, x)),
    "integer_pow": lambda x, y: lax.integer_pow(x, 3),
    "select_n": lambda x, y: lax.select(x > y, x, y),
    "sigmoid": lambda x, y: 1 / (1 + jnp.exp(-x)),
}


def test_every_elementwise_operation_is_tried_below():
    assert set(FUNCTIONS) == ELEMENTWISE


@pytest.mark.parametrize("name", sorted(ELEMENTWISE))
def test_elementwise_operations_do_not_look_at_other_elements(name):
    x, y = (np.random.default_rng(seed).uniform(0.05, 0.95, 6).astype(np.float32) for seed in (1, 2))
    traced = trace_function(FUNCTIONS[name], x, y)
    graph = recognise(traced)
    assert name in [node.op for node in (*traced.nodes, *graph.nodes)]
    order = np.random.default_rng(3).permutation(6)
    shuffled = np.asarray(evaluate(graph, x[order], y[order])[0])
    np.testing.assert_array_equal(shuffled, np.asarray(evaluate(graph, x, y)[0])[order])
