"""The Winograd backend: every region it accepts computes what JAX computes, and every refusal says why."""

from __future__ import annotations

import functools
import os
import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor
from itertools import product

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, reject
from hypothesis import strategies as st
from instruction_sets import skip_without
from jax import lax

from collage_jax.backends import own_kernels
from collage_jax.backends.winograd import BACKEND, convolution
from collage_jax.backends.winograd.kernel import STEP, TARGET, kernel, prepared_kernel
from collage_jax.backends.winograd.tail import extend, preceded
from collage_jax.graph.evaluate import callable_of
from collage_jax.graph.region import Region
from collage_jax.graph.trace import trace_function
from collage_jax.measure.compare import largest_error, tolerance
from collage_jax.patterns.recognise import recognise

winograd = own_kernels.load(STEP)
pytestmark = pytest.mark.skipif(not winograd, reason=getattr(winograd, "reason", ""))

NUMBERS = {4: ("NHWC", "HWIO", "NHWC"), 5: ("NDHWC", "DHWIO", "NDHWC")}
TILES = (2, 4)


def normal(*shape, seed=0):
    return jnp.asarray(np.random.default_rng([seed, *shape]).standard_normal(shape), jnp.float32)


def conv(x, w, pads="SAME", strides=None, dilation=None, numbers=None, **options):
    strides = strides or (1,) * (x.ndim - 2)
    numbers = numbers or NUMBERS[x.ndim]
    return lax.conv_general_dilated(x, w, strides, pads, rhs_dilation=dilation, dimension_numbers=numbers, **options)


def graph_of(fun, *args):
    return recognise(trace_function(fun, *args))


def regions_of(fun, *args):
    """The regions that the backend proposes and supports, by label."""
    graph = graph_of(fun, *args)
    found = {p.label: Region.of(graph, p.nodes) for p in BACKEND.propose(graph) if p.refused is None}
    assert all(region.is_convex and BACKEND.supports(region) is None for region in found.values())
    return found


def refusals(fun, *args):
    return [p.refused.reason for p in BACKEND.propose(graph_of(fun, *args)) if p.refused is not None]


def read(region):
    """The convolution that the backend sees in ``region``."""
    graph = region.graph
    anchor = next(node for node in region.nodes if node.op == "conv_general_dilated")
    found = convolution.plan(anchor)
    found = preceded(graph, found, set(region.nodes).__contains__) or found
    while len(found.nodes) < len(region.nodes):
        found = extend(graph, found, set(region.nodes).__contains__)
    return found


def both(region, arrays, tile):
    """The results with weights transformed in each call, and once before."""
    found, version = read(region), winograd.version()
    yield jax.jit(kernel(found, region, tile, version))(*arrays)
    size = winograd.packed_size(f"op=pack {found.spec(tile, packed=True)}")
    made = prepared_kernel(found, region, frozenset(region.entries[1:]), tile, version, size)
    yield jax.jit(made.run)(*jax.jit(made.prepare)(*arrays[1:]), arrays[0])


def check(region, tiles=TILES):
    arrays = [normal(*v.shape, seed=i) for i, v in enumerate(region.entries)]
    wanted = jax.jit(callable_of(region.nodes, region.entries, region.exits))(*arrays)
    for tile in tiles:
        for got in both(region, arrays, tile):
            assert largest_error(got, wanted) <= tolerance(region), (tile, region)


# Tails: what may follow, by name.
TAILS = {
    "bias": lambda y: y + normal(y.shape[-1], seed=1),
    "bias_first": lambda y: normal(*[1] * (y.ndim - 1), y.shape[-1], seed=2) + y,
    "residual": lambda y: normal(*y.shape, seed=3) + y,
    "relu": jax.nn.relu,
    "maximum": lambda y: jnp.maximum(0, y),
}


def with_tail(y, names):
    for name in names:
        y = TAILS[name](y)
    return y


sizes, channels, pads = st.integers(1, 19), st.sampled_from([16, 32, 48]), st.integers(-1, 3)


@st.composite
def problems(draw):
    in_3d = draw(st.booleans())
    rank = 3 if in_3d else 2
    c, k = draw(channels), draw(st.sampled_from([16, 32, 80, 112, 144]))
    shape = (draw(st.integers(1, 3)), *([draw(st.integers(1, 6))] if in_3d else []), draw(sizes), draw(sizes), c)
    window = (*([draw(st.integers(1, 3))] if in_3d else []), 3, 3)
    strides = (*([draw(st.integers(1, 2))] if in_3d else []), 1, 1)
    dilation = (*([draw(st.integers(1, 2))] if in_3d else []), 1, 1)
    padding = [(draw(pads), draw(pads)) for _ in range(rank)]
    order = draw(st.permutations(range(rank + 2)))  # of the weights' axes
    weights = [0] * (rank + 2)
    for axis, size in zip(order, (k, c, *window), strict=True):
        weights[axis] = size
    last = (0, rank + 1, *range(1, rank + 1))
    numbers = lax.ConvDimensionNumbers(last, tuple(order), last)
    names = draw(st.sampled_from(["", "relu", "bias", "bias relu", "residual maximum", "bias_first residual relu"]))

    def fun(x, w):
        return with_tail(conv(x, w, padding, strides, dilation, numbers), names.split())

    try:
        out = jax.eval_shape(fun, jax.ShapeDtypeStruct(shape, jnp.float32), jax.ShapeDtypeStruct(weights, jnp.float32))
    except (ValueError, TypeError):
        reject()
    if 0 in out.shape:
        reject()
    return fun, shape, weights, len(names.split())


