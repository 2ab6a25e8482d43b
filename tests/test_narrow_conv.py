"""Convolutions to few channels: every region the backend accepts computes what JAX computes; every refusal says why."""

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
from collage_jax.backends.narrow_conv import BACKEND, STEP, TARGET
from collage_jax.ffi.native_call import NativeCall
from collage_jax.graph.evaluate import callable_of
from collage_jax.graph.region import Region
from collage_jax.graph.trace import trace_function
from collage_jax.measure.compare import largest_error, tolerance
from collage_jax.patterns.recognise import recognise

native = own_kernels.load(STEP)
pytestmark = pytest.mark.skipif(not native, reason=getattr(native, "reason", ""))

NUMBERS = {3: ("NWC", "WIO", "NWC"), 4: ("NHWC", "HWIO", "NHWC"), 5: ("NDHWC", "DHWIO", "NDHWC")}


def normal(*shape, seed=0):
    return jnp.asarray(np.random.default_rng([seed, *shape]).standard_normal(shape), jnp.float32)


def conv(x, w, pads="SAME", strides=None, numbers=None, **options):
    numbers = lax.conv_dimension_numbers(x.shape, w.shape, numbers or NUMBERS[x.ndim])
    return lax.conv_general_dilated(x, w, strides or [1] * (x.ndim - 2), pads, dimension_numbers=numbers, **options)


def proposals(fun, *args):
    graph = recognise(trace_function(fun, *args))
    return graph, list(BACKEND.propose(graph))


def longest(fun, *args):
    graph, found = proposals(fun, *args)
    regions = [Region.of(graph, p.nodes) for p in found if p.refused is None]
    assert all(region.is_convex and BACKEND.supports(region) is None for region in regions)
    return max(regions, key=lambda region: len(region.nodes))


def results(region, arrays):
    """With the weights packed in each call, and once before."""
    run = BACKEND.emit(region)
    assert isinstance(run, NativeCall)
    yield jax.jit(run)(*arrays)
    prepared = BACKEND.emit_frozen(region, frozenset(region.entries[1:]))
    assert isinstance(prepared.run, NativeCall) and prepared.run.step == STEP
    yield jax.jit(prepared.run)(*jax.jit(prepared.prepare)(*arrays[1:]), arrays[0])


def check(region):
    arrays = [normal(*v.shape, seed=i) for i, v in enumerate(region.entries)]
    wanted = jax.jit(callable_of(region.nodes, region.entries, region.exits))(*arrays)
    for got in results(region, arrays):
        assert largest_error(got, wanted) <= tolerance(region), region


TAILS = {
    "bias": lambda y: y + normal(y.shape[-1], seed=1),
    "bias_first": lambda y: normal(*[1] * (y.ndim - 1), y.shape[-1], seed=2) + y,
    "relu": jax.nn.relu,
    "relu6": jax.nn.relu6,
    "clip": lambda y: jnp.clip(y, -5.0, 7.5),
}
ORDERS = ["", "relu", "bias", "bias relu", "bias_first relu6", "clip", "bias clip"]


def with_tail(y, names):
    for name in names.split():
        y = TAILS[name](y)
    return y


@st.composite
def problems(draw):
    rank = draw(st.integers(1, 2))
    window = [draw(st.integers(1, 5)) for _ in range(rank - 1)] + [draw(st.integers(2, 5))]
    dilation = [draw(st.integers(1, 3)) for _ in range(rank)]
    spans = [(k - 1) * d + 1 for k, d in zip(window, dilation, strict=True)]
    # At least one result, and now and then more padding than the kernel is large. XLA:CPU reads what is not there where
    # one end is cropped and the other padded, or more is cropped than there is.
    ends = [draw(st.sampled_from([(0, span + 1), (-2, 0)])) for span in spans]
    pads = [(draw(st.integers(*end)), draw(st.integers(*end))) for end in ends]
    least = [max(span - sum(pad), 1 - sum(pad)) for span, pad in zip(spans, pads, strict=True)]
    source = [max(draw(st.integers(1, 33)), size) for size in least]
    channels, made = draw(st.integers(1, 80)), draw(st.integers(1, 16))
    order = draw(st.permutations(range(rank + 2)))  # of the weights' axes
    weights = [0] * (rank + 2)
    for axis, size in zip(order, (made, channels, *window), strict=True):
        weights[axis] = size
    last = (0, rank + 1, *range(1, rank + 1))
    numbers = lax.ConvDimensionNumbers(last, tuple(order), last)
    names = draw(st.sampled_from(ORDERS))

    def fun(x, w):
        return with_tail(conv(x, w, pads, numbers=numbers, rhs_dilation=dilation), names)

    return fun, (draw(st.integers(1, 3)), *source, channels), tuple(weights), names


