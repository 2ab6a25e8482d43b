"""The element-wise kernels: every region they accept computes what JAX computes, and every refusal says why."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from math import prod

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from instruction_sets import skip_without
from jax import lax

from collage_jax.backends import own_kernels
from collage_jax.backends.base import Unsupported
from collage_jax.backends.fused_elementwise import BACKEND
from collage_jax.backends.fused_elementwise.kernel import STEP, TARGET
from collage_jax.backends.fused_elementwise.plan import plan
from collage_jax.ffi.native_call import NativeCalls
from collage_jax.graph.evaluate import callable_of
from collage_jax.graph.region import Region
from collage_jax.graph.trace import trace_function

native = own_kernels.load(STEP)
pytestmark = pytest.mark.skipif(not native, reason=getattr(native, "reason", ""))


def normal(*shape, seed=0):
    return jnp.asarray(np.random.default_rng([seed, *shape]).standard_normal(shape), jnp.float32)


def whole(fun, *args):
    graph = trace_function(fun, *args)
    return Region.of(graph, graph.nodes)


def check(fun, *args):
    """Run all of ``fun`` as one pass, and give its text."""
    run, got, wanted = both(fun, *args)
    assert isinstance(run, NativeCalls) and all(call.step == STEP for call in run.calls)
    assert [a.shape for a in got] == [a.shape for a in wanted]
    for ours, theirs in zip(got, wanted, strict=True):
        # XLA may round a product and a sum once.
        np.testing.assert_allclose(ours, theirs, rtol=1e-6, atol=2e-6)
    return run.calls[0].spec


def both(fun, *args):
    """The kernel for all of ``fun``, what it makes, and what XLA makes."""
    region = whole(fun, *args)
    refused = BACKEND.supports(region)
    assert refused is None, refused
    arrays = dict(zip(region.graph.inputs, args, strict=True)) | dict(region.graph.constants)
    arrays = [arrays[v] for v in region.entries]
    run = BACKEND.emit(region)
    wanted = jax.jit(callable_of(region.nodes, region.entries, region.exits))(*arrays)
    return run, jax.jit(run)(*arrays), wanted


def gate(x, g):
    return jnp.where(x > 0, g, 0.0)


FUNCTIONS = {
    "gate": gate,
    "step": lambda w, g: w - 0.01 * g,
    "all of two": lambda x, y: jnp.maximum(x, y) / (2 + jnp.abs(y)) - jnp.minimum(-x, 0.5) + lax.square(x) * y**2,
    "comparisons": lambda x, y: sum(jnp.where(c(x, y), x, 2.0) for c in (lax.lt, lax.le, lax.ge, lax.eq, lax.ne)),
    "relu and root": lambda x, y: jnp.sqrt(jax.nn.relu(x)) + lax.add_p.bind(x, y),
}
sizes = st.lists(st.integers(1, 9), max_size=4).map(tuple)


@given(st.sampled_from(sorted(FUNCTIONS)), sizes)
def test_each_element_is_jax_s(name, shape):
    check(FUNCTIONS[name], normal(*shape), normal(*shape, seed=1))


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("shape", [(1, 5000), (300, 700), (3, 33333)])
def test_large_arrays_are_divided_between_threads(name, shape):
    check(FUNCTIONS[name], normal(*shape), normal(*shape, seed=1))


@st.composite
def moves(draw):
    """A function that moves elements several times, and the shape that it takes."""
    shape = tuple(draw(st.lists(st.integers(1, 7), min_size=1, max_size=4)))
    steps, now = [], shape
    for _ in range(draw(st.integers(1, 4))):
        kind = draw(st.sampled_from(["slice", "rev", "transpose", "spread", "ones", "add"]))
        if kind == "slice":
            starts = [draw(st.integers(0, n - 1)) for n in now]
            ends = [draw(st.integers(s + 1, n)) for s, n in zip(starts, now, strict=True)]
            by = [draw(st.integers(1, 3)) for _ in now]
            steps.append(lambda x, a=(starts, ends, by): lax.slice(x, *a))
            now = tuple(-(-(e - s) // b) for s, e, b in zip(starts, ends, by, strict=True))
        elif kind == "rev":
            axes = tuple(draw(st.sets(st.integers(0, len(now) - 1))))
            steps.append(lambda x, a=axes: lax.rev(x, a))
        elif kind == "transpose":
            order = tuple(draw(st.permutations(range(len(now)))))
            steps.append(lambda x, a=order: lax.transpose(x, a))
            now = tuple(now[a] for a in order)
        elif kind == "spread" and len(now) < 6:
            place, size = draw(st.integers(0, len(now))), draw(st.integers(1, 4))
            wide = (*now[:place], size, *now[place:])
            axes = tuple(a + (a >= place) for a in range(len(now)))
            steps.append(lambda x, a=(wide, axes): lax.broadcast_in_dim(x, *a))
            now = wide
        elif kind == "ones":
            place = draw(st.integers(0, len(now)))
            wide = (*now[:place], 1, *now[place:])
            steps.append(lambda x, a=wide: x.reshape(a))
            now = wide
        else:
            vector = jnp.arange(now[-1], dtype=jnp.float32)
            steps.append(lambda x, a=vector: x + a)

    def fun(x):
        for step in steps:
            x = step(x)
        return 2.0 * x

    return fun, shape


@given(moves())
def test_what_is_moved_on_the_way(drawn):
    fun, shape = drawn
    check(fun, normal(*shape))


@given(st.data())
def test_padding(data):
    shape = tuple(data.draw(st.lists(st.integers(1, 6), min_size=1, max_size=4)))
    amounts = st.tuples(*(st.integers(0, 3) for _ in range(3)))
    config = [data.draw(amounts) for _ in shape]
    fill = data.draw(st.sampled_from([0.0, -1.5, float("inf")]))
    check(lambda x: lax.pad(x, jnp.float32(fill), config), normal(*shape))
    check(lambda x: lax.pad(x * 3 - x, jnp.float32(fill), config), normal(*shape))


@pytest.mark.parametrize("config", [((0, 0, 0), (5, 9, 0)), ((1, 1, 1), (0, 0, 1)), ((0, 0, 0), (0, 3, 2))])
@pytest.mark.parametrize("shape", [(2, 70_000), (300, 500)])
def test_padding_of_large_arrays(shape, config):
    check(lambda x: lax.pad(x + 1, jnp.float32(2), config), normal(*shape))


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_parts_of_an_array(axis):
    x = normal(6, 9, 12)
    check(lambda x: jnp.split(x, 3, axis), x)
    check(lambda x: lax.split(x * 2 - 1, (1, 3, x.shape[axis] - 4), axis)[1:], x)


def test_neighbouring_axes_are_one_where_they_lie_in_one_piece():
    spec = check(lambda x, v: (x * v)[..., 3:9], normal(4, 5, 6, 20), normal(20, seed=1))
    assert "sizes=120x6" in spec
    assert "sizes=840" in check(gate, normal(4, 5, 6, 7), normal(4, 5, 6, 7, seed=1))


@pytest.mark.parametrize("isa", ["avx512", "avx2"])
@pytest.mark.parametrize("count", [1, 7, 16, 33, 1024, 5000])
def test_every_instruction_set_has_the_same_bits(isa, count):
    skip_without(isa)
    x, y = np.asarray(normal(count)), np.asarray(normal(count, seed=1))
    made = {
        "add:0:1": x + y, "sub:0:1": x - y, "mul:0:1": x * y, "div:0:1": x / y, "max:0:1": np.maximum(x, y),
        "min:0:1": np.minimum(x, y), "neg:0": -x, "abs:0": np.abs(x), "mul:0:0,sqrt:2": np.sqrt(x * x),
        "gt:0:1,select:2:0:1": np.maximum(x, y), "ge:0:1,select:2:1:0": np.minimum(x, y),
        "eq:0:0,select:2:1:0": y, "ne:0:1,select:2:1:0": y, "n0.5,add:0:2": x + np.float32(0.5), "n0.5": 0 * x + 0.5,
    }  # fmt: skip
    for code, wanted in made.items():
        reads = " ".join(f"of{i}={count} at{i}=0 by{i}=1" for i in range(2))
        spec = f"op=elementwise dims=1 sizes={count} shape={count} reads=2 {reads} code=r0,r1,{code} isa={isa}"
        np.testing.assert_array_equal(run(spec, (count,), x, y), wanted, code)


def run(spec, shape, *arrays):
    call = jax.ffi.ffi_call(TARGET, jax.ShapeDtypeStruct(shape, jnp.float32))
    with np.errstate(invalid="ignore"):
        return np.asarray(call(*arrays, spec=spec, version=native.version()))


@pytest.mark.parametrize("fun", [*FUNCTIONS.values(), jnp.maximum, jnp.minimum], ids=[*FUNCTIONS, "larger", "smaller"])
def test_special_numbers_come_out_where_jax_has_them(fun):
    numbers = jnp.asarray([np.nan, np.inf, -np.inf, 0.0, -0.0, 1e-40, 1.5, -2.0], jnp.float32)
    x, y = (a.reshape(-1) for a in jnp.meshgrid(numbers, numbers))
    _, (got,), (wanted,) = both(fun, x, y)
    np.testing.assert_array_equal(np.isnan(got), np.isnan(wanted))
    np.testing.assert_allclose(got, wanted, rtol=1e-6, atol=1e-37)


def test_many_threads_may_run_the_same_kernel():
    x, g = normal(640, 400), normal(640, 400, seed=1)
    kernel = jax.jit(BACKEND.emit(whole(gate, x, g)))
    wanted = np.asarray(kernel(x, g)[0])
    with ThreadPoolExecutor(8) as pool:
        for got in pool.map(lambda _: np.asarray(kernel(x, g)[0]), range(64)):
            np.testing.assert_array_equal(got, wanted)


@pytest.mark.parametrize(
    ("fun", "args", "reason"),
    [
        (lambda x: jnp.exp(x) + 1, (normal(4),), "no kernel for exp"),
        (lambda x: x.astype(jnp.bfloat16), (normal(4),), "float32"),
        (lambda x: (x + 1, x - 1), (normal(4),), "used outside"),
        (lambda x: x > 1, (normal(4),), "float32"),
        (lambda x: x + 1, (normal(0, 4),), "empty"),
        (lambda x: lax.pad(x, jnp.float32(0), ((-1, 0, 0),)), (normal(4),), "cuts off"),
        (lambda x: lax.pad(x, jnp.float32(0), ((1, 0, 0),)) + 1, (normal(4),), "no kernel for pad"),
        (lambda x: x.reshape(2, 6) + 1, (normal(3, 4),), "no kernel for reshape"),
        (lambda x: jnp.where(lax.gt(x, 0.0) & lax.lt(x, 1.0), x, 0), (normal(4),), "and"),
        (lambda x: x * jnp.float32(jnp.nan), (normal(4),), "NaN"),
        (lambda x: sum((x + i) * x for i in range(40)), (normal(4),), "32 instructions"),
        (lambda *xs: sum(xs), tuple(normal(4, seed=i) for i in range(20)), "16 arrays"),
    ],
    ids=range(12),
)
def test_refusals_say_why(fun, args, reason):
    refused = BACKEND.supports(whole(fun, *args))
    assert isinstance(refused, Unsupported) and reason in refused.reason
    with pytest.raises(ValueError, match="cannot run"):
        BACKEND.emit(whole(fun, *args))


GOOD = (
    "op=elementwise dims=2 sizes=4x6 shape=5x6 low=1x0 gap=1x1 fill=0.5 "
    "reads=2 of0=24 at0=0 by0=6x1 of1=6 at1=5 by1=0x-1 code=r0,r1,gt:0:1,n2.0,select:2:1:3"
)


def test_the_text_itself():
    x, v = normal(4, 6), normal(6, seed=1)
    wanted = np.full((5, 6), 0.5, np.float32)
    wanted[1:] = np.where(x > v[::-1], v[::-1], 2.0)
    np.testing.assert_array_equal(run(GOOD, (5, 6), x, v), wanted)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("op=elementwise", "op=sum", "elementwise"),
        ("dims=2", "dims=20", "too many"),
        ("sizes=4x6", "sizes=4x0", "out of range"),
        ("sizes=4x6", "sizes=5x6", "ends outside"),
        ("gap=1x1", "gap=2x1", "ends outside"),
        ("low=1x0 gap=1x1 fill=0.5 ", "", "no `fill=`"),
        ("by0=6x1", "by0=7x1", "outside of its 24 elements"),
        ("at1=5", "at1=4", "outside of its 6 elements"),
        ("reads=2", "reads=20", "too many"),
        ("reads=2", "reads=1", "no such option|needs the place"),
        ("gt:0:1", "gt:0:7", "place of something before"),
        ("gt:0:1", "gt:0", "so many numbers"),
        ("gt:0:1", "exp:0", "no such operation"),
        ("select:2:1:3", "select:0:1:3", "by a comparison"),
        ("select:2:1:3", "add:2:1", "by a comparison"),
        (",select:2:1:3", ",gt:0:1", "of numbers"),
        ("n2.0", "nx", "number is needed"),
        ("n2.0", "z", "no such instruction"),
        ("n2.0", "nnan", "number is needed"),
        ("shape=5x6", "shape=5x6 more=1", "no such option"),
        ("fill=0.5", "fill=0.5 isa=neon", "no kernels for isa=neon"),
        ("shape=5x6", f"shape={2**40}x6", "larger than any memory"),
    ],
)
def test_texts_that_cannot_be_read(old, new, message):
    assert native.packed_size(GOOD) == 0
    assert old in GOOD
    with pytest.raises(ValueError, match=message):
        native.packed_size(GOOD.replace(old, new))


def test_the_plan_reads_each_array_once():
    region = whole(lambda x: x * x + x, normal(4))
    made = plan(region)
    assert not isinstance(made, Unsupported)
    assert [prod(value.shape) for value in made[0].reads] == [4]
