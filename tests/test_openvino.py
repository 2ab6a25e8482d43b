"""OpenVINO: models of whole subgraphs compute what JAX computes; what cannot be one is refused with a reason."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from jax import lax

import collage_jax
from collage_jax.backends.base import Unsupported
from collage_jax.backends.openvino import BACKEND
from collage_jax.graph.evaluate import callable_of
from collage_jax.graph.region import Region
from collage_jax.graph.split import split
from collage_jax.graph.trace import trace_function
from collage_jax.lowering.build import lower
from collage_jax.lowering.plan import Plan
from collage_jax.measure.compare import largest_error, tolerance
from collage_jax.patterns.recognise import recognise

REASON = BACKEND.available()
pytestmark = pytest.mark.skipif(REASON is not None, reason=getattr(REASON, "reason", ""))


def normal(*shape, seed=0, dtype=jnp.float32):
    return jnp.asarray(np.random.default_rng([seed, *shape]).standard_normal(shape), dtype)


def whole(fun, *args):
    """All of ``fun`` as one region, which the backend must propose and support."""
    graph = recognise(trace_function(fun, *args))
    (proposal,) = BACKEND.propose(graph)
    region = Region.of(graph, proposal.nodes)
    assert len(region.nodes) == len(graph.nodes), {n.op: BACKEND.takes(n) for n in graph.nodes if BACKEND.takes(n)}
    assert BACKEND.supports(region) is None
    return region


def check(fun, *args, within=None):
    """Run with nothing frozen, and with all but the first entry frozen."""
    region = whole(fun, *args)
    arrays = dict(zip(region.graph.inputs, args, strict=True)) | dict(region.graph.constants)
    arrays = [arrays[v] for v in region.entries]
    wanted = jax.jit(callable_of(region.nodes, region.entries, region.exits))(*arrays)
    allowed = tolerance(region) if within is None else within
    got = jax.jit(BACKEND.emit(region))(*arrays)
    assert [(a.shape, a.dtype) for a in got] == [(a.shape, a.dtype) for a in wanted]
    assert largest_error(got, wanted) <= allowed, region.ops
    if len(arrays) > 1:
        prepared = BACKEND.emit_frozen(region, frozenset(region.entries[1:]))
        got = jax.jit(prepared.run)(*jax.jit(prepared.prepare)(*arrays[1:]), arrays[0])
        assert largest_error(got, wanted) <= allowed, region.ops
    return region


def refusal(fun, *args):
    graph = recognise(trace_function(fun, *args))
    reasons = [found.reason for node in graph.nodes if isinstance(found := BACKEND.takes(node), Unsupported)]
    assert reasons and all(reasons)
    return " ".join(reasons)


@st.composite
def convolutions(draw):
    spatial = draw(st.integers(1, 3))
    groups = draw(st.sampled_from([1, 1, 2, 4]))
    inside, outside = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    window = [draw(st.integers(1, 3)) for _ in range(spatial)]
    gaps = [draw(st.integers(1, 2)) for _ in range(spatial)]
    sizes = [draw(st.integers(1, 6)) for _ in range(spatial)]
    pads = [(draw(st.integers(0, 2)), draw(st.integers(0, 2))) for _ in range(spatial)]
    assume(all(n + sum(p) >= (k - 1) * d + 1 for n, p, k, d in zip(sizes, pads, window, gaps, strict=True)))
    orders = [tuple(draw(st.permutations(range(spatial + 2)))) for _ in range(3)]
    logical = [
        [draw(st.integers(1, 2)), groups * inside, *sizes],
        [groups * outside, inside, *window],
    ]
    shapes = [[0] * (spatial + 2) for _ in range(2)]
    for shape, order, values in zip(shapes, orders, logical, strict=False):
        for axis, size in zip(order, values, strict=True):
            shape[axis] = size
    options = {
        "window_strides": [draw(st.integers(1, 2)) for _ in range(spatial)],
        "padding": pads,
        "rhs_dilation": gaps,
        "feature_group_count": groups,
        "dimension_numbers": lax.ConvDimensionNumbers(*orders),
    }
    return shapes, options


@given(convolutions())
def test_convolutions_are_jax_s(drawn):
    (x, w), options = drawn
    check(lambda x, w: jnp.tanh(lax.conv_general_dilated(x, w, **options)) * 2.0, normal(*x), normal(*w, seed=1))


@given(st.data())
def test_convolutions_in_groups_keep_a_factor_from_what_they_share_weights_with(data):
    """OpenVINO moves factors into weights in place, and makes one of equal reshapes."""
    groups, inside, outside = (
        data.draw(st.sampled_from([2, 4])),
        data.draw(st.integers(1, 2)),
        data.draw(st.integers(1, 2)),
    )
    size, order = data.draw(st.sampled_from([1, 3])), data.draw(st.permutations("OIHW"))
    sizes = dict(zip("OIHW", (groups * outside, inside, size, size), strict=True))
    factors = data.draw(st.lists(st.sampled_from([-1.0, 1.0, 2.0]), min_size=2, max_size=4))
    options = {
        "dimension_numbers": ("NCHW", "".join(order), data.draw(st.sampled_from(["NCHW", "NHWC"]))),
        "feature_group_count": groups,
    }

    def several(w, *images):
        scaled = zip(images, factors, strict=True)
        results = [lax.conv_general_dilated(x, w, (1, 1), "SAME", **options) * factor for x, factor in scaled]
        shape = [groups, outside, *(sizes[axis] for axis in order if axis != "O")]
        return (*results, jnp.exp(w.reshape(shape))) if order[0] == "O" else results

    images = [normal(1, groups * inside, 3, 2, seed=i) for i in range(len(factors))]
    check(several, normal(*(sizes[axis] for axis in order)), *images)


def test_weights_in_groups_that_a_model_would_scale_for_others_are_refused():
    def convolved(x, w):
        return lax.conv_general_dilated(x, w, (1, 1), "SAME", feature_group_count=2)

    x, w = normal(1, 4, 3, 3), normal(4, 2)
    for made in (lambda w: w.reshape(4, 2, 1, 1), lambda w: (w * np.ones((4, 2), np.float32))[..., None, None]):
        graph = trace_function(lambda x, w, made=made: -convolved(x, made(w)), x, w)
        assert "computed" in BACKEND.supports(Region.of(graph, graph.nodes)).reason
    graph = trace_function(lambda x, w: [convolved(x + i, w) * i for i in range(9)], x, normal(4, 2, 1, 1))
    assert "share" in BACKEND.supports(Region.of(graph, graph.nodes)).reason


@given(st.data())
def test_products_are_jax_s(data):
    batch = data.draw(st.integers(0, 2))
    shared, left, right = (
        [data.draw(st.integers(1, 4)) for _ in range(data.draw(st.integers(low, 2)))] for low in (1, 0, 0)
    )
    common = [data.draw(st.integers(1, 3)) for _ in range(batch)]
    sides = []
    for own in (left, right):
        sizes = [*common, *shared, *own]
        order = data.draw(st.permutations(range(len(sizes))))
        shape = [sizes[i] for i in order]
        sides.append(
            (shape, [order.index(len(common) + i) for i in range(len(shared))], list(map(order.index, range(batch))))
        )
    (x, cx, bx), (y, cy, by) = sides
    check(lambda x, y: lax.dot_general(x, y, ((cx, cy), (bx, by))) + 1.0, normal(*x), normal(*y, seed=1))


ELEMENTWISE = {
    "abs": jnp.abs,
    "ceil": jnp.ceil,
    "clip": lambda x: jnp.clip(x, -0.5, 0.75),
    "cos": jnp.cos,
    "division": lambda x: 1.0 / (x * x + 1.0),
    "erf": lax.erf,
    "exp": jnp.exp,
    "floor": jnp.floor,
    "gelu": lambda x: jax.nn.gelu(x, approximate=False),
    "gelu by tanh": lambda x: jax.nn.gelu(x, approximate=True),
    "hard swish": jax.nn.hard_swish,
    "leaky relu": jax.nn.leaky_relu,
    "log": lambda x: jnp.log(jnp.abs(x) + 0.1),
    "maximum": lambda x: jnp.maximum(x, x * -0.5),
    "negative": lambda x: -x,
    "power": lambda x: jnp.abs(x) ** 1.5,
    "relu": jax.nn.relu,
    "relu6": jax.nn.relu6,
    "rsqrt": lambda x: lax.rsqrt(x * x + 0.5),
    "select": lambda x: jnp.where(x > 0.25, x, 2.0 * x),
    "sigmoid": jax.nn.sigmoid,
    "sign": jnp.sign,
    "silu": jax.nn.silu,
    "sin": jnp.sin,
    "third power": lambda x: x**3,
    "truth": lambda x: jnp.where((x > 0) & ~(x > 1) | (x < -1), 1.0, x),
    "integers": lambda x: (x > 0).astype(jnp.int32) * jnp.int32(5) + jnp.int32(1),
}


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_each_element_is_jax_s(name):
    check(ELEMENTWISE[name], 2 * normal(3, 5, 7), within=2e-6)


SHAPES = {
    "broadcast": lambda x: x + jnp.broadcast_to(x[:, :1, :1, :1], x.shape),
    "concatenate": lambda x: jnp.concatenate([x, 2.0 * x, x[:, :1]], axis=1),
    "expand": lambda x: x[:, None] * 2.0,
    "mean": lambda x: x.mean(axis=(1, 2)),
    "mean kept": lambda x: x - x.mean(axis=(1, 2), keepdims=True),
    "pad": lambda x: lax.pad(x, jnp.float32(0.5), ((0, 0, 0), (1, 2, 0), (0, 1, 0), (2, 0, 0))),
    "product": lambda x: jnp.prod(x, axis=1),
    "reshape": lambda x: jnp.tanh(x).reshape(2, -1),
    "slice": lambda x: x[:, 1:, ::2, 1:3] + 1.0,
    "softmax": lambda x: jax.nn.softmax(x, axis=1),
    "softmax of the last": lambda x: jax.nn.softmax(x, axis=-1),
    "split": lambda x: jnp.split(x, 2, axis=0)[1] * 3.0,
    "sum": lambda x: jnp.sum(x, axis=(0, 2)),
    "transpose": lambda x: jnp.transpose(x, (0, 3, 1, 2)) + 1.0,
    "two results": lambda x: (jnp.max(x, axis=3), jnp.min(x, axis=0)),
}


@pytest.mark.parametrize("name", SHAPES)
def test_axes_keep_their_meaning(name):
    check(SHAPES[name], normal(2, 3, 5, 4))


@pytest.mark.parametrize("reduce", [jnp.max, jnp.min, jnp.sum, jnp.mean, jnp.prod])
def test_sizes_after_a_reduction_where_nothing_is_moved(reduce):
    for fun in (lambda x: reduce(x, axis=(1, 2)).T, lambda x: reduce(x, axis=(1, 2)).reshape(-1, 1)):
        check(fun, normal(1, 3, 3, 2))


@pytest.mark.parametrize("name", SHAPES)
def test_axes_keep_their_meaning_after_a_convolution(name):
    """Its result has its channels second in the model and last in the program."""
    numbers = ("NHWC", "HWIO", "NHWC")

    def fun(x, w):
        return SHAPES[name](lax.conv_general_dilated(x, w, (1, 1), "SAME", dimension_numbers=numbers))

    check(fun, normal(2, 3, 5, 6), normal(3, 3, 6, 4, seed=1))


@given(st.data())
def test_pooling_is_jax_s(data):
    sizes = [data.draw(st.integers(3, 7)) for _ in range(2)]
    window = [data.draw(st.integers(2, 3)) for _ in range(2)]
    strides = [data.draw(st.integers(1, 2)) for _ in range(2)]
    pads = [(data.draw(st.integers(0, 1)), data.draw(st.integers(0, 1))) for _ in range(2)]
    where = (1, *window, 1), (1, *strides, 1), ((0, 0), *pads, (0, 0))
    x = normal(2, *sizes, 3)
    check(lambda x: lax.reduce_window(x, -jnp.inf, lax.max, *where), x)
    check(lambda x: lax.reduce_window(x, 0.0, lax.add, *where) / np.float32(np.prod(window)), x)

    def average(x):
        inside = jnp.ones((1, *sizes, 1))
        return lax.reduce_window(x, 0.0, lax.add, *where) / lax.reduce_window(inside, 0.0, lax.add, *where)

    check(average, x)


@pytest.mark.parametrize("factors", [(1, 2, 2, 1), (1, 3, 1, 1), (1, 2, 3, 1)])
def test_upsampling_is_jax_s(factors):
    (_, height, width, _), (b, h, w, c) = factors, (2, 3, 4, 5)

    def upsample(x):
        spread = jnp.broadcast_to(x[:, :, None, :, None], (b, h, height, w, width, c))
        return spread.reshape(b, h * height, w * width, c) * 2.0

    assert "upsample_nearest" in check(upsample, normal(b, h, w, c)).ops


def test_layer_norm_and_attention_are_jax_s():
    def block(x, w, scale, shift):
        centred = x - x.mean(-1, keepdims=True)
        n = centred * lax.rsqrt(jnp.mean(centred * centred, -1, keepdims=True) + 1e-5) * scale + shift
        q, k, v = (part.reshape(2, 6, 4, 4).transpose(0, 2, 1, 3) for part in jnp.split(n @ w, 3, axis=-1))
        scores = jax.nn.softmax(jnp.einsum("bhqd,bhkd->bhqk", q, k) / 2.0, axis=-1)
        return x + jnp.einsum("bhqk,bhkd->bhqd", scores, v).transpose(0, 2, 1, 3).reshape(2, 6, 16)

    check(block, normal(2, 6, 16), normal(16, 48, seed=1), 1.0 + normal(16, seed=2), normal(16, seed=3), within=2e-6)


@pytest.mark.parametrize(
    ("fun", "args", "words"),
    [
        (jnp.tanh, (normal(3, dtype=jnp.bfloat16),), "bfloat16"),
        (jnp.sort, (normal(5),), "sort"),
        (jnp.cumsum, (normal(5),), "cumsum"),
        (jax.nn.elu, (normal(5),), "expm1"),
        (jnp.log1p, (normal(5) ** 2,), "log1p"),
        (lambda x: x.astype(jnp.int32), (normal(5),), "out of range"),
        (lambda x: jnp.where(x > 0, 3, -2), (normal(5),), "between floating-point numbers, got int32"),
        (lambda x: x[:0] * 2.0, (normal(5),), "not empty"),
        (lambda x: lax.pad(x, jnp.float32(0), ((-1, 0, 0),)), (normal(5),), "not negative"),
        (
            lambda x, w: lax.conv_general_dilated(x, w, (1,), [(1, 1)], lhs_dilation=(2,)),
            (normal(1, 2, 5), normal(3, 2, 3)),
            "lhs_dilation",
        ),
    ],
)
def test_what_cannot_be_said_is_refused_with_a_reason(fun, args, words):
    assert words in refusal(fun, *args)


def test_a_program_of_both_kinds_is_divided():
    graph = recognise(trace_function(lambda x: jnp.sort(jnp.tanh(x) * 2.0) + 1.0, normal(8)))
    assert [[n.op for n in p.nodes] for p in BACKEND.propose(graph)] == [["tanh", "mul"], ["add"]]


def dense(x, w, b):
    return jax.nn.relu(x @ w + b)


def test_the_model_is_made_again_where_its_token_is_not_known():
    args = normal(4, 8), normal(8, 6, seed=1), normal(6, seed=2)
    region = whole(dense, *args)
    frozen = frozenset(region.entries[1:])
    prepared = BACKEND.emit_frozen(region, frozen)
    token, *weights = jax.jit(prepared.prepare)(*args[1:])
    unknown = jnp.zeros_like(token)
    np.testing.assert_allclose(jax.jit(prepared.run)(unknown, *weights, args[0])[0], dense(*args), rtol=1e-5, atol=1e-5)


def test_many_sets_of_weights_one_after_another_and_again():
    region = whole(dense, normal(4, 8), normal(8, 6), normal(6))
    prepared = BACKEND.emit_frozen(region, frozenset(region.entries[1:]))
    run, prepare = jax.jit(prepared.run), jax.jit(prepared.prepare)
    sets = [(normal(8, 6, seed=i), normal(6, seed=i)) for i in range(12)]
    packed = [prepare(*weights) for weights in sets]
    x = normal(4, 8, seed=99)
    for _ in range(2):
        for weights, each in zip(sets, packed, strict=True):
            np.testing.assert_allclose(run(*each, x)[0], dense(x, *weights), rtol=1e-5, atol=1e-5)


def test_calls_may_overlap():
    args = normal(64, 128), normal(128, 96, seed=1), normal(96, seed=2)
    region = whole(dense, *args)
    run = jax.jit(BACKEND.emit(region))
    inputs = [normal(64, 128, seed=i) for i in range(24)]
    with ThreadPoolExecutor(4) as pool:
        got = list(pool.map(lambda x: np.asarray(run(x, *args[1:])[0]), inputs))
    for x, result in zip(inputs, got, strict=True):
        np.testing.assert_allclose(result, dense(x, *args[1:]), rtol=1e-4, atol=1e-4)


def test_a_function_runs_on_it_alone():
    def fun(w, x):
        for each in w:
            x = jnp.tanh(x @ each)
        return x

    w, x = [normal(64, 64, seed=i) / 8 for i in range(16)], normal(64, 64)
    placed = collage_jax.jit(fun, frozen_argnums=0, backends=["openvino"])
    np.testing.assert_allclose(placed(w, x), jax.jit(fun)(w, x), rtol=1e-5, atol=1e-5)
    assert {region.backend for region in placed.placement(w, x).regions} <= {"openvino", "xla"}
    assert "all on openvino" in placed.explain(w, x)  # timed as a whole, whether it won or not


PROGRAM = """
import sys
import jax, jax.numpy as jnp, numpy as np
from collage_jax.backends.openvino import BACKEND
from collage_jax.graph.region import Region
from collage_jax.graph.trace import trace_function