@settings(max_examples=5 * settings.default.max_examples)
@given(problems())
def test_results_are_jax_s(problem):
    fun, x, w, names = problem
    _, found = proposals(fun, normal(*x), normal(*w))
    count, every = len([p for p in found if p.refused is None]), 1 + len(names.split())
    # Of one number is not to be seen along which axis another goes.
    assert count == every or jax.eval_shape(fun, normal(*x), normal(*w)).size == 1 <= count
    check(longest(fun, normal(*x), normal(*w)))


@pytest.mark.parametrize("isa", ["avx512", "avx2"])
@pytest.mark.parametrize("made", [1, 3, 4, 7, 9, 16])
def test_every_instruction_set(isa, made):
    skip_without(isa)
    x, w, bias = normal(2, 33, 29, 300), normal(300, 9 * made), normal(made)
    spec = (
        f"op=conv src=2x33x29x300 dst=2x33x29x{made} kernel=3x3 dilation=1x1 pads=1x1 bias=1 low=0.0 high=inf packed=0"
    )
    wanted = jax.nn.relu(conv(x, w.reshape(300, 3, 3, made).transpose(1, 2, 0, 3)) + bias)
    call = jax.ffi.ffi_call(TARGET, jax.ShapeDtypeStruct(wanted.shape, jnp.float32))
    got = jax.jit(lambda *operands: call(*operands, spec=f"{spec} isa={isa}", version=native.version()))(x, w, bias)
    assert largest_error([got], [wanted]) < 2e-6


@pytest.mark.parametrize("made", [1, 3, 5, 16])
def test_room_after_each_pixel_stays_as_it_is(made):
    """What shares rows with a result that is written in place is not touched."""
    region = longest(lambda x, w: conv(x, w), normal(1, 5, 6, 8), normal(3, 3, 8, made))
    arrays = [normal(*v.shape, seed=i) for i, v in enumerate(region.entries)]
    distance = made + 7
    apart = BACKEND.emit(region).with_rows(distance)
    count = (5 * 6 - 1) * distance + made
    call = jax.ffi.ffi_call(TARGET, jax.ShapeDtypeStruct((count,), jnp.float32))
    operands = [operand.array(arrays) for operand in apart.operands]
    got = jnp.pad(call(*operands, spec=apart.spec, version=apart.version), (0, distance - made))
    wanted = conv(*arrays).reshape(30, made)
    assert largest_error([got.reshape(30, distance)[:, :made]], [wanted]) < 1e-6


@pytest.mark.parametrize("channels", [16, 512])
def test_errors_are_small(channels):
    x, w = normal(1, 20, 20, channels), normal(3, 3, channels, 3)
    region = longest(lambda x, w: conv(x, w), x, w)
    padded = np.pad(np.asarray(x, np.float64), [(0, 0), (1, 1), (1, 1), (0, 0)])
    taps = [(i, j) for i in range(3) for j in range(3)]
    wanted = sum(padded[:, i : i + 20, j : j + 20] @ np.asarray(w, np.float64)[i, j] for i, j in taps)
    for (got,) in results(region, [x, w]):
        assert np.abs(got - wanted).max() / np.abs(wanted).max() < 1e-6


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("operand", [0, 1])
def test_what_is_not_finite_stays_where_it_is(bad, operand):
    """Padding is multiplied too: an infinite weight makes NaN of it."""
    arrays = [normal(1, 11, 9, 5), normal(3, 3, 5, 3)]
    arrays[operand] = arrays[operand].at[(0, 2, 3, 1)].set(bad)
    fun = lambda x, w: jnp.clip(conv(x, w, [(2, 1), (1, 1)]), -0.5, 9.0)  # noqa: E731
    wanted = jax.jit(fun)(*arrays)
    for got in results(longest(fun, *arrays), arrays):
        assert largest_error(got, [wanted]) < 1e-5


