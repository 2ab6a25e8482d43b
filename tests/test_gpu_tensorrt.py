"""TensorRT without a GPU: networks mean what JAX computes, engines are built and kept, programs compile with them.

Nothing here runs on a GPU. Networks are TensorRT-RTX's own, every engine is really built; what stands in for running
one is the network, interpreted in NumPy, on the addresses that a program's custom call gives (``tensorrt_numpy``).
"""

from __future__ import annotations

import subprocess
import sys
from contextlib import contextmanager
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from jax import lax
from networks import NETWORKS
from tensorrt_numpy import FakeModule, kinds

from collage_jax import target
from collage_jax.backends.base import Unsupported
from collage_jax.backends.tensorrt import BACKEND, engines, execution, library
from collage_jax.backends.tensorrt.network import network_of
from collage_jax.backends.tensorrt.tensors import Network, Refused
from collage_jax.config import config
from collage_jax.ffi import native
from collage_jax.gpu.device import known
from collage_jax.gpu.xla_target import sharding_on, why_not
from collage_jax.graph.evaluate import callable_of
from collage_jax.graph.region import Region
from collage_jax.graph.trace import trace_function
from collage_jax.measure.compare import largest_error, tolerance
from collage_jax.patterns.recognise import recognise

A100 = known("sm_80")
RTX = library.named("tensorrt_rtx")
TRAMPOLINE = execution.load()

needs_package = pytest.mark.skipif(
    not isinstance(RTX, library.Library), reason="tensorrt-rtx-cu13 (the package tensorrt_rtx) is not installed"
)
needs_trampoline = pytest.mark.skipif(
    isinstance(TRAMPOLINE, Unsupported), reason="the extension collage_jax._trampoline was not built"
)
needs_xla = pytest.mark.skipif(why_not() is not None, reason=why_not() or "")
needs_all = [needs_package, needs_trampoline]


def normal(*shape, seed=0, dtype=jnp.float32):
    return jnp.asarray(np.random.default_rng([seed, *shape]).standard_normal(shape), dtype)


FAKE = FakeModule(getattr(RTX, "module", None))


@contextmanager
def faked():
    """Engines run as their networks are interpreted, from programs on the CPU; for an A100 that is not here."""
    native.register(TRAMPOLINE.host, platform="cpu")
    owner, build = replace(RTX, module=FAKE), engines.build

    def recording(network):
        plan = build(network)
        FAKE.networks[plan] = network
        return plan

    with pytest.MonkeyPatch.context() as patch, target.aiming_at(A100):
        patch.setattr(library, "named", lambda name: owner if name == "tensorrt_rtx" else None)
        patch.setattr(engines, "build", recording)
        yield owner


def whole(fun, *args):
    """All of ``fun`` as one region, which the backend must propose and support."""
    graph = recognise(trace_function(fun, *args))
    (proposal,) = BACKEND.propose(graph)
    region = Region.of(graph, proposal.nodes)
    assert len(region.nodes) == len(graph.nodes), {n.op: BACKEND.takes(n) for n in graph.nodes if BACKEND.takes(n)}
    assert BACKEND.supports(region) is None
    return region


def check(fun, *args, within=None):
    """The network of ``fun``, run by a program, against ``jax.jit``; gives the kinds of its layers."""
    with faked():
        region = whole(fun, *args)
        arrays = dict(zip(region.graph.inputs, args, strict=True)) | dict(region.graph.constants)
        arrays = [arrays[v] for v in region.entries]
        wanted = jax.jit(callable_of(region.nodes, region.entries, region.exits))(*arrays)
        got = jax.jit(BACKEND.emit(region))(*arrays)
    assert [(a.shape, a.dtype) for a in got] == [(a.shape, a.dtype) for a in wanted]
    assert largest_error(got, wanted) <= (tolerance(region) if within is None else within), region.ops
    return kinds(network_of(RTX, 80, region).definition)


def refusal(fun, *args):
    graph = recognise(trace_function(fun, *args))
    reasons = [found.reason for node in graph.nodes if isinstance(found := BACKEND.takes(node), Unsupported)]
    assert reasons and all(reasons)
    return " ".join(reasons)


def laid_out(logical, order):
    """The shape of an array whose axes ``order`` have the sizes ``logical``."""
    shape = [0] * len(logical)
    for axis, size in zip(order, logical, strict=True):
        shape[axis] = size
    return shape