assert BACKEND.available() is None, BACKEND.available()
hits = []
jax.monitoring.register_event_listener(lambda event, **_: hits.append(event.endswith("/cache_hits")))
w, x = jnp.linspace(-1, 1, 48).reshape(6, 8), jnp.linspace(0, 1, 24).reshape(4, 6)
graph = trace_function(lambda x, w: jnp.tanh(x @ w) * 2.0, x, w)
region = Region.of(graph, graph.nodes)
kernel = BACKEND.emit_frozen(region, frozenset(region.entries[1:]))
(got,) = jax.jit(kernel.run)(*jax.jit(kernel.prepare)(w), x)
print(float(np.abs(got - np.tanh(x @ w) * 2).max()) < 1e-6, sum(hits) > 1)
"""


def test_another_process_runs_the_program_from_the_compilation_cache(compilation_cache):
    command = [sys.executable, "-P", "-c", PROGRAM]
    said = [
        subprocess.run(command, env=compilation_cache, capture_output=True, text=True, check=False) for _ in range(2)
    ]
    assert [done.stdout.split() for done in said] == [["True", "False"], ["True", "True"]], said


def test_openvino_sends_no_statistics():
    """Its package does at import where a further package is installed, by a fork, which JAX warns of."""
    program = PROGRAM + "assert 'openvino' in sys.modules and 'openvino_telemetry' not in sys.modules"
    done = subprocess.run([sys.executable, "-P", "-W", "error", "-c", program], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_loop_whose_body_is_one_call_ends():
    """XLA took the counter for unchanged, since the call reads it where it makes it."""

    def body(i, x):
        return i + 1, jnp.tanh(x)

    state = jnp.int32(0), jnp.linspace(-1, 1, 4)
    parts = split(trace_function(body, *state), ())
    plan = Plan(parts.each, ((Region.of(parts.each, parts.each.nodes), BACKEND.name),))
    lowered = lower(plan, parts, {BACKEND.name: BACKEND})

    def loop(*state):
        return lax.while_loop(lambda s: s[0] < 3, lambda s: tuple(lowered.run(lowered.prepare(), *s)), state)

    # The condition is looked at before it is run: it might not end.
    assert "pred[] constant(true)" not in jax.jit(loop).lower(*state).compile().as_text()
    count, x = jax.jit(loop)(*state)
    assert count == 3
    np.testing.assert_allclose(x, jnp.tanh(jnp.tanh(jnp.tanh(state[1]))), rtol=1e-6)
