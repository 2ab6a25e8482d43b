"""The attention backend: every region it accepts computes what JAX computes, and every refusal says why."""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from instruction_sets import skip_without

import collage_jax
from collage_jax.backends import own_kernels
from collage_jax.backends.fused_attention import BACKEND
from collage_jax.backends.fused_attention.kernel import STEP, TARGET
from collage_jax.ffi.native_call import NativeCall
from collage_jax.graph.evaluate import callable_of
from collage_jax.graph.region import Region
from collage_jax.graph.strides import Strided, destinations, sources
from collage_jax.graph.trace import trace_function
from collage_jax.measure.compare import largest_error, tolerance
from collage_jax.patterns.recognise import recognise

native = own_kernels.load(STEP)
pytestmark = pytest.mark.skipif(not native, reason=getattr(native, "reason", ""))


def normal(*shape, seed=0):
    return jnp.asarray(np.random.default_rng([seed, *shape]).standard_normal(shape), jnp.float32)


def graph_of(fun, *args):
    return recognise(trace_function(fun, *args))


def regions_of(fun, *args):
    """The regions that the backend proposes and supports, from the smallest."""
    graph = graph_of(fun, *args)
    found = [Region.of(graph, p.nodes) for p in BACKEND.propose(graph) if p.refused is None]
    assert all(region.is_convex and BACKEND.supports(region) is None for region in found)
    return found


def refusals(fun, *args):
    return [p.refused.reason for p in BACKEND.propose(graph_of(fun, *args)) if p.refused is not None]


def arrays_of(region):
    truths = np.random.default_rng(1)
    return [
        jnp.asarray(truths.random(v.shape) < 0.7) if v.dtype == bool else normal(*v.shape, seed=i)
        for i, v in enumerate(region.entries)
    ]


def check(region):
    run, arrays = BACKEND.emit(region), arrays_of(region)
    assert isinstance(run, NativeCall) and run.step == STEP
    wanted = jax.jit(callable_of(region.nodes, region.entries, region.exits))(*arrays)
    assert largest_error(jax.jit(run)(*arrays), wanted) <= tolerance(region), region


def attend(q, k, v, bias=None, keep=None, drop=None, scaled=True):
    """Heads in front."""
    scores = jnp.einsum("...qd,...kd->...qk", q, k)
    scores = scores / math.sqrt(q.shape[-1]) if scaled else scores
    scores = scores if bias is None else scores + bias
    scores = scores if keep is None else jnp.where(keep, scores, -1e9)
    scores = scores if drop is None else jnp.where(drop, -jnp.inf, scores)
    return jnp.einsum("...qk,...kd->...qd", jax.nn.softmax(scores, axis=-1), v)


def split_heads(q, k, v, heads):
    """As a transformer does: `(batch, length, width)` in and out."""
    parts = (t.reshape(*t.shape[:2], heads, -1).transpose(0, 2, 1, 3) for t in (q, k, v))
    return attend(*parts).transpose(0, 2, 1, 3).reshape(*q.shape[:2], -1)


sizes = st.integers(1, 40)


@given(st.integers(0, 2), st.data())
def test_any_sizes(count, data):
    heads = tuple(data.draw(st.integers(1, 3)) for _ in range(count))
    queries, keys, depth, width = (data.draw(sizes) for _ in range(4))
    shapes = [(*heads, queries, depth), (*heads, keys, depth), (*heads, keys, width)]
    scaled = data.draw(st.booleans())
    (region,) = regions_of(lambda q, k, v: attend(q, k, v, scaled=scaled), *(normal(*shape) for shape in shapes))
    check(region)


@given(st.integers(1, 3), st.integers(1, 4), sizes, st.integers(1, 70), st.integers(1, 40))
def test_heads_that_a_transformer_splits_and_joins(batch, heads, queries, keys, depth):
    shapes = [(batch, length, heads * depth) for length in (queries, keys, keys)]
    found = regions_of(lambda q, k, v: split_heads(q, k, v, heads), *(normal(*shape) for shape in shapes))
    for region in found:
        check(region)
    assert found[-1].ops[0] == found[-1].ops[-1] == "reshape"  # in the largest nothing is copied


@pytest.mark.parametrize("equation", ["bqhd,bkhd->bhqk", "bhqd,bkhd->bhqk", "bqhd,bhkd->bhqk"])
@pytest.mark.parametrize("second", ["bhqk,bkhd->bqhd", "bhqk,bkhd->bhqd"])
def test_heads_between_rows_and_columns(equation, second):
    def fun(q, k, v):
        return jnp.einsum(second, jax.nn.softmax(jnp.einsum(equation, q, k) * 0.3, axis=-1), v)

    shape = {"b": 2, "q": 9, "k": 13, "h": 3, "d": 5}
    first, other = equation.split("->")[0].split(",")
    arrays = [normal(*(shape[axis] for axis in axes)) for axes in (first, other, "bkhd")]
    found = regions_of(fun, *arrays)
    assert found
    for region in found:
        check(region)