@st.composite
def convolutions(draw, transposed=False):
    spatial = draw(st.integers(1, 3))
    groups = draw(st.sampled_from([1, 1, 2, 3]))
    inside, outside = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    several = lambda low, high: [draw(st.integers(low, high)) for _ in range(spatial)]  # noqa: E731
    window, gaps, sizes = several(1, 3), [1] * spatial if transposed else several(1, 2), several(1, 5)
    reach = [(k - 1) * g for k, g in zip(window, gaps, strict=True)]
    most = reach if transposed else [2] * spatial
    pads = [(draw(st.integers(0, m)), draw(st.integers(0, m))) for m in most]
    between = several(1, 3) if transposed else [1] * spatial
    assume(not transposed or max(between) > 1)
    wide = [(n - 1) * b + 1 + sum(p) for n, b, p in zip(sizes, between, pads, strict=True)]
    assume(all(n > r for n, r in zip(wide, reach, strict=True)))
    orders = [tuple(draw(st.permutations(range(spatial + 2)))) for _ in range(3)]
    shapes = [
        laid_out([draw(st.integers(1, 2)), groups * inside, *sizes], orders[0]),
        laid_out([groups * outside, inside, *window], orders[1]),
    ]
    options = {
        "window_strides": [1] * spatial if transposed else several(1, 3),
        "padding": pads,
        "lhs_dilation": between,
        "rhs_dilation": gaps,
        "feature_group_count": groups,
        "dimension_numbers": lax.ConvDimensionNumbers(*orders),
    }
    return shapes, options