@given(problems())
def test_results_are_jax_s(problem):
    fun, x, w, tail = problem
    regions = list(regions_of(fun, normal(*x), normal(*w)).values())
    assert len(regions) == 1 + tail
    check(regions[-1])


@pytest.mark.parametrize(("isa", "tile"), [*product(("avx512", "avx2"), TILES)])
def test_every_instruction_set(isa, tile):
    skip_without(isa)
    x, w, bias, summand = normal(2, 7, 9, 48), normal(3, 3, 48, 80), normal(80), normal(2, 7, 9, 80)
    spec = (
        f"op=conv tile={tile} src=2x1x7x9x48 up=1x1 dst=2x1x7x9x80 depth=1x1x1 pads=0x1x1 bias=1 add=1 relu=1 packed=0"
    )
    call = jax.ffi.ffi_call(TARGET, jax.ShapeDtypeStruct(summand.shape, jnp.float32))
    got = jax.jit(lambda *operands: call(*operands, spec=f"{spec} isa={isa}", version=winograd.version()))(
        x, w, bias, summand
    )
    assert largest_error([got], [jax.nn.relu(conv(x, w) + bias + summand)]) < 3e-6


def in_double(x, w):
    """A 3x3 convolution padded to the same size."""
    x, w = np.asarray(x, np.float64), np.asarray(w, np.float64)
    height, width = x.shape[1:3]
    x = np.pad(x, [(0, 0), (1, 1), (1, 1), (0, 0)])
    return sum(x[:, i : i + height, j : j + width] @ w[i, j] for i in range(3) for j in range(3))


@pytest.mark.parametrize(("channels", "tile"), [*product((16, 64, 256, 512), TILES)])
def test_errors_are_small(channels, tile):
    x, w = normal(1, 20, 20, channels), normal(3, 3, channels, 32)
    (region,) = regions_of(conv, x, w).values()
    (got,), _ = both(region, [x, w], tile)
    wanted = in_double(x, w)
    assert np.abs(got - wanted).max() / np.abs(wanted).max() < {2: 5e-7, 4: 2e-6}[tile]


@pytest.mark.parametrize("channels", [16, 128, 512])
def test_doubled_patches_are_exact(channels):
    x, w = normal(1, 10, 9, channels), normal(3, 3, channels, 32)
    fun = lambda x, w: conv(jnp.repeat(jnp.repeat(x, 2, 1), 2, 2), w, precision="highest")  # noqa: E731
    region = regions_of(fun, x, w)["upsample+conv"]
    assert read(region).tile(2) == 4
    (got,), _ = both(region, [x, w], 4)
    wanted = in_double(np.repeat(np.repeat(x, 2, 1), 2, 2), w)
    assert np.abs(got - wanted).max() / np.abs(wanted).max() < 5e-7


@pytest.mark.parametrize("bad", [np.nan, np.inf, 3e38])
def test_doubled_patches_that_are_not_finite(bad):
    x, w = normal(1, 11, 11, 16).at[0, 4, 5, 3].set(bad), normal(3, 3, 16, 16)
    fun = lambda x, w: conv(jnp.repeat(jnp.repeat(x, 2, 1), 2, 2), w)  # noqa: E731
    wanted = jax.jit(fun)(x, w)
    for (got,) in both(regions_of(fun, x, w)["upsample+conv"], [x, w], 4):
        assert largest_error([got], [wanted]) < 1e-5


@given(
    st.tuples(st.integers(1, 9), st.integers(1, 9)),
    st.tuples(*[st.tuples(pads, pads)] * 2),
    st.sampled_from(["", "bias relu", "bias residual"]),
)
def test_doubled_patches_at_any_padding(size, padding, names):
    def fun(x, w):
        return with_tail(conv(jnp.repeat(jnp.repeat(x, 2, 1), 2, 2), w, padding), names.split())

    x, w = normal(2, *size, 32), normal(3, 3, 32, 48)
    if 0 in jax.eval_shape(fun, x, w).shape:
        reject()
    label = max((found := regions_of(fun, x, w)), key=len)
    assert label.startswith("upsample+conv")
    check(found[label])