MASKS = [(1, 1, 9, 13), (2, 3, 9, 13), (9, 13), (13,), (2, 1, 1, 13), (9, 1)]


@pytest.mark.parametrize("shape", MASKS, ids=str)
@pytest.mark.parametrize("kind", ["bias", "keep", "drop"])
def test_masks(kind, shape):
    mask = normal(*shape) if kind == "bias" else normal(*shape) > 0
    fun = lambda q, k, v, m: attend(q, k, v, **{kind: m})  # noqa: E731
    found = regions_of(fun, normal(2, 3, 9, 5), normal(2, 3, 13, 5), normal(2, 3, 13, 4), mask)
    assert found and len(found[0].entries) == 4
    run = jax.jit(BACKEND.emit(found[0]))
    arrays = [normal(*v.shape) if v.dtype != bool else mask.reshape(v.shape) for v in found[0].entries]
    wanted = jax.jit(callable_of(found[0].nodes, found[0].entries, found[0].exits))(*arrays)
    np.testing.assert_allclose(run(*arrays)[0], wanted[0], rtol=0, atol=3e-6)


def test_rows_of_which_nothing_is_kept_are_nan_as_in_jax():
    q, k, v = normal(1, 2, 5, 4), normal(1, 2, 7, 4), normal(1, 2, 7, 4)
    drop = jnp.zeros((5, 7), bool).at[2].set(True)
    (region,) = regions_of(lambda q, k, v, m: attend(q, k, v, drop=m), q, k, v, drop)
    wanted = attend(q, k, v, drop=drop)
    assert [value.dtype == bool for value in region.entries] == [False, False, True, False]
    (got,) = jax.jit(BACKEND.emit(region))(q, k, drop.reshape(region.entries[2].shape), v)
    np.testing.assert_array_equal(np.isnan(got), np.isnan(wanted))
    assert np.isnan(got[:, :, 2]).all() and not np.isnan(got[:, :, 3]).any()


@pytest.mark.parametrize("special", [np.nan, np.inf, -np.inf, 1e30, 1e-40])
@pytest.mark.parametrize("operand", [0, 1, 2])
def test_special_numbers_come_out_where_jax_has_them(operand, special):
    arrays = [normal(1, 2, 9, 8), normal(1, 2, 17, 8), normal(1, 2, 17, 5)]
    arrays[operand] = arrays[operand].at[0, 1, 3, 2].set(special)
    (region,) = regions_of(attend, *arrays)
    wanted, (got,) = attend(*arrays), jax.jit(BACKEND.emit(region))(*arrays)
    np.testing.assert_array_equal(np.isfinite(got), np.isfinite(wanted))
    finite = np.isfinite(wanted)
    np.testing.assert_allclose(got[finite], wanted[finite], rtol=3e-6, atol=3e-6)


@pytest.mark.parametrize("lengths", [(64, 64, 32, 32), (130, 1000, 300, 70), (1, 2000, 64, 64)], ids=str)
@pytest.mark.parametrize("isa", ["avx512", "avx2"])
def test_errors_against_double_precision(lengths, isa):
    skip_without(isa)
    queries, keys, depth, width = lengths
    q, k, v = normal(3, queries, depth), normal(3, keys, depth), normal(3, keys, width)
    (region,) = regions_of(attend, q, k, v)
    run = BACKEND.emit(region)
    spec = f"{run.spec} isa={isa}"
    got = jax.ffi.ffi_call(TARGET, run.result)(q, k, v, spec=spec, version=run.version)
    q, k, v = (np.asarray(t, np.float64) for t in (q, k, v))
    scores = q @ k.swapaxes(1, 2) / math.sqrt(depth)
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    wanted = weights / weights.sum(-1, keepdims=True) @ v
    assert np.abs(got - wanted).max() <= 1e-6 * np.abs(wanted).max()


def test_many_threads_may_run_the_same_kernel():
    (region,) = regions_of(attend, normal(2, 4, 65, 32), normal(2, 4, 65, 32), normal(2, 4, 65, 32))
    run, arrays = jax.jit(BACKEND.emit(region)), arrays_of(region)
    wanted = np.asarray(run(*arrays)[0])
    with ThreadPoolExecutor(8) as pool:
        for got in pool.map(lambda _: np.asarray(run(*arrays)[0]), range(64)):
            np.testing.assert_array_equal(got, wanted)


def test_it_can_be_chosen_in_a_program():
    args = [normal(1, 64, 256, seed=i) for i in range(3)]
    fun = collage_jax.jit(lambda q, k, v: jnp.tanh(split_heads(q, k, v, 8)), backends=["fused_attention"], budget_s=20)
    np.testing.assert_allclose(fun(*args), jnp.tanh(split_heads(*args, 8)), atol=2e-6)
    assert "fused_attention" in fun.explain(*args)


def bias_that_repeats(q, k, v, bias):
    return jnp.einsum("bhqk,bhkd->bhqd", jax.nn.softmax(jax.lax.add(jnp.einsum("bhqd,bhkd->bhqk", q, k), bias)), v)