def test_a_source_that_is_the_weights():
    x = normal(3, 3, 3, 3)
    (got,) = jax.jit(BACKEND.emit(longest(lambda x: conv(x, x), x)))(x)
    assert largest_error([got], [conv(x, x)]) < 1e-6
    prepared = BACKEND.emit_frozen(region := longest(lambda x: conv(x, x), x), frozenset(region.entries))
    (got,) = prepared.run(*prepared.prepare(x))
    assert largest_error([got], [conv(x, x)]) < 1e-6


def test_many_threads_may_run_one_program():
    x, w = normal(2, 40, 40, 16), normal(3, 3, 16, 3)
    run = jax.jit(BACKEND.emit(longest(lambda x, w: conv(x, w), x, w)))
    inputs = [x * i for i in range(1, 5)]
    wanted = [run(x, w)[0] for x in inputs]

    def work(i):
        return all(np.array_equal(run(inputs[i], w)[0], wanted[i]) for _ in range(20))

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(work, range(4)))


def test_any_number_of_threads():
    program = textwrap.dedent("""
        import sys
        sys.path.insert(0, "tests")
        from test_narrow_conv import check, conv, longest, normal
        for x, w in [((1, 5, 5, 16), (3, 3, 16, 2)), ((1, 90, 40, 16), (7, 3, 16, 5)),
                     ((3, 30, 30, 64), (3, 3, 64, 16))]:
            check(longest(lambda x, w: conv(x, w), normal(*x), normal(*w)))
    """)
    for threads in ("1", "7"):
        subprocess.run(
            [sys.executable, "-P", "-c", program], env={**os.environ, "OMP_NUM_THREADS": threads}, check=True
        )


REFUSED = {
    "slide by 1": lambda x, w: conv(x, w, strides=(2, 2)),
    "lhs_dilation": lambda x, w: conv(x, w, [(1, 1), (1, 1)], lhs_dilation=(2, 2)),
    "at most 16": lambda x, w: conv(x, jnp.concatenate([w] * 5, -1)),
    "matrix product": lambda x, w: conv(x, w[:1, :1]),
    "float32": lambda x, w: conv(x.astype(jnp.bfloat16), w.astype(jnp.bfloat16)),
    "no groups": lambda x, w: conv(x, w[:, :, :4], feature_group_count=2),
    "channels last": lambda x, w: conv(x, w, numbers=("NHWC", "HWIO", "NCHW")),
    "is asked for": lambda x, w: conv(x, w, precision=lax.DotAlgorithmPreset.F32_F32_F32),
    "1 or 2 spatial": lambda x, w: conv(x[:, None], w[None]),
}


@pytest.mark.parametrize("reason", REFUSED)
def test_a_refusal_says_why(reason):
    (found,) = (p.refused.reason for p in proposals(REFUSED[reason], normal(1, 8, 8, 8), normal(3, 3, 8, 4))[1])
    assert reason in found


GOOD = "op=conv src=1x8x8x16 dst=1x8x8x3 kernel=3x3 dilation=1x1 pads=1x1 bias=0 low=-inf high=inf packed=0"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("op=conv", "op=pool", "conv or pack"),
        ("8x8x3", "8x8x17", "at most 16"),
        ("dst=1x", "dst=2x", "batch"),
        ("kernel=3x3", "kernel=0x3", "out of range"),
        ("dilation=1x1", "dilation=1", "2 numbers"),
        ("low=-inf", "low=nan", "a number is needed"),
        ("8x8x16", "8x99999999999x16", "larger than any memory"),
        (" packed=0", "", "missing token"),
        ("packed=0", "packed=0 gelu=1", "no such option"),
    ],
)
def test_a_bad_spec_is_named(old, new, message):
    with pytest.raises(ValueError, match=message):
        native.packed_size(GOOD.replace(old, new))


@pytest.mark.parametrize(
    ("spec", "version", "message"),
    [
        (GOOD, "0", "compile it again"),
        (GOOD.replace("bias=0", "bias=1"), None, "the spec says 3 operands, there are 2"),
        (GOOD.replace("src=1x8", "src=1x9"), None, "operand 0 has 1024 elements"),
    ],
)
def test_a_call_that_does_not_fit_is_an_error_of_the_program(spec, version, message):
    call = jax.ffi.ffi_call(TARGET, jax.ShapeDtypeStruct((1, 8, 8, 3), jnp.float32))
    run = jax.jit(lambda x, w: call(x, w, spec=spec, version=version or native.version()))
    with pytest.raises(jax.errors.JaxRuntimeError, match=message):
        run(normal(1, 8, 8, 16), normal(16, 27)).block_until_ready()