class TestMeaning:
    """Networks compute what JAX does."""

    pytestmark = needs_all

    @given(drawn=convolutions())
    def test_convolutions(self, drawn):
        (x, w), options = drawn
        layers = check(lambda x, w: lax.conv_general_dilated(x, w, **options), normal(*x), normal(*w, seed=1))
        assert layers.count("CONVOLUTION") == 1

    @given(drawn=convolutions(transposed=True))
    def test_convolutions_of_images_with_gaps(self, drawn):
        (x, w), options = drawn
        layers = check(lambda x, w: lax.conv_general_dilated(x, w, **options), normal(*x), normal(*w, seed=1))
        assert layers.count("DECONVOLUTION") == 1

    @given(data=st.data())
    def test_products(self, data):
        batch = data.draw(st.integers(0, 2))
        shared, left, right = (
            [data.draw(st.integers(1, 4)) for _ in range(data.draw(st.integers(low, 2)))] for low in (1, 0, 0)
        )
        common = [data.draw(st.integers(1, 3)) for _ in range(batch)]
        sides = []
        for own in (left, right):
            order = data.draw(st.permutations(range(batch + len(shared) + len(own))))
            shape = laid_out([*common, *shared, *own], order)
            sides.append((shape, order[batch : batch + len(shared)], order[:batch]))
        (x, cx, bx), (y, cy, by) = sides
        numbers = ((cx, cy), (bx, by))
        check(lambda x, y: lax.dot_general(x, y, numbers) + 1.0, normal(*x), normal(*y, seed=1))

    @given(data=st.data())
    def test_pooling(self, data):
        spatial = data.draw(st.integers(1, 3))
        largest = data.draw(st.booleans())
        window = [data.draw(st.integers(1, 4)) for _ in range(spatial)]
        assume(max(window) > 1 and not (spatial == 1 and window == [1]))
        strides = [data.draw(st.integers(1, 3)) for _ in range(spatial)]
        pads = [(data.draw(st.integers(0, k - 1)), data.draw(st.integers(0, k - 1))) for k in window]
        sizes = [data.draw(st.integers(k, 7)) for k in window]
        assume(all(k > 1 or s > 1 for k, s in zip(window, strides, strict=True)))
        first = data.draw(st.booleans())
        wrap = lambda inner, one: (one, one, *inner) if first else (one, *inner, one)  # noqa: E731
        options = (wrap(window, 1), wrap(strides, 1), wrap(pads, (0, 0)))
        x = normal(*((2, 3, *sizes) if first else (2, *sizes, 3)))

        def averaged(x):
            total = lax.reduce_window(x, 0.0, lax.add, *options)
            if data_counts:
                return total / np.prod(window)
            return total / lax.reduce_window(jnp.ones_like(x), 0.0, lax.add, *options)

        data_counts = data.draw(st.booleans())
        layers = check((lambda x: lax.reduce_window(x, -jnp.inf, lax.max, *options)) if largest else averaged, x)
        assert layers.count("POOLING") == 1

    @given(data=st.data())
    def test_reductions(self, data):
        shape = data.draw(st.lists(st.integers(1, 4), min_size=1, max_size=5))
        axes = tuple(data.draw(st.sets(st.integers(0, len(shape) - 1), min_size=1)))
        reduce = data.draw(st.sampled_from([jnp.sum, jnp.max, jnp.min, jnp.prod, jnp.mean]))
        keepdims = data.draw(st.booleans())
        order = data.draw(st.permutations(range(len(shape))))
        check(lambda x: reduce(x.transpose(order), axes, keepdims=keepdims) + 1.0, normal(*shape))

    def test_what_a_reduction_leaves_keeps_its_order(self):
        check(lambda x: jnp.exp(x.transpose(3, 1, 0, 2).max(1)), normal(2, 3, 4, 5))

    @pytest.mark.parametrize("axis", [0, 1, 2])
    def test_softmax(self, axis):
        layers = check(lambda x: jax.nn.softmax(x.transpose(2, 0, 1) * 3.0, axis), normal(3, 4, 5))
        assert layers.count("SOFTMAX") == 1

    @pytest.mark.parametrize(("with_scale", "with_shift"), [(True, True), (False, False), (True, False)])
    def test_layer_norm(self, with_scale, with_shift):
        def norm(x, scale, shift):
            centred = x - x.mean(-1, keepdims=True)
            y = centred * lax.rsqrt((centred * centred).mean(-1, keepdims=True) + 1e-5)
            return (y * scale if with_scale else y) + (shift if with_shift else 0.0) + 0.0 * (scale + shift)

        layers = check(norm, normal(2, 3, 16), normal(16, seed=1), normal(16, seed=2))
        assert layers.count("NORMALIZATION") == 1

    def test_batch_norm(self):
        def norm(x, mean, variance, scale, shift):
            return (x - mean) * (scale * lax.rsqrt(variance + 1e-3)) + shift

        vectors = [normal(5, seed=i) for i in range(4)]
        check(norm, normal(2, 4, 4, 5), vectors[0], jnp.abs(vectors[1]), *vectors[2:])

    @pytest.mark.parametrize("mask", ["none", "bias", "keep"])
    def test_attention(self, mask):
        def attention(q, k, v, m):
            scores = jnp.einsum("bqhd,bkhd->bhqk", q, k) * 0.25
            scores = {"none": scores, "bias": scores + m, "keep": jnp.where(m > 0, scores, -1e9)}[mask]
            return jnp.einsum("bhqk,bkhd->bqhd", jax.nn.softmax(scores), v) + 0.0 * m.sum()

        layers = check(attention, *(normal(2, 7, 3, 8, seed=i) for i in range(3)), normal(7, 7, seed=4))
        assert layers.count("MATRIX_MULTIPLY") == 2

    @given(data=st.data())
    def test_moving_elements(self, data):
        shape = data.draw(st.lists(st.integers(2, 5), min_size=2, max_size=4))
        order = data.draw(st.permutations(range(len(shape))))
        sizes = [shape[a] for a in order]
        pads = [(data.draw(st.integers(-1, 2)), data.draw(st.integers(0, 2)), 0) for _ in shape]
        axis = data.draw(st.integers(0, len(shape) - 1))
        step = data.draw(st.integers(1, 2))

        def move(x, y):
            x = x.transpose(order)
            joined = lax.concatenate([x, jnp.broadcast_to(y, sizes), lax.rev(x, (axis,))], axis)
            parts = lax.split(lax.pad(joined, -1.5, pads), self._parts(joined, pads, axis), axis)
            return tuple(lax.slice(p, [0] * p.ndim, p.shape, [step] * p.ndim).reshape(-1) for p in parts)

        check(move, normal(*shape), normal(sizes[-1], seed=1))

    @staticmethod
    def _parts(joined, pads, axis):
        size = joined.shape[axis] + pads[axis][0] + pads[axis][1]
        return (1, size - 1)

    @pytest.mark.parametrize("factors", [(1, 2, 3, 1), (1, 1, 2, 2)])
    def test_nearest_upsampling(self, factors):
        def up(x):
            for axis, factor in enumerate(factors):
                x = jnp.repeat(x, factor, axis) if factor > 1 else x
            return x

        layers = check(up, normal(2, 3, 4, 5))
        assert layers.count("RESIZE") >= 1

    def test_an_output_may_be_an_input_or_another_output_seen_otherwise(self):
        def same(x):
            return (x.transpose(1, 2, 0).transpose(2, 0, 1), y := jnp.exp(x), y.transpose(1, 2, 0).transpose(2, 0, 1))

        layers = check(same, normal(2, 3, 4))
        assert layers.count("IDENTITY") == 2

    def test_precision_decides_whether_float32_may_be_rounded_to_tf32(self):
        def network(precision):
            with target.aiming_at(A100):
                region = whole(lambda x, y: jnp.dot(x, y, precision=precision), normal(3, 4), normal(4, 5))
            return network_of(RTX, 80, region)

        assert network("default").rounds_to_tf32 and not network("highest").rounds_to_tf32

    def test_a_small_network(self):
        def net(x, w1, w2, w3, scale):
            dims = ("NHWC", "HWIO", "NHWC")
            y = jax.nn.relu(lax.conv_general_dilated(x, w1, (2, 2), "SAME", dimension_numbers=dims) * scale)
            y = lax.reduce_window(y, -jnp.inf, lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")
            z = lax.conv_general_dilated(y, w2, (1, 1), "SAME", dimension_numbers=dims, feature_group_count=8)
            return jax.nn.softmax(jax.nn.gelu(y + z).mean((1, 2)) @ w3)

        args = (normal(2, 16, 16, 3), normal(3, 3, 3, 8, seed=1) * 0.3, normal(3, 3, 1, 8, seed=2) * 0.3)
        layers = check(net, *args, normal(8, 10, seed=3), normal(8, seed=4))
        # Channels go second before the first convolution and nowhere else, apart from kernels and vectors.
        assert layers.count("CONVOLUTION") == 2 and layers.count("SHUFFLE") <= 6


ELEMENTWISE = {
    "abs": jnp.abs,
    "arcs": lambda x: jnp.arcsin(x / 9) + jnp.arccos(x / 9) + jnp.arctan(x) + jnp.arcsinh(x),
    "area": lambda x: jnp.arctanh(x / 9) + jnp.arccosh(x * x + 1.0),
    "ceil": jnp.ceil,
    "clip": lambda x: jnp.clip(x, -0.5, 0.75),
    "division": lambda x: 1.0 / (x * x + 1.0),
    "elu": jax.nn.elu,
    "equal": lambda x: jnp.where(jnp.floor(x) == 0.0, x, 0.25),
    "erf": lax.erf,
    "exp": jnp.exp,
    "gelu": lambda x: jax.nn.gelu(x, approximate=False),
    "gelu by tanh": lambda x: jax.nn.gelu(x, approximate=True),
    "hard sigmoid": jax.nn.hard_sigmoid,
    "hard swish": jax.nn.hard_swish,
    "hyperbolic": lambda x: jnp.cosh(x) - jnp.sinh(x) * 0.5,
    "integers": lambda x: (x > 0).astype(jnp.int32) * jnp.int32(5) + jnp.int32(1),
    "inverse power": lambda x: (x * x + 1.0) ** -2,
    "leaky relu": jax.nn.leaky_relu,
    "limits": lambda x: jnp.where((jnp.floor(x) >= 1.0) | (jnp.floor(x) <= -1.0), x, x * 0.5),
    "log": lambda x: jnp.log(jnp.abs(x) + 0.1),
    "maximum": lambda x: jnp.maximum(x, x * -0.5),
    "mish": jax.nn.mish,
    "negative": lambda x: -x,
    "power": lambda x: jnp.abs(x) ** 1.5,
    "relu": jax.nn.relu,
    "relu6": lambda x: jax.nn.relu6(x * 5.0),
    "round": jnp.round,
    "rsqrt": lambda x: lax.rsqrt(x * x + 0.5),
    "sigmoid": jax.nn.sigmoid,
    "sign": jnp.sign,
    "silu": jax.nn.silu,
    "sine": lambda x: jnp.sin(x) + jnp.cos(x) * jnp.tan(x * 0.1),
    "softplus": jax.nn.softplus,
    "tanh": jnp.tanh,
    "third power": lambda x: x**3,
    "truth": lambda x: jnp.where((x > 0) & ~(x > 1) | (x != x) ^ (x < -1), 1.0, x),
    "truth of numbers": lambda x: jnp.floor(x).astype(bool),
}


@needs_package
@needs_trampoline
@pytest.mark.parametrize("name", ELEMENTWISE)
def test_elementwise(name):
    check(lambda x: ELEMENTWISE[name](x.transpose(1, 0)), normal(7, 5))


#: Those that a network computes by other steps than JAX does, or with constants, as narrow types have to be kept there.
NARROW = ("clip", "gelu", "hard swish", "inverse power", "leaky relu", "limits", "mish", "relu6", "rsqrt", "softplus")


@needs_package
@needs_trampoline
@pytest.mark.parametrize("name", NARROW)
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_elementwise_in_narrow_types(name, dtype):
    # What is one layer is rounded once, where JAX rounds after each operation.
    check(ELEMENTWISE[name], normal(7, 5, dtype=dtype), within=8 * float(jnp.finfo(dtype).eps))


@needs_package
@needs_trampoline
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_narrow_products_and_convolutions(dtype):
    def net(x, w, v):
        y = lax.conv_general_dilated(x, w, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))
        return lax.dot_general(y, v, (((3,), (0,)), ((), ())), preferred_element_type=jnp.float32)

    check(net, *(normal(*s, seed=i, dtype=dtype) for i, s in enumerate([(1, 5, 5, 4), (3, 3, 4, 6), (6, 3)])))