@pytest.mark.parametrize("isa", ["avx512", "avx2"])
def test_doubled_patches_with_every_instruction_set(isa):
    skip_without(isa)
    x, w = normal(2, 7, 9, 48), normal(3, 3, 48, 80)
    spec = "op=conv tile=4 src=2x1x14x18x48 up=2x2 dst=2x1x14x18x80 depth=1x1x1 pads=0x1x1 bias=0 add=0 relu=0 packed=0"
    wanted = conv(jnp.repeat(jnp.repeat(x, 2, 1), 2, 2), w)
    call = jax.ffi.ffi_call(TARGET, jax.ShapeDtypeStruct(wanted.shape, jnp.float32))
    got = jax.jit(lambda x, w: call(x, w, spec=f"{spec} isa={isa}", version=winograd.version()))(x, w)
    assert largest_error([got], [wanted]) < 1e-6


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 3e38])
def test_what_is_not_finite_stays_where_it_is(bad):
    x, w = normal(1, 11, 11, 16).at[0, 4, 5, 3].set(bad), normal(3, 3, 16, 16)
    fun = lambda x, w, r: jax.nn.relu(conv(x, w) + r)  # noqa: E731
    r = normal(1, 11, 11, 16)
    region = list(regions_of(fun, x, w, r).values())[-1]
    wanted = jax.jit(fun)(x, w, r)
    assert not np.isfinite(wanted).all() or bad == 3e38
    for tile in TILES:
        for (got,) in both(region, [x, w, r], tile):
            assert largest_error([got], [wanted]) < 1e-5


def test_weights_that_are_not_finite():
    x, w = normal(1, 11, 11, 16), normal(3, 3, 16, 16).at[0, 1, 2, 3].set(np.inf)
    (region,) = regions_of(conv, x, w).values()
    for tile in TILES:
        for got in both(region, [x, w], tile):
            assert largest_error(got, [conv(x, w)]) < 1e-5


def test_a_block_that_adds_its_input():
    x, w = normal(2, 15, 15, 32), normal(3, 3, 32, 32)
    fun = lambda x, w: jax.nn.relu(conv(x, w) + x)  # noqa: E731
    check(list(regions_of(fun, x, w).values())[-1])


@given(st.tuples(st.integers(1, 3), st.integers(1, 4)), st.tuples(st.integers(2, 9), st.integers(2, 9)), st.booleans())
def test_upsampling_is_part_of_reading(factors, size, in_3d):
    def fun(x, w):
        for axis, factor in enumerate(factors, x.ndim - 3):
            x = jnp.repeat(x, factor, axis) if factor > 1 else x
        return jax.nn.relu(conv(x, w) + normal(32, seed=1))

    depth = (2,) if in_3d else ()
    found = regions_of(fun, normal(2, *depth, *size, 16), normal(*depth, 3, 3, 16, 32))
    labels = ["conv+bias+relu", *(["upsample+conv+bias+relu"] if factors != (1, 1) else [])]
    assert set(labels) <= set(found)
    for label in labels:
        check(found[label])


def test_what_else_reads_the_upsampled_image_keeps_it():
    def fun(x, w):
        x = jnp.repeat(jnp.repeat(x, 2, 1), 2, 2)
        return conv(x, w), jnp.tanh(x)

    assert list(regions_of(fun, normal(1, 5, 5, 16), normal(3, 3, 16, 16))) == ["conv"]


def test_taps_that_only_meet_padding_are_left_out():
    (region,) = regions_of(conv, normal(1, 1, 9, 9, 16), normal(5, 3, 3, 16, 16)).values()
    assert read(region).depth == (1, 1, 1)
    check(region)


def test_many_threads_may_run_one_program():
    x, w = normal(4, 14, 14, 64), normal(3, 3, 64, 64)
    (region,) = regions_of(conv, x, w).values()
    run = jax.jit(BACKEND.emit(region))
    inputs = [x * i for i in range(1, 5)]
    wanted = [run(x, w)[0] for x in inputs]

    def work(i):
        return all(np.array_equal(run(inputs[i], w)[0], wanted[i]) for _ in range(20))

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(work, range(4)))


def test_any_number_of_threads():
    """Few tiles and many, few weights and many, with more threads than there are blocks and with one."""
    program = textwrap.dedent("""
        import jax, sys
        sys.path.insert(0, "tests")
        from test_winograd import check, conv, normal, regions_of
        for x, w in [((1, 5, 5, 16), (3, 3, 16, 16)), ((1, 40, 40, 16), (3, 3, 16, 96)),
                     ((1, 7, 7, 128), (3, 3, 128, 128)), ((2, 5, 14, 14, 64), (3, 3, 3, 64, 32))]:
            check(*regions_of(conv, normal(*x), normal(*w)).values())
    """)
    for threads in ("1", "7"):
        subprocess.run(
            [sys.executable, "-P", "-c", program], env={**os.environ, "OMP_NUM_THREADS": threads}, check=True
        )