@pytest.mark.parametrize(
    ("q", "k", "bias"),
    [((1, 3, 9, 5), (1, 3, 13, 5), (2, 1, 1, 13)), ((2, 3, 9, 5), (2, 3, 1, 5), (1, 1, 1, 13))],
    ids=["over the batch", "over the keys"],
)
def test_scores_that_the_mask_repeats_are_left_alone(q, k, bias):
    args = normal(*q), normal(*k), normal(2, 3, 13, 4), normal(*bias)
    assert jax.eval_shape(bias_that_repeats, *args).shape == (2, 3, 9, 4)
    assert not regions_of(bias_that_repeats, *args)


def test_one_transposed_array_as_q_and_k():
    def fun(y, v):
        t = jnp.swapaxes(y, 1, 2)
        return jnp.einsum("bqk,bkd->bqd", jax.nn.softmax(jnp.einsum("bqd,bkd->bqk", t, t)), v)

    for region in regions_of(fun, normal(2, 6, 9), normal(2, 9, 4)):
        check(region)


def test_a_divisor_of_zero_is_no_error():
    fun = lambda q, k, v: jax.nn.softmax(q @ k.mT / 0.0) @ v  # noqa: E731
    assert not regions_of(fun, *[normal(2, 9, 8)] * 3)


def prescribed(q, k, v):
    algorithm = jax.lax.DotAlgorithmPreset.F32_F32_F32
    return jnp.einsum("bqk,bkd->bqd", jax.nn.softmax(jnp.einsum("bqd,bkd->bqk", q, k, precision=algorithm)), v)


@pytest.mark.parametrize(
    ("fun", "shapes", "reason"),
    [
        (prescribed, [(2, 9, 8)] * 3, "algorithm"),
        (attend, [(2, 2, 2, 9, 8)] * 3, "two dimensions"),
        (lambda q, k, v: attend(q, k, v) @ v.mT, [(2, 0, 8)] * 3, "empty"),
    ],
)
def test_refusals_say_why(fun, shapes, reason):
    assert any(reason in why for why in refusals(fun, *(normal(*shape) for shape in shapes)))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("op=attention", "op=convolution"), "op=convolution"),
        (("heads=1x2", "heads=1x3"), "outside its array|for each head"),
        (("heads=1x2", "heads=4294967296x4294967296"), "larger than any memory"),
        (("scale=", "scale=nan#"), "scale"),
        (("mask=none", "mask=some"), "none, bias or keep"),
        (("mask=none", "mask=none more=1"), "no such option"),
        (("sizes=9x17x8x5", "sizes=9x17x8"), "4 numbers"),
    ],
)
def test_bad_specs_are_named(change, message):
    (region,) = regions_of(attend, normal(2, 9, 8), normal(2, 17, 8), normal(2, 17, 5))
    spec = BACKEND.emit(region).spec
    assert change[0] in spec
    with pytest.raises(ValueError, match=message):
        native.packed_size(spec.replace(*change))


# What strides can say.


@given(st.lists(st.integers(1, 4), min_size=1, max_size=4), st.data())
def test_strides_through_reshapes_and_transpositions_are_numpy_s(sizes, data):
    array = np.arange(math.prod(sizes)).reshape(sizes)
    seen = Strided(None, tuple(sizes), tuple(s // array.itemsize for s in array.strides))
    for _ in range(data.draw(st.integers(1, 4))):
        if data.draw(st.booleans()):
            axes = data.draw(st.permutations(range(array.ndim)))
            array, seen = array.transpose(axes), seen.transposed(axes)
            continue
        new = data.draw(st.sampled_from(_divisions(array.size)))
        other = seen.reshaped(new)
        try:
            array = array.reshape(new, copy=False)
        except ValueError:
            assert other is None
            return
        assert other is not None
        seen = other
    base = np.arange(math.prod(sizes))
    strides = [s * base.itemsize for s in seen.strides]
    np.testing.assert_array_equal(np.lib.stride_tricks.as_strided(base, seen.sizes, strides), array)


def _divisions(size):
    pairs = [(n, size // n) for n in range(1, size + 1) if size % n == 0]
    return [
        (size,),
        *pairs,
        *((a, 1, b) for a, b in pairs),
        *((a, c, b // c) for a, b in pairs for c in (2, 3) if b % c == 0),
    ]


def test_what_others_read_too_is_not_looked_through():
    def fun(x):
        y = x.reshape(4, 6)
        return jnp.sin(y), jnp.cos(y.T)

    graph = trace_function(fun, normal(24))
    sine, cosine = (next(n for n in graph.nodes if n.op == op) for op in ("sin", "cos"))
    assert [seen.sizes for seen in sources(graph, sine.inputs[0], sine, lambda n: True)] == [(4, 6)]
    assert len(list(sources(graph, cosine.inputs[0], cosine, lambda n: True))) == 2  # through the transposition
    assert len(list(destinations(graph, graph.producer[cosine.inputs[0]].inputs[0], lambda n: True))) == 1