def net(dtype):
    def run(x, w):
        y = lax.conv_general_dilated(x, w, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))
        return jax.nn.relu(y)

    return run, normal(1, 8, 8, 4, dtype=dtype), normal(3, 3, 4, 8, dtype=dtype)


def product(dtype):
    return lambda x, w: jax.nn.gelu(x @ w), normal(8, 16, dtype=dtype), normal(16, 8, dtype=dtype)


def cube(dtype):
    dims = ("NDHWC", "DHWIO", "NDHWC")
    run = lambda x, w: lax.conv_general_dilated(x, w, (1, 1, 1), "SAME", dimension_numbers=dims)  # noqa: E731
    return run, normal(1, 4, 4, 4, 4, dtype=dtype), normal(3, 3, 3, 4, 4, dtype=dtype)


def pool(dtype):
    return (
        lambda x: lax.reduce_window(x, -jnp.inf, lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID"),
        normal(1, 8, 8, 4, dtype=dtype),
    )


def softmax(dtype):
    return (lambda x: jax.nn.softmax(x.sum(0)), normal(3, 8, 4, dtype=dtype))


PATTERNS = {"convolution": net, "product": product, "cube": cube, "pool": pool, "softmax": softmax}

#: What the library has no kernels for, by architecture.
WITHOUT = {("sm_75", "product", "float32"), ("sm_75", "cube", "float32")} | {
    ("sm_75", name, "bfloat16") for name in PATTERNS
}


@needs_package
@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize("sm", [75, 80, 86, 89, 120])
def test_an_engine_is_built_or_refused_for_every_architecture(sm, dtype):
    gpu = replace(A100, sm=sm)
    for name, pattern in PATTERNS.items():
        fun, *args = pattern(dtype)
        with target.aiming_at(gpu):
            if (gpu.target, name, dtype) in WITHOUT:
                assert "sm_80" in refusal(fun, *args)
            else:
                _, plan = engines.engine_of(RTX, sm, whole(fun, *args))
                assert len(plan) > 10_000


@needs_package
@pytest.mark.parametrize("pattern", [product, cube])
def test_what_is_refused_for_turing_the_library_refuses_too(monkeypatch, pattern):
    fun, *args = pattern("float32")
    with target.aiming_at(A100):
        region = whole(fun, *args)
    monkeypatch.setattr(Network, "is_turing", False)
    with pytest.raises(Refused, match="Turing"):
        engines.build(network_of(RTX, 75, region))


@needs_package
def test_no_engine_is_built_for_an_architecture_that_the_library_leaves_out():
    with target.aiming_at(known("sm_90")):
        reason = BACKEND.available().reason
        node = trace_function(jnp.tanh, jnp.ones(3)).nodes[0]
        assert "sm_80" in reason and "this is for sm_90" in reason and BACKEND.takes(node).reason == reason
        assert BACKEND.version() == ""


@pytest.mark.slow
@needs_package
@pytest.mark.parametrize("name", NETWORKS)
def test_the_networks_of_the_examples_are_one_engine_each(name):
    network = NETWORKS[name]
    with target.aiming_at(A100):
        assert BACKEND.supports(whole(network.apply, network.init(), network.input(1))) is None


X = normal(2, 6, 6, 4)


@needs_package
@pytest.mark.parametrize(
    ("fun", "args", "reason"),
    [
        (jnp.sort, (X,), "sort has no counterpart"),
        (jnp.expm1, (X,), "expm1 has no counterpart"),
        (lambda x: x.astype(jnp.int32), (X,), "out of range"),
        (lambda x: x & 3, (jnp.arange(4),), "truth values"),
        (lambda x: x % 3, (jnp.arange(4),), "rem has no counterpart"),
        (jnp.dot, (jnp.ones((2, 2), int), jnp.ones((2, 2), int)), "floating-point"),
        (lambda x: x + 1, (jnp.ones(3, jnp.int8),), "int8"),
        (lambda x: x + 1.0, (jnp.ones((1,) * 9),), "at most 8 dimensions"),
        (lambda x: x + 1.0, (jnp.ones((0, 3)),), "not empty"),
        (lambda x: lax.pad(x, 0.0, [(0, 0, 1)] * 4), (X,), "between elements"),
        (lambda x: lax.reduce_window(x, -jnp.inf, lax.max, (2,) * 4, (1,) * 4, "VALID"), (X,), "two axes"),
        (
            lambda x, w: lax.conv_general_dilated(x, w, (1, 1), [(-1, 0), (0, 0)]),
            (X, normal(3, 6, 2, 2)),
            "padding is not negative",
        ),
        (
            lambda x, w: lax.conv_general_dilated(x, w, (2, 1), [(0, 0)] * 2, lhs_dilation=(2, 2)),
            (X, normal(3, 6, 2, 2)),
            "moves by 1",
        ),
        (
            lambda x, w: lax.conv_general_dilated(x, w, (1, 1), [(0, 0)] * 2, lhs_dilation=(2, 2), rhs_dilation=(1, 2)),
            (X, normal(3, 6, 2, 2)),
            "no gaps where the image has",
        ),
        (
            lambda x, w: lax.conv_general_dilated(x, w, (1, 1), [(2, 0), (0, 0)], lhs_dilation=(2, 2)),
            (X, normal(3, 6, 2, 2)),
            "less than the window",
        ),
        (
            lambda x, w: lax.conv_general_dilated(x, w, (1, 1), "VALID", batch_group_count=2),
            (X, normal(4, 6, 2, 2)),
            "of the batch",
        ),
    ],
)
def test_what_cannot_be_a_network_is_refused_with_a_reason(fun, args, reason):
    with target.aiming_at(A100):
        assert reason in refusal(fun, *args)


class TestKeeping:
    """Engines are known by their content, in memory and on disk."""

    pytestmark = needs_all

    @pytest.fixture(autouse=True)
    def folder(self, monkeypatch, tmp_path):
        monkeypatch.setattr(config, "cache_dir", str(tmp_path))
        monkeypatch.setattr(engines, "_built", {})
        return tmp_path / "tensorrt"

    @pytest.fixture
    def region(self):
        with target.aiming_at(A100):
            return whole(lambda x: jnp.tanh(x) * 2.0, normal(3, 5))

    @pytest.fixture
    def builds(self, monkeypatch, region):
        counted = []
        build = engines.build
        monkeypatch.setattr(engines, "build", lambda network: counted.append(network) or build(network))
        engines._built.clear()
        for path in engines.path_of("x").parent.glob("*"):
            path.unlink()
        return counted

    def test_an_engine_is_built_once(self, builds, region, folder):
        first = engines.engine_of(RTX, 80, region)
        assert engines.engine_of(RTX, 80, region) == first
        engines._built.clear()
        assert engines.engine_of(RTX, 80, region) == first
        assert len(builds) == 1 and [p.suffix for p in folder.iterdir()] == [".engine"]

    @pytest.mark.parametrize("damage", [lambda b: b[:-1], lambda b: b[:40] + b"x" + b[41:], lambda b: b""])
    def test_a_damaged_file_is_built_again(self, builds, region, folder, damage):
        name, _ = engines.engine_of(RTX, 80, region)
        path = engines.path_of(name)
        path.write_bytes(damage(path.read_bytes()))
        engines._built.clear()
        assert engines.stored(name) is None
        engines.engine_of(RTX, 80, region)
        assert len(builds) == 2
        engines._built.clear()
        assert engines.stored(name) is not None

    def test_the_file_of_another_engine_is_built_again(self, builds, region, folder):
        with target.aiming_at(A100):
            other = whole(lambda x: jnp.tanh(x) * 3.0, normal(3, 5))
        (name, _), (its_name, its_plan) = (engines.engine_of(RTX, 80, each) for each in (region, other))
        engines.path_of(its_name).replace(engines.path_of(name))
        engines._built.clear()
        assert engines.stored(name) is None and engines.engine_of(RTX, 80, region)[1] != its_plan
        assert len(builds) == 3

    def test_a_folder_that_cannot_be_written_costs_nothing_else(self, builds, region, monkeypatch, tmp_path):
        blocked = tmp_path / "file"
        blocked.write_text("")
        monkeypatch.setattr(config, "cache_dir", str(blocked))
        assert engines.engine_of(RTX, 80, region)[1] and len(builds) == 1

    def test_the_name_tells_what_an_engine_is_made_from(self, region):
        with target.aiming_at(A100):
            other = whole(lambda x: jnp.tanh(x) * 3.0, normal(3, 5))
            same = whole(lambda x: jnp.tanh(x) * 2.0, normal(3, 5, seed=7))
        name = engines.name_of(RTX, 80, region)
        assert name == engines.name_of(RTX, 80, same)
        assert len({name, engines.name_of(RTX, 86, region), engines.name_of(RTX, 80, other)}) == 3

    def test_a_program_from_another_process_has_its_engine_from_the_folder(self, region):
        name, _ = engines.engine_of(RTX, 80, region)
        engines._built.clear()
        assert isinstance(execution.resolve(name, RTX.version), execution.Engine)
        assert "compile it again" in execution.resolve(name, "0.1")
        assert "not installed" in execution.resolve("nothing/sm_80/0", RTX.version)
        assert "there is none in" in execution.resolve("tensorrt_rtx/sm_80/0", RTX.version)
        native.register(TRAMPOLINE.host, platform="cpu")
        run = jax.ffi.ffi_call(execution.TARGET, [jax.ShapeDtypeStruct((3, 5), jnp.float32)])
        jax.jit(lambda x: run(x, function=name, version=RTX.version)).lower(normal(3, 5)).compile()
        config.cache_dir = "off"
        assert "nothing is kept" in execution.resolve("tensorrt_rtx/sm_80/0", RTX.version)


@needs_trampoline
class TestTrampoline:
    """What programs hand to Python functions. On the CPU, where the stream is null."""

    @pytest.fixture(autouse=True)
    def on_host(self):
        native.register(TRAMPOLINE.host, platform="cpu")

    @staticmethod
    def call(name, *arrays, results=None, **attributes):
        shapes = results or [jax.ShapeDtypeStruct(arrays[0].shape, arrays[0].dtype)]
        attributes = {"function": name, "version": "1"} | attributes
        return jax.jit(lambda *arrays: jax.ffi.ffi_call(execution.TARGET, shapes)(*arrays, **attributes))(*arrays)

    def test_a_function_gets_the_stream_and_every_array(self):
        seen = []
        TRAMPOLINE.register_function("seen", lambda *given: seen.append(given))
        types = ["bool", "int8", "uint8", "int32", "float16", "bfloat16", "float32"]
        arrays = [jnp.ones((i, 3), dtype) for i, dtype in enumerate(types, 1)]
        outs = [jax.ShapeDtypeStruct((), jnp.int32), jax.ShapeDtypeStruct((2, 1), jnp.bfloat16)]
        jax.block_until_ready(self.call("seen", *arrays, results=outs))
        ((stream, operands, results),) = seen
        assert stream == 0
        assert [(dtype, shape) for _, dtype, shape in operands] == [(d, (i, 3)) for i, d in enumerate(types, 1)]
        assert [(dtype, shape) for _, dtype, shape in results] == [("int32", ()), ("bfloat16", (2, 1))]
        assert all(isinstance(address, int) and address for address, _, _ in (*operands, *results))

    def test_what_a_function_raises_is_the_program_s_error(self):
        def fails(stream, operands, results):
            raise RuntimeError("no such plan")

        TRAMPOLINE.register_function("fails", fails)
        with pytest.raises(jax.errors.JaxRuntimeError, match="RuntimeError: no such plan"):
            jax.block_until_ready(self.call("fails", jnp.ones(3)))

    def test_a_type_without_a_name_is_an_error(self):
        TRAMPOLINE.register_function("any", lambda *given: None)
        with pytest.raises(jax.errors.JaxRuntimeError, match="no name for type"):
            jax.block_until_ready(self.call("any", jnp.ones(3, jnp.complex64)))

    def test_a_function_that_is_not_there_is_refused_when_the_program_is_compiled(self):
        with pytest.raises(jax.errors.JaxRuntimeError, match=r"no function called `gone/sm_80/0` is registered.*gone"):
            self.call("gone/sm_80/0", jnp.ones(3))

    @pytest.mark.parametrize("attributes", [{"version": np.int32(1)}, {"more": "x"}], ids=["type", "more"])
    def test_attributes_are_checked_when_the_program_is_compiled(self, attributes):
        TRAMPOLINE.register_function("any", lambda *given: None)
        with pytest.raises(jax.errors.JaxRuntimeError, match=r"attribute|type"):
            self.call("any", jnp.ones(3), **attributes)

    def test_the_extension_needs_no_library_of_cuda(self):
        needed = subprocess.run(["ldd", TRAMPOLINE.__file__], capture_output=True, text=True, check=True).stdout
        assert "libc.so" in needed and "cuda" not in needed.replace(TRAMPOLINE.__file__, "")


@needs_package
@needs_trampoline
class TestEngine:
    """What an engine checks before it is enqueued."""

    @pytest.fixture
    def plan(self):
        with faked() as owner:
            yield engines.engine_of(owner, 80, whole(lambda x, y: x - y, normal(3, 5), normal(3, 5)))[1]

    def test_each_stream_has_a_context_of_its_own(self, plan):
        engine = execution.Engine(library.named("tensorrt_rtx"), plan)
        x, y, out = np.ones((3, 5), np.float32), np.full((3, 5), 4, np.float32), np.zeros((3, 5), np.float32)
        given = [(a.ctypes.data, "float32", a.shape) for a in (x, y, out)]
        FAKE.streams.clear()
        for stream in (7, 9, 7):
            out[...] = 0
            engine(stream, given[:2], given[2:])
            np.testing.assert_array_equal(out, x - y)
        assert FAKE.streams == [7, 9, 7] and sorted(engine._contexts) == [7, 9]

    def test_arrays_of_another_shape_or_number_are_refused(self, plan):
        engine = execution.Engine(library.named("tensorrt_rtx"), plan)
        array = (64, "float32", (3, 5))
        for operands in ([array, (64, "float32", (5, 3))], [array, (64, "int32", (3, 5))], [array]):
            with pytest.raises(ValueError, match="the engine is made for"):
                engine(0, operands, [array])

    def test_without_a_driver_an_engine_does_not_load(self, plan):
        if RTX.module.Runtime(RTX.logger).deserialize_cuda_engine(plan) is not None:
            pytest.skip("there is a GPU here")
        with pytest.raises(RuntimeError, match=r"TensorRT-RTX .* does not load the engine: .*CUDA"):
            execution.Engine(RTX, plan)(0, [], [])


@needs_package
@needs_trampoline
@needs_xla
def test_a_program_for_a_gpu_that_is_not_here_holds_the_call():
    fun, x, w = net("float32")
    with target.aiming_at(A100):
        call = BACKEND.emit(whole(fun, x, w))
    sharding = sharding_on(A100)
    abstract = [jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=sharding) for a in (x, w)]
    text = jax.jit(lambda x, w: call(x, w)[0] * 2.0).lower(*abstract).compile().as_text()
    assert 'custom_call_target="collage_tensorrt_v1"' in text and "tensorrt_rtx/sm_80/" in text
    wrong = jax.ffi.ffi_call(execution.TARGET, [jax.ShapeDtypeStruct((3,), jnp.float32)])
    unknown = jax.jit(lambda x: wrong(x, function="tensorrt_rtx/sm_80/0", version=RTX.version))
    with pytest.raises(jax.errors.JaxRuntimeError, match="built in another process"):
        unknown.lower(jax.ShapeDtypeStruct((3,), jnp.float32, sharding=sharding)).compile()