def test_the_tile_suits_the_problem():
    def tile(size, channels):
        (region,) = regions_of(conv, normal(1, size, size, channels), normal(3, 3, channels, channels)).values()
        return read(region).tile(2)

    assert tile(56, 64) == 4
    assert tile(7, 256) == 2
    precise = functools.partial(conv, precision="highest")
    (region,) = regions_of(precise, normal(1, 56, 56, 64), normal(3, 3, 64, 64)).values()
    assert read(region).tile(2) == 2


REFUSED = {
    "slides by 1": lambda x, w: conv(x, w, strides=(2, 2)),
    "has no gaps": lambda x, w: conv(x, w, dilation=(2, 2)),
    "must be 3": lambda x, w: conv(x, w[:, :2]),
    "multiples of 16": lambda x, w: conv(x, w[..., :8]),
    "float32": lambda x, w: conv(x.astype(jnp.bfloat16), w.astype(jnp.bfloat16)),
    "no groups": lambda x, w: conv(x, w[:, :, :8], feature_group_count=2),
    "transposed": lambda x, w: conv(x, w, [(1, 1), (1, 1)], lhs_dilation=(2, 2)),
    "channels last": lambda x, w: conv(x, w, numbers=("NHWC", "HWIO", "NCHW")),
    "is asked for": lambda x, w: conv(x, w, precision=lax.DotAlgorithmPreset.F32_F32_F32),
    "2 or 3 spatial": lambda x, w: lax.conv_general_dilated(
        x[0], w[0], (1,), "SAME", dimension_numbers=("NHC", "HIO", "NHC")
    ),
}


@pytest.mark.parametrize("reason", REFUSED)
def test_a_refusal_says_why(reason):
    (found,) = refusals(REFUSED[reason], normal(1, 8, 8, 16), normal(3, 3, 16, 16))
    assert reason in found


def test_only_what_has_a_place_follows():
    fun = lambda x, w: jax.nn.relu(jnp.tanh(conv(x, w)))  # noqa: E731
    assert list(regions_of(fun, normal(1, 8, 8, 16), normal(3, 3, 16, 16))) == ["conv"]
    row = lambda x, w: conv(x, w) + normal(16)[:, None]  # along the width  # noqa: E731
    assert "conv+bias" not in regions_of(row, normal(1, 8, 16, 16), normal(3, 3, 16, 16))


GOOD = "op=conv tile=2 src=1x1x8x8x16 up=1x1 dst=1x1x8x8x16 depth=1x1x1 pads=0x1x1 bias=0 add=0 relu=0 packed=0"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("op=conv", "op=pool", "conv or pack"),
        ("tile=2", "tile=3", "2 or 4"),
        ("8x16 ", "8x8 ", "multiples of 16"),
        ("up=1x1", "up=1x3", "multiples of up=1x3"),
        ("up=1x1", "up=0x1", "out of range"),
        ("src=1x1", "src=2x1", "batch"),
        ("depth=1x1x1", "depth=1x1", "3 numbers"),
        ("depth=1x1x1", "depth=1x0x1", "out of range"),
        ("pads=0x1x1", "pads=0xax1", "integers"),
        ("relu=0", "relu=2", "0 or 1"),
        (" relu=0", "", "missing token"),
        ("relu=0", "relu=0 relu=0", "twice"),
        ("relu=0", "relu=0 gelu=1", "no such option"),
        ("relu=0", "relu", "key=value"),
        ("8x16 ", "99999999999x16 ", "larger than any memory"),
    ],
)
def test_a_bad_spec_is_named(old, new, message):
    with pytest.raises(ValueError, match=message):
        winograd.packed_size(GOOD.replace(old, new))


@pytest.mark.parametrize(
    ("spec", "version", "message"),
    [
        (GOOD, "0", "compile it again"),
        (GOOD + " isa=neon", None, "there are no kernels for isa=neon"),
        (GOOD.replace("8x8x16 up", "8x9x16 up"), None, "operand 0 has 1024 elements"),
        (GOOD.replace("bias=0", "bias=1"), None, "the spec says 3 operands, there are 2"),
    ],
)
def test_a_call_that_does_not_fit_is_an_error_of_the_program(spec, version, message):
    call = jax.ffi.ffi_call(TARGET, jax.ShapeDtypeStruct((1, 8, 8, 16), jnp.float32))
    run = jax.jit(lambda x, w: call(x, w, spec=spec, version=version or winograd.version()))
    with pytest.raises(jax.errors.JaxRuntimeError, match=message):
        run(normal(1, 8, 8, 16), normal(3, 3, 16, 16)).block_until_ready()
