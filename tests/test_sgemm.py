"""The product backend: every region it accepts computes what JAX computes, and every refusal says why."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from instruction_sets import skip_without
from jax import lax

from collage_jax.backends import own_kernels
from collage_jax.backends.sgemm import BACKEND
from collage_jax.backends.sgemm.kernel import STEP, TARGET
from collage_jax.ffi.native_call import NativeCall
from collage_jax.graph.evaluate import callable_of
from collage_jax.graph.region import Region
from collage_jax.graph.trace import trace_function
from collage_jax.measure.compare import largest_error, tolerance
from collage_jax.patterns.recognise import recognise

sgemm = own_kernels.load(STEP)
pytestmark = pytest.mark.skipif(not sgemm, reason=getattr(sgemm, "reason", ""))

ISAS = ("avx512", "avx2")


def normal(*shape, seed=0):
    return jnp.asarray(np.random.default_rng([seed, *shape]).standard_normal(shape), jnp.float32)


def graph_of(fun, *args):
    return recognise(trace_function(fun, *args))


def regions_of(fun, *args):
    """The regions that the backend proposes and supports, by label."""
    graph = graph_of(fun, *args)
    found = {p.label: Region.of(graph, p.nodes) for p in BACKEND.propose(graph) if p.refused is None}
    assert all(region.is_convex and BACKEND.supports(region) is None for region in found.values())
    return found


def longest(fun, *args):
    return list(regions_of(fun, *args).values())[-1]


def results(region, arrays):
    """With the weights packed in each call, and once before."""
    run = BACKEND.emit(region)
    assert isinstance(run, NativeCall)
    yield jax.jit(run)(*arrays)
    # All entries are frozen but one, which is not the weights.
    for kept in range(len(arrays)) if len(arrays) > 1 else [None]:
        frozen = [i for i in range(len(arrays)) if i != kept]
        prepared = BACKEND.emit_frozen(region, frozenset(region.entries[i] for i in frozen))
        if prepared is not None:
            break
    assert isinstance(prepared.run, NativeCall) and prepared.run.step == "_kernels.sgemm"
    others = [] if kept is None else [arrays[kept]]
    yield jax.jit(prepared.run)(*jax.jit(prepared.prepare)(*(arrays[i] for i in frozen)), *others)


def check(region):
    arrays = [normal(*v.shape, seed=i) for i, v in enumerate(region.entries)]
    wanted = jax.jit(callable_of(region.nodes, region.entries, region.exits))(*arrays)
    for got in results(region, arrays):
        assert largest_error(got, wanted) <= tolerance(region), region


# Tails: what may follow, by name.
TAILS = {
    "scale": lambda y: y / 3.0,
    "halve": lambda y: 0.5 * y,
    "bias": lambda y: y + normal(y.shape[-1], seed=1),
    "bias_first": lambda y: normal(*[1] * (y.ndim - 1), y.shape[-1], seed=2) + y,
    "residual": lambda y: normal(*y.shape, seed=3) + y,
    "relu": jax.nn.relu,
    "maximum": lambda y: jnp.maximum(0, y),
    "relu6": jax.nn.relu6,
    "clip": lambda y: jnp.clip(y, -0.5, 0.75),
}
ORDERS = [
    "", "relu", "bias", "bias relu", "scale bias", "halve", "residual maximum", "bias_first residual relu",
    "bias relu6", "clip", "relu residual", "bias relu residual clip", "scale residual",
]  # fmt: skip


def with_tail(y, names):
    for name in names.split():
        y = TAILS[name](y)
    return y


def test_a_bias_of_one_number_is_no_vector():
    fun = lambda x, w, b: x @ w + b  # noqa: E731
    for region in regions_of(fun, normal(9, 8), normal(8, 5), normal(1)).values():
        check(region)


sizes = st.integers(1, 70)
tails = st.sampled_from(ORDERS)


@st.composite
def dots(draw):
    before = tuple(draw(st.lists(st.integers(1, 9), max_size=2)))
    rows, depth, columns = draw(sizes), draw(st.integers(1, 300)), draw(sizes)
    numbers = (((len(before) + 1,), (draw(st.integers(0, 1)),)), ((), ()))
    weights = (depth, columns) if numbers[0][1] == (0,) else (columns, depth)
    names = draw(tails)

    def fun(x, w):
        return with_tail(lax.dot_general(x, w, numbers), names)

    return fun, (*before, rows, depth), weights, names


@st.composite
def convolutions(draw):
    rank = draw(st.integers(1, 3))
    source = (draw(st.integers(1, 3)), *(draw(st.integers(1, 9)) for _ in range(rank)), draw(sizes))
    strides = [draw(st.integers(1, 3)) for _ in range(rank)]
    order = draw(st.permutations(range(rank + 2)))  # of the weights' axes
    weights = [1] * (rank + 2)
    weights[order[0]], weights[order[1]] = draw(sizes), source[-1]
    last = (0, rank + 1, *range(1, rank + 1))
    names = draw(tails)

    def fun(x, w):
        numbers = lax.ConvDimensionNumbers(last, tuple(order), last)
        return with_tail(lax.conv_general_dilated(x, w, strides, "VALID", dimension_numbers=numbers), names)

    return fun, source, tuple(weights), names


#: What becomes of a gradient of weights.
STEPS = {
    "transpose": jnp.transpose,
    "halve": TAILS["halve"],
    "minus": lambda y: normal(*y.shape, seed=4) - y,
    "relu": jax.nn.relu,
}

ORDERS_OF_STEPS = ["", "transpose", "halve minus", "transpose halve minus", "transpose minus", "minus relu"]


@st.composite
def gradients_of_weights(draw):
    """Sums over the first axes of both operands; the other axis of the first gives the rows."""
    summed = [draw(st.integers(1, 20)) for _ in range(draw(st.integers(1, 2)))]
    rows, columns = draw(sizes), draw(sizes)
    axes = tuple(draw(st.permutations(range(len(summed)))))
    names = draw(st.sampled_from(ORDERS_OF_STEPS))

    def fun(x, w):
        y = lax.dot_general(x, w, ((axes, axes), ((), ())))
        for name in names.split():
            y = STEPS[name](y)
        return y

    return fun, (*summed, rows), (*summed, columns), names


@settings(max_examples=2 * settings.default.max_examples)
@given(st.one_of(dots(), convolutions(), gradients_of_weights()))
def test_results_are_jax_s(problem):
    fun, x, w, names = problem
    regions = list(regions_of(fun, normal(*x), normal(*w)).values())
    assert len(regions) == 1 + len(names.split())
    check(regions[-1])


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("sizes", [(1, 1, 1), (7, 9, 33), (64, 100, 48), (150, 700, 129), (512, 70, 9)])
def test_operands_in_other_orders(isa, sizes):
    """Both operands as they lie, and transposed, for each instruction set, packed before and in the call."""
    skip_without(isa)
    rows, depth, columns = sizes
    for first in (0, 1):
        for second in (0, 1):
            x = normal(*((depth, rows) if first == 0 else (rows, depth)))
            w = normal(*((depth, columns) if second == 0 else (columns, depth)))
            numbers = (((first,), (second,)), ((), ()))
            region = longest(lambda x, w, numbers=numbers: lax.dot_general(x, w, numbers), x, w)
            wanted = lax.dot_general(x, w, numbers, precision="highest")
            run = BACKEND.emit(region)
            got = jax.jit(replace(run, spec=f"{run.spec} isa={isa}"))(x, w)
            assert largest_error(got, [wanted]) <= tolerance(region)


def test_a_step_down_a_gradient_is_one_product():
    """The gradient of weights comes out transposed, is scaled, and taken away: all of it as the product is stored."""

    def step(w, x, y):
        return w - 0.1 * jax.grad(lambda w: jnp.sum((x @ w) * y))(w)

    labels = list(regions_of(step, normal(24, 40), normal(3, 11, 24), normal(3, 11, 40)))
    assert labels[-1] == "dot+transpose+scale+sum"
    check(longest(step, normal(24, 40), normal(3, 11, 24), normal(3, 11, 40)))


@settings(deadline=None)
@given(st.data())
def test_the_gradient_of_a_pointwise_convolutions_weights_is_a_product(data):
    """And the step down it is part of the same call, wherever the batch and the channels lie."""
    rank = data.draw(st.integers(1, 3))
    axes = "HWD"[:rank]
    numbers = data.draw(
        st.sampled_from([(f"N{axes}C", f"{axes}IO"), (f"N{axes}C", f"OI{axes}"), (f"NC{axes}", f"OI{axes}")])
    )
    sizes = {a: data.draw(st.integers(1, 6)) for a in axes} | {
        "N": data.draw(st.integers(1, 3)),
        "C": data.draw(st.integers(1, 40)),
    }
    taps = dict.fromkeys(axes, 1) | {"I": sizes["C"], "O": data.draw(st.integers(1, 40))}
    x, w = normal(*(sizes[a] for a in numbers[0])), normal(*(taps[a] for a in numbers[1]), seed=1)

    def conv(x, w):
        return lax.conv_general_dilated(x, w, (1,) * rank, "VALID", dimension_numbers=(*numbers, numbers[0]))

    dy = normal(*jax.eval_shape(conv, x, w).shape, seed=2)

    def step(w, x, dy):
        return w - 0.1 * jax.vjp(lambda w: conv(x, w), w)[1](dy)[0]

    regions = regions_of(step, w, x, dy)
    for label, region in regions.items():
        if label.startswith("conv_weights"):
            check(region)
    if numbers[0].endswith("C") and numbers[1].endswith("O") and max(sizes[a] for a in axes) > 1:
        assert {"conv_weights", "conv_weights+scale+sum"} <= set(regions)


def test_what_is_taken_from_a_product_is_no_tail():
    assert list(regions_of(lambda x, w, y: x @ w - y, normal(9, 8), normal(8, 5), normal(9, 5))) == ["dot"]


@pytest.mark.parametrize("names", ORDERS)
def test_every_tail(names):
    check(longest(lambda x, w: with_tail(x @ w, names), normal(3, 21, 17), normal(17, 45)))


def call(isa, m, k, n, operands, tail="bias=0 add=0 scale=1.0 floor=-inf low=-inf high=inf"):
    spec = f"op=product sizes={m}x{k}x{n} rows=1x1x1x{m} steps=0x0x0x{k} source={m * k} weights={n}x1 {tail}"
    run = jax.ffi.ffi_call(TARGET, jax.ShapeDtypeStruct((m, n), jnp.float32))
    return jax.jit(lambda *o: run(*o, spec=f"{spec} packed=0 isa={isa}", version=sgemm.version()))(*operands)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize(("k", "n"), [(64, 33), (256, 16), (700, 31), (1024, 80), (1, 1), (1300, 7)])
def test_every_instruction_set(isa, k, n):
    skip_without(isa)
    for m in (*range(1, 15), 29, 200):  # every number of rows that a step can have
        x, w, bias, summand = normal(m, k), normal(k, n), normal(n), normal(m, n)
        tail = "bias=1 add=1 scale=0.5 floor=-2.0 low=-1.0 high=5.0"
        wanted = np.clip(np.maximum(in_double(x, w) / 2 + np.asarray(bias), -2) + np.asarray(summand), -1, 5)
        got = call(isa, m, k, n, (x, w, bias, summand), tail)
        assert np.abs(got - wanted).max() <= 1e-6 * k**0.5 + 1e-6, (m, k, n)


def in_double(x, w):
    return np.asarray(x, np.float64) @ np.asarray(w, np.float64)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("k", [64, 512, 2048])
def test_errors_are_small(isa, k):
    skip_without(isa)
    x, w = normal(50, k), normal(k, 64)
    wanted = in_double(x, w)
    assert np.abs(call(isa, 50, k, 64, (x, w)) - wanted).max() / np.abs(wanted).max() < 1e-6


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 3e38])
@pytest.mark.parametrize("names", ["relu", "bias residual maximum", "relu residual", "clip"])
def test_what_is_not_finite_stays_where_it_is(bad, names):
    fun = lambda x, w: with_tail(x @ w, names)  # noqa: E731
    for x, w in [
        (normal(20, 40).at[7, 3].set(bad), normal(40, 37)),
        (normal(20, 40), normal(40, 37).at[5, 36].set(bad)),
        (normal(20, 40).at[7, 3].set(bad), normal(40, 37).at[3].set(0)),
    ]:
        region = longest(fun, x, w)
        wanted = jax.jit(callable_of(region.nodes, region.entries, region.exits))
        arrays = [x, w, *(normal(*v.shape, seed=i) for i, v in enumerate(region.entries[2:]))]
        for got in results(region, arrays):
            assert largest_error(got, wanted(*arrays)) < 1e-5


def test_a_product_of_an_array_with_itself():
    check(longest(lambda x: jax.nn.relu(x @ x + x), normal(40, 40)))


def test_weights_of_several_axes():
    check(longest(lambda x, w: jnp.einsum("bsij,ijhd->bshd", x, w), normal(2, 9, 4, 8), normal(4, 8, 3, 5)))
    check(longest(lambda x, w: jnp.einsum("bsij,hjid->bshd", x, w), normal(2, 9, 4, 8), normal(3, 8, 4, 5)))
    check(longest(lambda x, w: lax.dot_general(x, w, (((), ()), ((), ()))), normal(7), normal(9)))


def test_a_bias_along_another_axis_is_no_bias():
    labels = regions_of(lambda x, w: x @ w + normal(16)[:, None], normal(16, 16), normal(16, 16))
    assert "dot+bias" not in labels


def test_only_what_has_a_place_follows():
    fun = lambda x, w: jax.nn.relu(jnp.tanh(x @ w))  # noqa: E731
    assert list(regions_of(fun, normal(8, 8), normal(8, 8))) == ["dot"]
    late = lambda x, w: jax.nn.relu(x @ w + 1.0) * 2.0  # noqa: E731
    assert list(regions_of(late, normal(8, 8), normal(8, 8))) == ["dot"]


def test_many_threads_may_run_one_program():
    x, w = normal(200, 300), normal(300, 100)
    run = jax.jit(BACKEND.emit(longest(jnp.dot, x, w)))
    inputs = [x * i for i in range(1, 5)]
    wanted = [run(x, w)[0] for x in inputs]

    def work(i):
        return all(np.array_equal(run(inputs[i], w)[0], wanted[i]) for _ in range(20))

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(work, range(4)))


def test_any_number_of_threads():
    """Few rows and many, few columns and many, with more threads than there are blocks and with one."""
    program = textwrap.dedent("""
        import sys
        import jax.numpy as jnp
        sys.path.insert(0, "tests")
        from test_sgemm import check, longest, normal
        for m, k, n in [(3, 500, 900), (2000, 64, 20), (120, 1024, 250), (300, 3000, 40)]:
            check(longest(jnp.dot, normal(m, k), normal(k, n)))
    """)
    for threads in ("1", "7"):
        subprocess.run(
            [sys.executable, "-P", "-c", program], env={**os.environ, "OMP_NUM_THREADS": threads}, check=True
        )


def conv(x, w, pads="VALID", numbers=("NHWC", "HWIO", "NHWC"), **options):
    return lax.conv_general_dilated(x, w, (1, 1), pads, dimension_numbers=numbers, **options)


X, W = (1, 8, 8, 16), (1, 1, 16, 16)
REFUSED = {
    "no batches": (lambda x, w: jnp.einsum("bij,bjk->bik", x, w), (2, 3, 4), (2, 4, 5)),
    "first or the last": (lambda x, w: lax.dot_general(x, w, (((1,), (0,)), ((), ()))), (3, 4, 5), (4, 6)),
    "float32": (lambda x, w: x.astype(jnp.bfloat16) @ w.astype(jnp.bfloat16), (4, 5), (5, 6)),
    "is empty": (jnp.dot, (0, 5), (5, 6)),
    "is asked for": (lambda x, w: jnp.dot(x, w, precision=lax.DotAlgorithmPreset.F32_F32_F32), (4, 5), (5, 6)),
    "has size 1": (conv, X, (3, 3, 16, 16)),
    "more than 4096 pixels": (
        lambda x, dy: jax.vjp(lambda w: conv(x, w), jnp.zeros((1, 1, 4, 5)))[1](dy)[0],
        (1, 80, 80, 4),
        (1, 80, 80, 5),
    ),
    "no padding": (lambda x, w: conv(x, w, [(1, 1), (0, 0)]), X, W),
    "no groups": (lambda x, w: conv(x, w, feature_group_count=2), X, (1, 1, 8, 16)),
    "transposed": (lambda x, w: conv(x, w, [(0, 0), (0, 0)], lhs_dilation=(2, 2)), X, W),
    "channels last": (lambda x, w: conv(x, w, numbers=("NHWC", "HWIO", "NCHW")), X, W),
}


@pytest.mark.parametrize("reason", REFUSED)
def test_a_refusal_says_why(reason):
    fun, x, w = REFUSED[reason]
    found = [p.refused.reason for p in BACKEND.propose(graph_of(fun, normal(*x), normal(*w))) if p.refused is not None]
    assert len(found) == 1 and reason in found[0]


def test_there_is_a_maker_of_steps():
    assert "collage_jax.step_maker.v1" in repr(sgemm.step_maker())


GOOD = (
    "op=product sizes=8x4x6 rows=1x1x2x4 steps=0x0x32x4 source=64 weights=6x1 bias=0 add=0 scale=1.0 floor=-inf"
    " low=-inf high=inf packed=0"
)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("op=product", "op=conv", "product or pack"),
        ("sizes=8x4x6", "sizes=8x4", "3 numbers"),
        ("sizes=8x4x6", "sizes=8x0x6", "out of range"),
        ("sizes=8x4x6", "sizes=8xax6", "integers"),
        ("sizes=8x4x6", "sizes=99999999999x4x999999", "larger than any memory"),
        ("rows=1x1x2x4", "rows=1x1x2x3", "differ in number"),
        ("steps=0x0x32x4", "steps=0x0x64x4", "outside the source"),
        ("weights=6x1", "weights=8x1", "dense"),
        ("source=64", "source=64 across=16", "next to each other"),
        ("rows=1x1x2x4 steps=0x0x32x4", "rows=1x1x1x8 steps=0x0x0x1 across=32", "outside the source"),
        ("scale=1.0", "scale=nan", "a number"),
        ("low=-inf", "low=x", "a number"),
        ("bias=0", "bias=2", "0 or 1"),
        (" add=0", "", "missing token"),
        ("add=0", "add=0 add=0", "twice"),
        ("add=0", "add=0 gelu=1", "no such option"),
        ("add=0", "add", "key=value"),
    ],
)
def test_a_bad_spec_is_named(old, new, message):
    assert sgemm.packed_size(GOOD) == 4 * 16
    with pytest.raises(ValueError, match=message):
        sgemm.packed_size(GOOD.replace(old, new))


@pytest.mark.parametrize(
    ("spec", "version", "message"),
    [
        (GOOD, "0", "compile it again"),
        (GOOD + " isa=neon", None, "no kernels for isa=neon"),
        (GOOD.replace("source=64", "source=65"), None, "has 64 elements, the spec says 65"),
        (GOOD.replace("bias=0", "bias=1"), None, "3 operands, there are 2"),
    ],
)
def test_a_call_that_does_not_fit_is_an_error_of_the_program(spec, version, message):
    run = jax.jit(
        lambda x, w: jax.ffi.ffi_call(TARGET, jax.ShapeDtypeStruct((8, 6), jnp.float32))(
            x, w, spec=spec, version=version or sgemm.version()
        )
    )
    with pytest.raises(jax.errors.JaxRuntimeError, match=message):
        run(normal(64), normal(4, 6)).block_until_ready()