@pytest.mark.gpu
@pytest.mark.skipif(jax.default_backend() != "gpu", reason="JAX has no GPU here")
@pytest.mark.parametrize("name", PATTERNS)
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_an_engine_computes_on_a_gpu_what_jax_does(name, dtype):
    if (reason := BACKEND.available()) is not None:
        pytest.skip(reason.reason)
    fun, *args = PATTERNS[name](dtype)
    with jax.default_matmul_precision("highest"):
        region = whole(fun, *args)
        got, wanted = jax.jit(BACKEND.emit(region))(*args), [jax.jit(fun)(*args)]
    assert largest_error(got, wanted) <= tolerance(region)


def test_without_a_package_everything_is_refused_by_its_name(monkeypatch):
    monkeypatch.setattr(library, "_spec", lambda name: False)
    node = trace_function(jnp.tanh, jnp.ones(3)).nodes[0]
    with target.aiming_at(A100):
        for found in (BACKEND.available(), BACKEND.missing(), BACKEND.takes(node)):
            assert "pip install tensorrt-rtx-cu13" in found.reason and "pip install tensorrt " in found.reason
        assert BACKEND.version() == ""
        region = Region.of(graph := trace_function(jnp.tanh, jnp.ones(3)), graph.nodes)
        assert isinstance(BACKEND.supports(region), Unsupported)
        with pytest.raises(ValueError, match="TensorRT is not installed"):
            BACKEND.emit(region)


