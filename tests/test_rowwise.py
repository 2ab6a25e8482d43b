"""The row kernels: every region they accept computes what JAX computes, and every refusal says why."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from instruction_sets import skip_without

from collage_jax.backends import own_kernels
from collage_jax.backends.rowwise import BACKEND
from collage_jax.backends.rowwise.kernel import STEP, TARGET
from collage_jax.ffi.native_call import NativeCall
from collage_jax.graph.evaluate import callable_of
from collage_jax.graph.region import Region
from collage_jax.graph.trace import trace_function
from collage_jax.measure.compare import largest_error, tolerance
from collage_jax.patterns.recognise import recognise

native = own_kernels.load(STEP)
pytestmark = pytest.mark.skipif(not native, reason=getattr(native, "reason", ""))


def normal(*shape, seed=0):
    return jnp.asarray(np.random.default_rng([seed, *shape]).standard_normal(shape), jnp.float32)


def proposals(fun, *args):
    graph = recognise(trace_function(fun, *args))
    return [(p, Region.of(graph, p.nodes)) for p in BACKEND.propose(graph)]


def only(fun, *args):
    ((proposal, region),) = proposals(fun, *args)
    assert proposal.refused is None and BACKEND.supports(region) is None
    return region


def check(region, *arrays):
    run = BACKEND.emit(region)
    assert isinstance(run, NativeCall) and run.step == STEP
    wanted = jax.jit(callable_of(region.nodes, region.entries, region.exits))(*arrays)
    assert largest_error(jax.jit(run)(*arrays), wanted) <= tolerance(region), region


def layer_norm(x, scale=None, shift=None, axes=(-1,), epsilon=1e-5, unbiased=False, outside=False):
    centred = x - jnp.mean(x, axes, keepdims=True)
    count = np.prod([x.shape[a] for a in axes]) - int(unbiased)
    variance = jnp.sum(jnp.square(centred), axes, keepdims=True) / count
    y = centred / (jnp.sqrt(variance) + epsilon if outside else jnp.sqrt(variance + epsilon))
    y = y if scale is None else y * scale
    return y if shift is None else y + shift


def rms_norm(x, scale):
    return x * jax.lax.rsqrt(jnp.mean(jnp.square(x), -1, keepdims=True) + 1e-6) * scale


before = st.lists(st.integers(1, 9), max_size=2).map(tuple)


@given(before, st.integers(2, 300), st.booleans(), st.booleans(), st.booleans(), st.booleans())
def test_layer_norm(before, columns, scaled, shifted, unbiased, outside):
    x = normal(*before, columns)
    vectors = [normal(columns, seed=i) for i, there in enumerate((scaled, shifted), 1) if there]

    def fun(x, *vectors):
        rest = iter(vectors)
        scale, shift = (next(rest) if there else None for there in (scaled, shifted))
        return layer_norm(x, scale, shift, unbiased=unbiased, outside=outside)

    found = proposals(fun, x, *vectors)
    if not found:  # not a layer norm in every case: without rows there is nothing to normalise
        assert not before
        return
    ((proposal, region),) = found
    assert proposal.refused is None
    assert f"unbiased={int(unbiased)}" in BACKEND.emit(region).spec
    arrays = [x if v.shape == x.shape else normal(*v.shape, seed=5 + i) for i, v in enumerate(region.entries)]
    check(region, *arrays)


@given(before, st.integers(2, 300))
def test_rms_norm(before, columns):
    x, scale = normal(2, *before, columns), normal(columns, seed=1)
    check(only(rms_norm, x, scale), x, scale)


@given(before, st.integers(1, 300), st.sampled_from([1.0, 1e-3, 40.0]))
def test_softmax(before, columns, size):
    x = size * normal(2, *before, columns)
    check(only(jax.nn.softmax, x), x)


@pytest.mark.parametrize("isa", ["avx512", "avx2"])
@pytest.mark.parametrize("columns", [1, 7, 8, 16, 31, 1000])
def test_every_instruction_set_against_double_precision(isa, columns):
    skip_without(isa)
    x = 3 * normal(37, columns) + 1
    double = np.asarray(x, np.float64)
    centred = double - double.mean(-1, keepdims=True)
    norm = centred / np.sqrt(np.square(centred).mean(-1, keepdims=True) + 1e-3)
    exponentials = np.exp(double - double.max(-1, keepdims=True))
    for spec, wanted in (
        ("op=norm epsilon=1e-3 centred=1 unbiased=0 outside=0 scale=0 shift=0", norm),
        ("op=softmax", exponentials / exponentials.sum(-1, keepdims=True)),
    ):
        whole = f"{spec} rows=37 columns={columns} isa={isa}"
        assert_close(run(whole, x.shape, x), wanted)


def run(spec, shape, *arrays):
    call = jax.ffi.ffi_call(TARGET, jax.ShapeDtypeStruct(shape, jnp.float32))
    return np.asarray(call(*arrays, spec=spec, version=native.version()))


def assert_close(got, wanted):
    assert np.abs(got - wanted).max() <= 1e-6 * max(np.abs(wanted).max(), 1)


@pytest.mark.parametrize("isa", ["avx512", "avx2"])
@pytest.mark.parametrize("columns", [2, 7, 8, 16, 31, 1000])
@pytest.mark.parametrize(("centred", "outside"), [(1, 0), (1, 1), (0, 0)])
def test_gradients_on_every_instruction_set_against_double_precision(isa, columns, centred, outside):
    skip_without(isa)
    x, dy, added, scale = (normal(150, columns, seed=i) for i in range(4))
    x, scale = 3 * x + 1, scale[0]
    c, g = np.asarray(x, np.float64), np.asarray(dy, np.float64) * np.asarray(scale, np.float64)
    c = c - centred * c.mean(-1, keepdims=True)
    variance = np.square(c).mean(-1, keepdims=True)
    root = np.sqrt(variance + (1 - outside) * 1e-2)
    divisor = root + outside * 1e-2
    by_c = g / divisor - c * (g * c).mean(-1, keepdims=True) / (divisor**2 * root)
    by_x = by_c - centred * by_c.mean(-1, keepdims=True)
    norm = f"epsilon=1e-2 centred={centred} unbiased=0 outside={outside} rows=150 columns={columns} isa={isa}"
    got = run(f"op=norm_gradient {norm} scale=1 factor=-0.5 added=1", x.shape, x, scale, dy, added)
    assert_close(got, -0.5 * by_x + added)
    got = run(f"op=scale_gradient {norm}", (columns,), x, dy)
    assert_close(got, (np.asarray(dy, np.float64) * c / divisor).sum(0))
    y = np.asarray(jax.nn.softmax(x), np.float64)
    by_x = y * (dy - (y * dy).sum(-1, keepdims=True))
    spec = f"op=softmax_gradient rows=150 columns={columns} isa={isa} factor=2 added=0"
    assert_close(run(spec, x.shape, jnp.asarray(y, jnp.float32), dy), 2 * by_x)


def test_a_sum_of_many_rows_loses_few_digits():
    x, dy = normal(50_000, 40), 1 + normal(50_000, 40, seed=1)
    spec = "op=scale_gradient epsilon=0 centred=0 unbiased=0 outside=0 rows=50000 columns=40"
    c = np.asarray(jnp.abs(x), np.float64)
    wanted = (dy * c / np.sqrt(np.square(c).mean(-1, keepdims=True))).sum(0)
    assert np.abs(run(spec, (40,), jnp.abs(x), dy) / wanted - 1).max() < 1e-6


@pytest.mark.parametrize("special", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("fun", [layer_norm, jax.nn.softmax], ids=["layer norm", "softmax"])
def test_special_numbers_come_out_where_jax_has_them(fun, special):
    x = normal(9, 33).at[3, 20].set(special).at[5].set(special)
    region = only(fun, x)
    (got,), wanted = jax.jit(BACKEND.emit(region))(x), fun(x)
    np.testing.assert_array_equal(np.isnan(got), np.isnan(wanted))
    np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-6)


def test_many_threads_may_run_the_same_kernel():
    x = normal(640, 400)
    run = jax.jit(BACKEND.emit(only(jax.nn.softmax, x)))
    wanted = np.asarray(run(x)[0])
    with ThreadPoolExecutor(8) as pool:
        for got in pool.map(lambda _: np.asarray(run(x)[0]), range(64)):
            np.testing.assert_array_equal(got, wanted)


@pytest.mark.parametrize(
    ("fun", "shape", "reason"),
    [
        (lambda x: jax.nn.softmax(x, 0), (4, 5), "last axis"),
        (lambda x: jax.nn.softmax(x.astype(jnp.bfloat16).astype(jnp.float32)), (0, 5), "empty"),
    ],
)
def test_refusals_say_why(fun, shape, reason):
    ((proposal, _),) = proposals(fun, normal(*shape))
    assert reason in proposal.refused.reason


GOOD = "op=norm rows=4 columns=8 epsilon=1e-5 centred=1 unbiased=0 outside=0 scale=0 shift=0"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("op=norm", "op=sum", "norm or softmax"),
        ("columns=8", "columns=0", "out of range"),
        ("columns=8", "columns=1", "two columns"),
        ("epsilon=1e-5", "epsilon=x", "a number is needed"),
        ("rows=4", "rows=4 more=1", "no such option"),
        ("op=norm", "op=norm_gradient factor=1 added=0", "shift=0"),
        ("op=norm", "op=norm_gradient", "missing token `scale=`|missing token `factor=`"),
        ("scale=0 shift=0", "scale=0 shift=0 factor=1", "no such option"),
    ],
)
def test_a_bad_spec_is_named(old, new, message):
    spec = GOOD.replace("unbiased=0", "unbiased=1") if "two columns" in message else GOOD
    with pytest.raises(ValueError, match=message):
        native.packed_size(spec.replace(old, new))
