"""The backend for groups: every region it accepts computes what JAX computes, and every refusal says why."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from instruction_sets import skip_without
from jax import lax

from collage_jax.backends import own_kernels
from collage_jax.backends.grouped import BACKEND
from collage_jax.backends.grouped.convolution import Convolution
from collage_jax.backends.grouped.kernel import SEPARABLE_STEP, STEP, TARGET
from collage_jax.ffi.native_call import NativeCall
from collage_jax.graph.evaluate import callable_of
from collage_jax.graph.region import Region
from collage_jax.graph.trace import trace_function
from collage_jax.measure.bounds import magnitudes
from collage_jax.measure.compare import largest_error, tolerance
from collage_jax.measure.conditioning import worst
from collage_jax.patterns.recognise import recognise

grouped = own_kernels.load(STEP)
pytestmark = pytest.mark.skipif(not grouped, reason=getattr(grouped, "reason", ""))

ISAS = ("avx512", "avx2")
NUMBERS = {3: ("NWC", "WIO", "NWC"), 4: ("NHWC", "HWIO", "NHWC")}


def normal(*shape, seed=0):
    return jnp.asarray(np.random.default_rng([seed, *shape]).standard_normal(shape), jnp.float32)


def conv(x, w, pads="SAME", strides=None, numbers=None, groups=None, **options):
    numbers = lax.conv_dimension_numbers(x.shape, w.shape, numbers or NUMBERS[x.ndim])
    groups = groups or x.shape[numbers.lhs_spec[1]] // w.shape[numbers.rhs_spec[1]]
    strides = strides or [1] * (x.ndim - 2)
    return lax.conv_general_dilated(
        x, w, strides, pads, dimension_numbers=numbers, feature_group_count=groups, **options
    )


def graph_of(fun, *args):
    return recognise(trace_function(fun, *args))


def regions_of(fun, *args):
    """The regions that the backend proposes and supports, by label."""
    graph = graph_of(fun, *args)
    found = {p.label: Region.of(graph, p.nodes) for p in BACKEND.propose(graph) if p.refused is None}
    assert all(region.is_convex and BACKEND.supports(region) is None for region in found.values())
    return found


def longest(fun, *args):
    return max(regions_of(fun, *args).values(), key=lambda region: len(region.nodes))


def results(region, arrays):
    """With the weights packed in each call, and once before."""
    run = BACKEND.emit(region)
    assert isinstance(run, NativeCall)
    yield jax.jit(run)(*arrays)
    prepared = BACKEND.emit_frozen(region, frozenset(region.entries[1:]))
    assert isinstance(prepared.run, NativeCall) and prepared.run.step in (STEP, SEPARABLE_STEP)
    yield jax.jit(prepared.run)(*jax.jit(prepared.prepare)(*arrays[1:]), arrays[0])


def check(region):
    arrays = [normal(*v.shape, seed=i) for i, v in enumerate(region.entries)]
    wanted = jax.jit(callable_of(region.nodes, region.entries, region.exits))(*arrays)
    for got in results(region, arrays):
        error, most = worst(
            tolerance(region), got, wanted, lambda arrays: wanted, arrays, lambda: magnitudes(region, arrays)
        )
        assert error <= most, region


# Tails: what may follow, by name.
TAILS = {
    "bias": lambda y: y + normal(y.shape[-1], seed=1),
    "bias_first": lambda y: normal(*[1] * (y.ndim - 1), y.shape[-1], seed=2) + y,
    "residual": lambda y: normal(*y.shape, seed=3) + y,
    "relu": jax.nn.relu,
    "maximum": lambda y: jnp.maximum(0, y),
    "relu6": jax.nn.relu6,
    "clip": lambda y: jnp.clip(y, -0.5, 0.75),
}
ORDERS = [
    "", "relu", "bias", "bias relu", "residual maximum", "bias_first residual relu", "bias relu6", "clip",
    "bias residual clip", "residual",
]  # fmt: skip


def with_tail(y, names):
    for name in names.split():
        y = TAILS[name](y)
    return y


small, large = st.integers(1, 4), st.integers(1, 33)


@st.composite
def problems(draw):
    rank = draw(st.integers(1, 2))
    group = draw(st.sampled_from([1, 1, 2, 4, 8, 16, 32, 48]))
    channels = group * draw(st.integers(2, 3 if group >= 16 else 40))
    window = [draw(st.integers(1, 7)) for _ in range(rank)]
    strides, dilation = [draw(small) for _ in range(rank)], [draw(st.integers(1, 3)) for _ in range(rank)]
    spans = [(k - 1) * d + 1 for k, d in zip(window, dilation, strict=True)]
    # At least one result, and now and then more padding than the kernel is large.
    pads = [(draw(st.integers(0, span + 1)), draw(st.integers(0, span + 1))) for span in spans]
    source = [max(draw(large), span - sum(pad)) for span, pad in zip(spans, pads, strict=True)]
    order = draw(st.permutations(range(rank + 2)))  # of the weights' axes
    weights = [0] * (rank + 2)
    for axis, size in zip(order, (channels, group, *window), strict=True):
        weights[axis] = size
    last = (0, rank + 1, *range(1, rank + 1))
    numbers = lax.ConvDimensionNumbers(last, tuple(order), last)
    names, first = draw(st.sampled_from(ORDERS)), draw(st.sampled_from([None, jax.nn.relu]))

    def fun(x, w):
        x = first(x) if first else x
        y = conv(x, w, pads, strides, numbers=numbers, groups=channels // group, rhs_dilation=dilation)
        return with_tail(y, names)

    return fun, (draw(st.integers(1, 2)), *source, channels), tuple(weights), names, first


@settings(max_examples=4 * settings.default.max_examples)
@given(problems())
def test_results_are_jax_s(problem):
    fun, x, w, names, first = problem
    regions = list(regions_of(fun, normal(*x), normal(*w)).values())
    assert len(regions) == (1 + len(names.split())) * (2 if first else 1)
    check(regions[-1])


@pytest.mark.parametrize("names", ORDERS)
def test_every_tail(names):
    check(longest(lambda x, w: with_tail(conv(x, w), names), normal(1, 9, 21, 24), normal(3, 3, 4, 24)))


def call(isa, x, w, operands=(), stride=1, relu=0, tail="bias=0 add=0 low=-inf high=inf"):
    """A convolution with as many pixels of padding as keep the size, by ``isa``."""
    n, height, width, c = x.shape
    dst = (n, -(-height // stride), -(-width // stride), c)
    spec = (
        f"op=conv src={n}x{height}x{width}x{c} dst={'x'.join(map(str, dst))} kernel={w.shape[0]}x{w.shape[1]} "
        f"group={w.shape[2]} strides={stride}x{stride} dilation=1x1 pads={w.shape[0] // 2}x{w.shape[1] // 2}"
    )
    run = jax.ffi.ffi_call(TARGET, jax.ShapeDtypeStruct(dst, jnp.float32))
    spec = f"{spec} relu={relu} {tail} packed=0 isa={isa}"
    return jax.jit(lambda *o: run(*o, spec=spec, version=grouped.version()))(x, w, *operands)


def in_double(x, w, stride=1):
    x, w = np.asarray(x, np.float64), np.asarray(w, np.float64)
    (n, height, width, c), (kh, kw, group, _) = x.shape, w.shape
    padded = np.pad(x, ((0, 0), (kh // 2, kh // 2), (kw // 2, kw // 2), (0, 0)))
    sums = np.zeros((n, height, width, c // group, group))
    for y in range(kh):
        for z in range(kw):
            part = padded[:, y : y + height, z : z + width].reshape(n, height, width, c // group, group)
            sums += np.einsum("nhwgi,igo->nhwgo", part, w[y, z].reshape(group, c // group, group))
    return sums.reshape(x.shape)[:, ::stride, ::stride]


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("group", [1, 4, 8, 16, 32])
def test_every_instruction_set(isa, group):
    skip_without(isa)
    c = 7 * group if group < 16 else 2 * group
    for width in (*range(1, 16), 29):  # every number of pixels that a step can have
        for size, stride in ((3, 1), (5, 2), (7, 1)) if width in (8, 29) else ((3, 1),):
            x, w = normal(2, 5, width, c), normal(size, size, group, c)
            wanted = in_double(np.maximum(x, 0), w, stride)
            bias, summand = normal(c), normal(*wanted.shape)
            wanted = np.clip(wanted + np.asarray(bias) + np.asarray(summand), -2, 3)
            got = call(isa, x, w, (bias, summand), stride, 1, "bias=1 add=1 low=-2.0 high=3.0")
            assert np.abs(got - wanted).max() <= 1e-6 * (size * size * group) ** 0.5 + 1e-6, (width, size, stride)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("group", [1, 4, 32])
def test_errors_are_small(isa, group):
    skip_without(isa)
    x, w = normal(1, 20, 20, 64), normal(3, 3, group, 64)
    wanted = in_double(x, w)
    assert np.abs(call(isa, x, w) - wanted).max() / np.abs(wanted).max() < 1e-6


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 3e38])
@pytest.mark.parametrize("group", [1, 4, 16])
@pytest.mark.parametrize("names", ["relu", "bias residual maximum", "clip"])
def test_what_is_not_finite_stays_where_it_is(bad, group, names):
    fun = lambda x, w: with_tail(conv(jax.nn.relu(x), w, strides=(2, 1)), names)  # noqa: E731
    x, w = normal(1, 9, 8, 32), normal(3, 5, group, 32)
    region = longest(fun, x, w)
    wanted = jax.jit(callable_of(region.nodes, region.entries, region.exits))
    # With weights, padding counts: zero times infinity.
    for x_bad, w_bad in [(x.at[0, 4, 7, 19].set(bad), w), (x, w.at[2, 4, 0, 19].set(bad))]:
        arrays = [x_bad, w_bad, *(normal(*v.shape, seed=i) for i, v in enumerate(region.entries[2:]))]
        for got in results(region, arrays):
            assert largest_error(got, wanted(*arrays)) < 1e-5


X, W = (1, 8, 8, 32), (3, 3, 4, 32)


def test_a_relu_that_others_read_stays_outside():
    def fun(x, w):
        y = jax.nn.relu(x)
        return conv(y, w) + y

    assert list(regions_of(fun, normal(*X), normal(*W))) == ["conv", "conv+sum"]
    alone = regions_of(lambda x, w: conv(jnp.maximum(0, x), w), normal(*X), normal(*W))
    assert list(alone) == ["conv", "relu+conv"]


def test_a_bias_along_another_axis_is_no_bias():
    x = (1, 32, 32, 32)
    assert "conv+bias" not in regions_of(lambda x, w: conv(x, w) + normal(32)[:, None], normal(*x), normal(*W))


def test_only_what_has_a_place_follows():
    fun = lambda x, w: jax.nn.relu(jnp.tanh(conv(x, w)))  # noqa: E731
    assert list(regions_of(fun, normal(*X), normal(*W))) == ["conv"]
    late = lambda x, w: jax.nn.relu(conv(x, w)) + normal(32)  # noqa: E731
    assert list(regions_of(late, normal(*X), normal(*W))) == ["conv", "conv+relu"]


def test_many_threads_may_run_one_program():
    x, w = normal(1, 40, 40, 64), normal(3, 3, 4, 64)
    run = jax.jit(BACKEND.emit(longest(conv, x, w)))
    inputs = [x * i for i in range(1, 5)]
    wanted = [run(x, w)[0] for x in inputs]

    def work(i):
        return all(np.array_equal(run(inputs[i], w)[0], wanted[i]) for _ in range(20))

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(work, range(4)))


def test_any_number_of_threads():
    """With more threads than there are items of work and with one."""
    program = textwrap.dedent("""
        import sys
        sys.path.insert(0, "tests")
        from test_grouped import check, conv, longest, normal
        for size, channels, group in [(60, 16, 1), (7, 512, 32), (30, 96, 8), (3, 16, 4)]:
            check(longest(conv, normal(2, size, size, channels), normal(3, 3, group, channels)))
    """)
    for threads in ("1", "7", "64"):
        subprocess.run(
            [sys.executable, "-P", "-c", program], env={**os.environ, "OMP_NUM_THREADS": threads}, check=True
        )


TWICE = lax.DotAlgorithmPreset.F32_F32_F32
REFUSED = {
    "float32": (lambda x, w: conv(x.astype(jnp.bfloat16), w.astype(jnp.bfloat16)), X, W),
    "1 or 2 spatial": (
        lambda x, w: conv(x, w, numbers=("NDHWC", "DHWIO", "NDHWC")),
        (1, 4, 4, 4, 32),
        (3, 3, 3, 4, 32),
    ),
    "is empty": (conv, (0, 8, 8, 32), W),
    "channels last": (lambda x, w: conv(x, w, numbers=("NHWC", "HWIO", "NCHW")), X, W),
    "one group with all channels": (conv, X, (3, 3, 32, 32)),
    "for groups of channels, got 2 groups of the batch": (
        lambda x, w: lax.conv_general_dilated(
            x, w, (1, 1), "SAME", dimension_numbers=NUMBERS[4], batch_group_count=2, feature_group_count=1
        ),
        (2, 8, 8, 32),
        (3, 3, 32, 32),
    ),
    "as many channels out as in": (conv, X, (3, 3, 4, 64)),
    "or a multiple of 16, got 6": (conv, (1, 8, 8, 24), (3, 3, 6, 24)),
    "transposed": (lambda x, w: conv(x, w, [(1, 1), (1, 1)], lhs_dilation=(2, 2)), X, W),
    "cut nothing off": (lambda x, w: conv(x, w, [(-1, 1), (1, 1)]), X, W),
    "is asked for": (lambda x, w: conv(x, w, precision=TWICE), X, W),
}


@pytest.mark.parametrize("reason", REFUSED)
def test_a_refusal_says_why(reason):
    fun, x, w = REFUSED[reason]
    found = [p.refused.reason for p in BACKEND.propose(graph_of(fun, normal(*x), normal(*w))) if p.refused is not None]
    assert len(found) == 1 and reason in found[0]


def test_there_is_a_maker_of_steps():
    assert "collage_jax.step_maker.v1" in repr(grouped.step_maker())


GOOD = (
    "op=conv src=1x8x6x24 dst=1x4x6x24 kernel=3x5 group=4 strides=2x1 dilation=1x1 pads=1x2 relu=0 bias=0 add=0"
    " low=-inf high=inf packed=0"
)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("op=conv", "op=product", "conv or pack"),
        ("src=1x8x6x24", "src=1x8x6", "4 numbers"),
        ("src=1x8x6x24", "src=2x8x6x24", "differ in images"),
        ("src=1x8x6x24", "src=1x8x0x24", "out of range"),
        ("src=1x8x6x24", "src=1x999999999x999999999x24", "the source is larger"),
        ("dst=1x4x6x24", "dst=1x999999999x999999999x24", "the result is larger"),
        ("kernel=3x5", "kernel=3xa", "integers"),
        ("kernel=3x5", "kernel=999999999x999999999", "the kernel is larger"),
        ("dilation=1x1", "dilation=999999999999x1", "with its gaps is larger"),
        ("strides=2x1", "strides=999999999999x1", "the padded source is larger"),
        ("dilation=1x1", "dilation=9999999999x1", "a row of results reads is larger"),
        ("pads=1x2", "pads=1x-2", "out of range"),
        ("group=4", "group=3", "1, 2, 4, 8 or a multiple"),
        ("group=4", "group=16", "divides the channels"),
        ("low=-inf", "low=nan", "a number"),
        ("bias=0", "bias=2", "0 or 1"),
        (" add=0", "", "missing token"),
        ("add=0", "add=0 add=0", "twice"),
        ("add=0", "add=0 gelu=1", "no such option"),
        ("add=0", "add", "key=value"),
    ],
)
def test_a_bad_spec_is_named(old, new, message):
    assert grouped.packed_size(GOOD) == 3 * 5 * 4 * 32
    with pytest.raises(ValueError, match=message):
        grouped.packed_size(GOOD.replace(old, new))


@pytest.mark.parametrize(
    ("spec", "version", "message"),
    [
        (GOOD, "0", "compile it again"),
        (GOOD + " isa=neon", None, "no kernels for isa=neon"),
        (GOOD.replace("src=1x8x6", "src=1x9x6"), None, "has 1152 elements, the spec says 1296"),
        (GOOD.replace("bias=0", "bias=1"), None, "3 operands, there are 2"),
    ],
)
def test_a_call_that_does_not_fit_is_an_error_of_the_program(spec, version, message):
    run = jax.jit(
        lambda x, w: jax.ffi.ffi_call(TARGET, jax.ShapeDtypeStruct((1, 4, 6, 24), jnp.float32))(
            x, w, spec=spec, version=version or grouped.version()
        )
    )
    with pytest.raises(jax.errors.JaxRuntimeError, match=message):
        run(normal(1, 8, 6, 24), normal(3, 5, 4, 24)).block_until_ready()


# A depthwise convolution with the pointwise one that reads it.


@st.composite
def separable_problems(draw):
    channels, columns = draw(st.integers(2, 70)), draw(st.integers(1, 70))
    window, stride = draw(st.integers(1, 5)), draw(st.integers(1, 2))
    shape = (draw(st.integers(1, 3)), draw(st.integers(1, 20)), draw(st.integers(1, 20)), channels)
    out_last = draw(st.booleans())
    # Bounds would make the largest result small beside what rounding is relative to.
    unbounded = [names for names in ORDERS if "clip" not in names and "relu6" not in names]
    names, first = draw(st.sampled_from(unbounded)), draw(st.sampled_from([None, jax.nn.relu]))

    def fun(x, depthwise, pointwise):
        x = first(x) if first else x
        pad = [(window // 2, window // 2)] * 2
        y = conv(x, depthwise, pad, [stride] * 2)
        numbers = ("NHWC", "HWIO" if out_last else "OHWI", "NHWC")
        return with_tail(conv(y, pointwise, numbers=numbers, groups=1), names)

    weights = (1, 1, channels, columns) if out_last else (columns, 1, 1, channels)
    return fun, shape, (window, window, 1, channels), weights, names


@settings(max_examples=3 * settings.default.max_examples)
@given(separable_problems())
def test_depthwise_and_pointwise_in_one_call(problem):
    fun, x, depthwise, pointwise, names = problem
    regions = regions_of(fun, normal(*x), normal(*depthwise), normal(*pointwise))
    if "conv+pointwise" not in regions:  # of one channel in and out the window may be the pointwise one
        assert pointwise.count(1) > 2 or depthwise.count(1) > 2
        return
    region = longest(fun, normal(*x), normal(*depthwise), normal(*pointwise))
    assert len(region.nodes) >= 2 + len(names.split()) and "pointwise" in max(regions, key=len)
    check(region)


def test_branches_of_a_cell():
    """As in NasNet: two separable convolutions, of which the second adds the first."""

    def fun(x, y, d1, p1, d2, p2):
        first = conv(conv(x, d1), p1, groups=1)
        return conv(conv(y, d2), p2, groups=1) + first

    x, depthwise, pointwise = normal(1, 56, 56, 64), normal(3, 3, 1, 64), normal(1, 1, 64, 64)
    regions = regions_of(fun, x, x, depthwise, pointwise, depthwise, pointwise)
    check(regions["conv+pointwise+sum"])


def test_a_bias_of_one_number_is_no_vector():
    fun = lambda x, d, p, b: conv(conv(x, d), p, groups=1) + b  # noqa: E731
    for region in regions_of(fun, normal(1, 5, 5, 16), normal(3, 3, 1, 16), normal(1, 1, 16, 24), normal(1)).values():
        check(region)


def test_what_lies_between_is_kept_if_others_read_it():
    def fun(x, depthwise, pointwise):
        y = conv(x, depthwise)
        return conv(y, pointwise, groups=1), y

    assert "conv+pointwise" not in regions_of(fun, normal(1, 9, 9, 16), normal(3, 3, 1, 16), normal(1, 1, 16, 24))


@pytest.mark.parametrize("isa", ISAS)
def test_separable_on_every_instruction_set(isa, monkeypatch):
    skip_without(isa)
    x, depthwise, pointwise, bias = normal(2, 13, 11, 48), normal(3, 3, 1, 48), normal(1, 1, 48, 40), normal(40)
    fun = lambda x, d, p, b: jax.nn.relu(conv(conv(x, d), p, groups=1) + b)  # noqa: E731
    region = regions_of(fun, x, depthwise, pointwise, bias)["conv+pointwise+bias+relu"]
    best = Convolution.separable_spec
    # Weights too: panels are as wide as the instruction set's vectors.
    chosen = f" isa={isa} depthwise:"
    monkeypatch.setattr(Convolution, "separable_spec", lambda conv: best(conv).replace(" depthwise:", chosen))
    (got,) = jax.jit(BACKEND.emit(region))(x, depthwise, pointwise, bias)
    assert largest_error([got], [fun(x, depthwise, pointwise, bias)]) < 1e-5


def test_many_threads_may_run_the_same_separable_kernel():
    fun = lambda x, d, p: conv(conv(x, d), p, groups=1)  # noqa: E731
    arrays = [normal(1, 40, 40, 64), normal(3, 3, 1, 64), normal(1, 1, 64, 64)]
    run = jax.jit(BACKEND.emit(regions_of(fun, *arrays)["conv+pointwise"]))
    wanted = np.asarray(run(*arrays)[0])
    with ThreadPoolExecutor(8) as pool:
        for got in pool.map(lambda _: np.asarray(run(*arrays)[0]), range(48)):
            np.testing.assert_array_equal(got, wanted)


SEPARABLE = (
    "op=conv columns=24 bias=0 add=0 low=-inf high=inf depthwise: src=1x9x9x16 dst=1x9x9x16 kernel=3x3 strides=1x1 "
    "dilation=1x1 pads=1x1 group=1 relu=0 packed=1"
)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (" depthwise: ", " ", "missing `depthwise:`"),
        ("columns=24", "columns=0", "out of range"),
        ("packed=1", "packed=0", "must be packed"),
        ("op=conv", "op=pool", "conv or pack"),
        ("bias=0", "bias=0 more=1", "no such option"),
        ("kernel=3x3", "kernel=3", "2 numbers"),
    ],
)
def test_a_bad_separable_spec_is_named(old, new, message):
    with pytest.raises(ValueError, match=message):
        own_kernels.load(SEPARABLE_STEP).packed_size(SEPARABLE.replace(old, new))