def test_an_extension_that_is_not_there_is_missing(monkeypatch):
    monkeypatch.setattr(library, "_spec", lambda name: True)
    monkeypatch.setattr(execution, "load", lambda: Unsupported("its extension cannot be imported"))
    assert BACKEND.missing() == Unsupported("its extension cannot be imported")


def test_a_package_that_does_not_import_is_a_reason(monkeypatch, tmp_path):
    (tmp_path / "tensorrt.py").write_text("raise OSError('libnvinfer.so.10 is missing')")
    monkeypatch.syspath_prepend(tmp_path)
    library._named.cache_clear()
    try:
        assert "libnvinfer.so.10 is missing" in library.named("tensorrt").reason
    finally:
        library._named.cache_clear()
        sys.modules.pop("tensorrt", None)


@pytest.mark.parametrize(("version", "fits"), [("8.6.1", False), ("10.13.0", True), ("11.4.0.106", True)])
def test_tensorrt_proper_needs_a_new_version_and_the_gpu_itself(version, fits):
    class Module:
        __name__, __version__ = "tensorrt", version

        class ILogger:
            class Severity:
                ERROR, INTERNAL_ERROR = 1, 0

    found = library.library_of(Module(), "TensorRT")
    if not fits:
        assert "10 or newer" in found.reason
        return
    assert found.why_not(target.Target("gpu", A100)) is None
    assert "sm_80 is not here" in found.why_not(target.Target("gpu", A100, is_here=False))
    assert "NVIDIA's GPUs" in found.why_not(target.Target("gpu"))
