"""The oneDNN backend: every region it accepts computes what JAX computes, and every refusal says why."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from itertools import permutations
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import example, given, reject, settings
from hypothesis import strategies as st
from instruction_sets import skip_unless_onednn_takes
from jax import lax

from collage_jax.backends.base import Unsupported
from collage_jax.backends.onednn import BACKEND
from collage_jax.backends.onednn.taps import useful_taps
from collage_jax.graph.evaluate import callable_of
from collage_jax.graph.ir import Graph, Value
from collage_jax.graph.region import Region
from collage_jax.graph.trace import trace_function
from collage_jax.graph.windows import Window
from collage_jax.measure.compare import largest_error, tolerance
from collage_jax.patterns.recognise import recognise

_UNAVAILABLE = BACKEND.available()
pytestmark = pytest.mark.skipif(_UNAVAILABLE is not None, reason=str(_UNAVAILABLE and _UNAVAILABLE.reason))

F32, BF16 = jnp.float32, jnp.bfloat16
dtypes = st.sampled_from([F32, F32, F32, BF16, BF16, jnp.float16])


def normal(shape: Sequence[int], dtype: Any = F32, seed: int = 0) -> Any:
    return jnp.asarray(np.random.default_rng([seed, *shape]).standard_normal(shape), dtype)


def graph_of(fun: Callable[..., Any], *args: Any) -> Graph:
    return recognise(trace_function(fun, *args))


def accepted(graph: Graph) -> dict[str, Region]:
    """The regions that the backend proposes and supports, by label; refusals must have reasons."""
    regions: dict[str, Region] = {}
    for proposal in BACKEND.propose(graph):
        region = Region.of(graph, proposal.nodes)
        assert region.is_convex
        refusal = proposal.refused or BACKEND.supports(region)
        if refusal is None:
            regions[proposal.label] = region
        else:
            assert refusal.reason.strip()
            assert "Error" not in refusal.reason
    return regions


def error(got: Sequence[Any], wanted: Sequence[Any]) -> float:
    """The largest difference relative to the largest element, or to 1 if that is smaller."""
    return largest_error(*([jnp.append(a, jnp.ones(1, a.dtype)) for a in arrays] for arrays in (got, wanted)))


def check_region(region: Region, draw: Callable[[Value], Any] | None = None) -> None:
    """The kernel, with nothing and with everything but the first entry frozen, against JAX."""
    arrays = [draw(v) if draw else normal(v.shape, v.dtype, i) for i, v in enumerate(region.entries)]
    try:
        wanted = jax.jit(callable_of(region.nodes, region.entries, region.exits))(*arrays)
    except jax.errors.JaxRuntimeError:  # some bfloat16 products are beyond XLA itself
        return
    got = jax.jit(BACKEND.emit(region))(*arrays)
    assert error(got, wanted) <= tolerance(region), region.nodes
    frozen = frozenset(region.entries[1:])
    kernel = BACKEND.emit_frozen(region, frozen)
    if kernel is not None:
        prepared = jax.jit(kernel.prepare)(*arrays[1:])
        got = jax.jit(kernel.run)(*prepared, arrays[0])
        assert error(got, wanted) <= tolerance(region), ("prepared", region.nodes)


def check(fun: Callable[..., Any], *args: Any, ends_only: bool = False) -> set[str]:
    """Checks the regions accepted in ``fun`` (the first and last only, if asked) and returns all their labels."""
    regions = accepted(graph_of(fun, *args))
    chosen = list(regions.values())
    for region in dict.fromkeys((chosen[0], chosen[-1])) if ends_only and chosen else chosen:
        check_region(region)
    return set(regions)


# Tails: what may follow, by name. ``axis`` is the channels'.


def _along(axis: int, y: Any, seed: int) -> Any:
    return normal([y.shape[axis]], y.dtype, seed).reshape([-1 if a == axis else 1 for a in range(y.ndim)])


TAILS: dict[str, Callable[[Any, int], Any]] = {
    "bias": lambda y, axis: y + _along(axis, y, 1),
    "bias_first": lambda y, axis: _along(axis, y, 2) + y,
    "residual": lambda y, axis: y + normal(y.shape, y.dtype, 3),
    "scale": lambda y, axis: y * _along(axis, y, 4),
    "gate": lambda y, axis: normal(y.shape, y.dtype, 5) * y,
    "from_tensor": lambda y, axis: normal(y.shape, y.dtype, 6) - y,
    "half": lambda y, axis: y / 2,
    "shifted": lambda y, axis: 3 - y,
    "relu": lambda y, axis: jax.nn.relu(y),
    "tanh": lambda y, axis: jnp.tanh(y),
    "gelu": lambda y, axis: jax.nn.gelu(y),
    "gelu_erf": lambda y, axis: jax.nn.gelu(y, approximate=False),
    "silu": lambda y, axis: jax.nn.silu(y),
    "leaky": lambda y, axis: jax.nn.leaky_relu(y),
    "clip": lambda y, axis: jnp.clip(y, -1, 1),
}

tails = st.lists(st.sampled_from(sorted(TAILS)), max_size=4)


def with_tail(y: Any, names: Sequence[str], axis: int) -> Any:
    for name in names:
        y = TAILS[name](y, axis)
    return y


@st.composite
def convolutions(draw: st.DrawFn) -> tuple[Callable[..., Any], Any, Any]:
    spatial = draw(st.integers(1, 3))
    groups = draw(st.sampled_from([1, 1, 2, 3]))
    out_per_group, in_per_group = draw(st.sampled_from([1, 2, 5, 16])), draw(st.sampled_from([1, 1, 3, 8]))
    axes = tuple(range(spatial + 2))
    lhs, rhs, out = (draw(st.permutations(axes)) for _ in range(3))
    if draw(st.booleans()):
        lhs = out = (0, spatial + 1, *range(1, spatial + 1))
    vector = st.tuples(*[st.integers(1, 3)] * spatial)
    kernel, strides, rhs_dilation = draw(vector), draw(vector), draw(vector)
    lhs_dilation = draw(vector) if draw(st.integers(0, 2)) == 0 else (1,) * spatial
    if lhs_dilation != (1,) * spatial and draw(st.booleans()):
        strides = (1,) * spatial
    low, high = (draw(st.tuples(*[st.sampled_from([0, 0, 1, 2, -1])] * spatial)) for _ in range(2))
    sizes = tuple(draw(st.integers(1, 9)) for _ in range(spatial))
    logical = (draw(st.integers(1, 3)), in_per_group * groups, *sizes)
    weights = (out_per_group * groups, in_per_group, *kernel)
    dtype = draw(dtypes)
    names = draw(tails)

    def fun(x: Any, w: Any) -> Any:
        y = lax.conv_general_dilated(
            x, w, strides, tuple(zip(low, high, strict=True)), lhs_dilation, rhs_dilation,
            lax.ConvDimensionNumbers(tuple(lhs), tuple(rhs), tuple(out)), feature_group_count=groups,
        )  # fmt: skip
        return with_tail(y, names, out[1])

    return fun, normal(_placed(logical, lhs), dtype), normal(_placed(weights, rhs), dtype)


def _placed(logical: Sequence[int], spec: Sequence[int]) -> list[int]:
    shape = [0] * len(logical)
    for size, axis in zip(logical, spec, strict=True):
        shape[axis] = size
    return shape


@given(convolutions())
def test_convolutions_compute_what_jax_computes(drawn: tuple[Callable[..., Any], Any, Any]) -> None:
    fun, x, w = drawn
    try:
        out = jax.eval_shape(fun, x, w)
    except ValueError:  # the kernel is larger than the padded input
        reject()
    if min(out.shape) > 0:
        check(fun, x, w, ends_only=True)


def _conv(x: Any, w: Any, **options: Any) -> Any:
    options = {"window_strides": (1,) * (x.ndim - 2), "padding": "SAME", "dimension_numbers": _NHWC} | options
    return lax.conv_general_dilated(x, w, **options)


_NHWC = ("NHWC", "HWIO", "NHWC")


def test_a_residual_block_end_is_one_call() -> None:
    def fun(x: Any, w: Any, b: Any, scale: Any, residual: Any) -> Any:
        return jax.nn.relu((_conv(x, w) + b) * scale + residual)

    vector, residual = normal([32]), normal((2, 7, 5, 32))
    labels = check(fun, normal((2, 7, 5, 16)), normal((3, 3, 16, 32)), vector, vector, residual)
    assert labels == {"conv", "conv+bias", "conv+bias+mul", "conv+bias+mul+sum", "conv+bias+mul+sum+relu"}


def test_either_convolution_may_take_in_the_sum_of_both() -> None:
    graph = graph_of(
        lambda x, v, w: jax.nn.relu(_conv(x, v) + _conv(x, w)),
        normal((1, 6, 6, 16)), normal((1, 1, 16, 32)), normal((3, 3, 16, 32)),
    )  # fmt: skip
    ends = [p.nodes for p in BACKEND.propose(graph) if p.label == "conv+sum+relu"]
    assert len(ends) == 2 and ends[0][0] is not ends[1][0]
    for nodes in ends:
        check_region(Region.of(graph, nodes))


def test_batch_norm_becomes_part_of_the_convolution() -> None:
    def fun(x: Any, w: Any, mean: Any, variance: Any, scale: Any, shift: Any) -> Any:
        y = _conv(x, w)
        return jax.nn.relu((y - mean) * lax.rsqrt(variance + 1e-3) * scale + shift)

    vectors = [normal([32], seed=s) for s in range(3)]
    args = (normal((1, 6, 6, 16)), normal((3, 3, 16, 32)), vectors[0], jnp.abs(vectors[1]), vectors[1], vectors[2])
    regions = accepted(graph_of(fun, *args))
    assert "conv+batch_norm+relu" in regions
    check_region(regions["conv+batch_norm+relu"], lambda v: jnp.abs(normal(v.shape, v.dtype)))


@pytest.mark.parametrize(
    ("x", "w", "options"),
    [
        ((1, 9, 8, 24), (3, 3, 1, 24), {"feature_group_count": 24}),
        ((1, 9, 8, 24), (3, 3, 1, 48), {"feature_group_count": 24, "window_strides": (2, 2)}),
        ((1, 9, 8, 128), (3, 3, 4, 128), {"feature_group_count": 32}),
        ((1, 16, 9, 8), (32, 16, 3, 3), {"dimension_numbers": ("NCHW", "OIHW", "NCHW")}),
        ((2, 16, 9, 8), (16, 4, 3, 3), {"dimension_numbers": ("NCHW", "OIHW", "NCHW"), "feature_group_count": 4}),
        ((1, 5, 5, 16), (3, 3, 16, 8), {"lhs_dilation": (2, 2), "padding": ((1, 2), (2, 1))}),
        ((1, 5, 5, 16), (4, 4, 16, 8), {"lhs_dilation": (2, 3), "rhs_dilation": (2, 1), "padding": ((3, 2), (1, 2))}),
        ((1, 5, 5, 16), (3, 3, 4, 16), {"lhs_dilation": (2, 2), "feature_group_count": 4, "padding": ((2, 2), (1, 1))}),
        ((1, 3, 9, 9, 16), (3, 3, 3, 16, 8), {"dimension_numbers": ("NDHWC", "DHWIO", "NDHWC")}),
        ((2, 30, 5), (3, 5, 7), {"dimension_numbers": ("NWC", "WIO", "NWC"), "rhs_dilation": (2,)}),
    ],
)
@pytest.mark.parametrize("dtype", [F32, BF16])
def test_kinds_of_convolution_are_supported(x: Any, w: Any, options: dict[str, Any], dtype: Any) -> None:
    skip_unless_onednn_takes(dtype)

    def fun(x: Any, w: Any) -> Any:
        return jax.nn.relu(TAILS["bias"](_conv(x, w, **options), 1 if "NCHW" in str(options) else x.ndim - 1))

    labels = check(fun, normal(x, dtype), normal(w, dtype), ends_only=True)
    assert {label.removeprefix("de") for label in labels} == {"conv", "conv+bias", "conv+bias+relu"}


def test_gradients_of_a_strided_convolution_are_supported() -> None:
    def loss(x: Any, w: Any) -> Any:
        return jnp.sum(_conv(x, w, window_strides=(2, 2), padding=((1, 1), (1, 0))) ** 2)

    labels = check(jax.grad(loss, (0, 1)), normal((2, 11, 12, 16)), normal((3, 3, 16, 8)))
    assert {"conv", "deconv"} <= labels


def test_a_reversed_kernel_is_read_as_it_was() -> None:
    def loss(x: Any, w: Any) -> Any:
        return jnp.sum(_conv(x, w, window_strides=(2, 2)) * 3)

    graph = graph_of(jax.grad(loss), normal((2, 12, 12, 16)), normal((3, 3, 16, 8)))
    regions = [Region.of(graph, p.nodes) for p in BACKEND.propose(graph)]
    assert any("rev" in region.ops for region in regions)
    for region in regions:
        assert BACKEND.supports(region) is None
        check_region(region)


@st.composite
def products(draw: st.DrawFn) -> tuple[Callable[..., Any], Any, Any]:
    batch = draw(st.lists(st.integers(1, 3), max_size=2))
    contracted = draw(st.lists(st.sampled_from([1, 2, 3, 7, 16]), max_size=2))
    lhs_free, rhs_free = (draw(st.lists(st.sampled_from([1, 2, 5, 16]), max_size=2)) for _ in range(2))
    dtype = draw(dtypes)
    sides = []
    for free in (lhs_free, rhs_free):
        sizes = [*batch, *contracted, *free]
        places = draw(st.permutations(range(len(sizes))))
        sides.append((_placed(sizes, places), places))
    (lhs, lhs_places), (rhs, rhs_places) = sides
    at_batch, at_contracted = slice(len(batch)), slice(len(batch), len(batch) + len(contracted))
    numbers = ((lhs_places[at_contracted], rhs_places[at_contracted]), (lhs_places[at_batch], rhs_places[at_batch]))
    wide = draw(st.booleans())
    out = draw(st.permutations(range(len(batch) + len(lhs_free) + len(rhs_free)))) if draw(st.booleans()) else None
    before = draw(st.permutations(range(len(lhs)))) if draw(st.booleans()) else None
    names = draw(tails)

    def fun(x: Any, w: Any) -> Any:
        if before is not None:
            x = x.transpose(np.argsort(before))
        y = lax.dot_general(x, w, numbers, preferred_element_type=F32 if wide else None)
        y = y if out is None else y.transpose(out)
        return with_tail(y, names, y.ndim - 1) if y.ndim else y

    lhs = lhs if before is None else [lhs[np.argsort(before).tolist().index(i)] for i in range(len(lhs))]
    return fun, normal(lhs, dtype), normal(rhs, dtype)


@given(products())
def test_products_compute_what_jax_computes(drawn: tuple[Callable[..., Any], Any, Any]) -> None:
    check(*drawn, ends_only=True)


@pytest.mark.parametrize(
    ("equation", "lhs", "rhs"),
    [
        ("ij,jk->ik", (9, 16), (16, 32)),
        ("ji,jk->ik", (16, 9), (16, 32)),
        ("ij,kj->ik", (9, 16), (32, 16)),
        ("bij,jk->bik", (2, 9, 16), (16, 32)),
        ("bthd,bshd->bhts", (2, 9, 4, 16), (2, 5, 4, 16)),
        ("bhts,bshd->bthd", (2, 4, 9, 5), (2, 5, 4, 16)),
        ("i,ij->j", (16,), (16, 32)),
        ("abij,abjk->abik", (2, 3, 4, 5), (2, 3, 5, 6)),
        ("abcdeij,abcdejk->abcdeik", (2, 1, 2, 1, 2, 3, 4), (2, 1, 2, 1, 2, 4, 5)),
        ("iaj,ajk->ik", (5, 2, 8), (2, 8, 16)),
        ("iaj,jak->ik", (5, 2, 8), (8, 2, 16)),
    ],
)
def test_kinds_of_product_are_supported(equation: str, lhs: Any, rhs: Any) -> None:
    labels = check(lambda x, w: jax.nn.relu(jnp.einsum(equation, x, w) + 1), normal(lhs), normal(rhs))
    assert "matmul" in labels
    assert any(label.endswith("relu") for label in labels)


def test_a_mask_over_some_batch_dimensions_is_fused() -> None:
    def fun(q: Any, k: Any, mask: Any) -> Any:
        return jnp.einsum("bhtd,bhsd->bhts", q, k) / 4 + mask

    labels = check(fun, normal((2, 3, 8, 16)), normal((2, 3, 8, 16)), normal((2, 1, 1, 8)))
    assert "matmul+div+add" in labels


@pytest.mark.parametrize(("equation", "q"), [("bhts,bshd->bthd", (2, 4, 9, 5)), ("hts,shd->thd", (4, 9, 5))])
@pytest.mark.parametrize("tail", ["bias", "residual", "scale", "gate"])
def test_what_follows_heads_that_are_joined(equation: str, q: Any, tail: str) -> None:
    # What the library repeats it reads there where nothing is: a channel's factor or offset is no part of the product.
    def fun(p: Any, v: Any) -> Any:
        y = jnp.einsum(equation, p, v)
        return jax.nn.sigmoid(TAILS[tail](y, y.ndim - 1))

    labels = check(fun, normal(q), normal((*q[:-3], 5, 4, 16)))
    assert "matmul" in labels
    assert any(label.startswith("matmul+transpose+") for label in labels) == (tail in ("residual", "gate"))


def test_a_product_is_stored_in_bfloat16() -> None:
    skip_unless_onednn_takes(BF16)

    def fun(x: Any, w: Any, b: Any) -> Any:
        return (lax.dot_general(x, w, (((1,), (0,)), ((), ())), preferred_element_type=F32) + b).astype(BF16)

    assert "matmul+bias+bf16" in check(fun, normal((8, 16), BF16), normal((16, 32), BF16), normal([32]))


def test_gradients_of_dense_layers_absorb_transposes() -> None:
    def loss(x: Any, v: Any, w: Any) -> Any:
        return jnp.sum((jax.nn.relu(x @ v) @ w) ** 2)

    labels = check(jax.grad(loss, (0, 1, 2)), normal((8, 16)), normal((16, 32)), normal((32, 16)))
    assert "matmul+transpose" in labels


@st.composite
def windows(draw: st.DrawFn) -> tuple[Callable[..., Any], Any]:
    ndim = draw(st.integers(2, 5))
    spatial = draw(st.integers(1, min(3, ndim)))
    first = draw(st.integers(0, ndim - spatial))
    inner = range(first, first + spatial)
    kernel = [draw(st.integers(1, 3)) if a in inner else 1 for a in range(ndim)]
    strides = [draw(st.integers(1, 3)) if a in inner else 1 for a in range(ndim)]
    dilation = [draw(st.integers(1, 2)) if a in inner else 1 for a in range(ndim)]
    padding = [(draw(st.integers(0, 2)), draw(st.integers(0, 2))) if a in inner else (0, 0) for a in range(ndim)]
    x = normal([draw(st.sampled_from([1, 3, 6, 16])) for _ in range(ndim)], draw(dtypes))
    kind = draw(st.sampled_from(["max", "sum", "mean", "inside"]))

    def fun(x: Any) -> Any:
        def reduce(x: Any, init: Any, how: Any, dilation: Any) -> Any:
            init = jnp.asarray(init, x.dtype)
            return lax.reduce_window(x, init, how, kernel, strides, padding, window_dilation=dilation)

        if kind == "max":
            return jax.nn.relu(reduce(x, -jnp.inf, lax.max, dilation))
        total = reduce(x, 0, lax.add, (1,) * ndim)
        if kind == "mean":
            return total / int(np.prod(kernel))
        return total / reduce(jnp.ones_like(x), 0, lax.add, (1,) * ndim) if kind == "inside" else total

    return fun, x


@given(windows())
def test_pooling_computes_what_jax_computes(drawn: tuple[Callable[..., Any], Any]) -> None:
    fun, x = drawn
    if min(jax.eval_shape(fun, x).shape) > 0:
        check(fun, x, ends_only=True)


@pytest.mark.parametrize("order", [*permutations(range(4))], ids=str)
@pytest.mark.parametrize("channels", [1, 5])
def test_what_is_added_to_pools_is_read_right_wherever_channels_lie(order: tuple[int, ...], channels: int) -> None:
    """Kernels for AVX-512 bring channels behind for themselves, and would not do so with what is added."""
    sizes, windows = (2, channels, 5, 6), (1, 1, 2, 3)
    shape, window = ([of[axis] for axis in order] for of in (sizes, windows))

    def fun(x: Any, other: Any) -> Any:
        return lax.reduce_window(x, np.float32(0), lax.add, window, (1,) * 4, "VALID") + other

    x = normal(shape)
    pooled = jax.eval_shape(fun, x, normal([1] * 4)).shape
    labels = check(fun, x, normal(pooled, seed=1))
    last = order.index(1)
    labels |= check(fun, x, normal([n if axis == last else 1 for axis, n in enumerate(pooled)], seed=2))
    if order == (0, 2, 3, 1):
        assert labels == {"avg_pool", "avg_pool+add"}
    elif order == (0, 1, 2, 3) and channels > 1:
        assert labels == {"avg_pool"}


def test_kinds_of_pooling_are_supported() -> None:
    def pooled(how: Any, init: float) -> Any:
        window = ((1, 3, 3, 1), (1, 2, 2, 1), ((0, 0), (1, 1), (0, 1), (0, 0)))
        return lambda x: lax.reduce_window(x, init, how, *window)

    x = normal((2, 9, 8, 16))
    assert check(pooled(lax.max, -jnp.inf), x) == {"max_pool"}
    assert any("avg_pool" in label for label in check(pooled(lax.add, 0.0), x))
    assert any("avg_pool" in label for label in check(lambda x: pooled(lax.add, 0.0)(x) / 9, x))


shapes = st.lists(st.sampled_from([1, 2, 5, 8, 17]), min_size=1, max_size=5)


@st.composite
def whole_array_functions(draw: st.DrawFn) -> tuple[Callable[..., Any], list[Any]]:
    shape, dtype = draw(shapes), draw(dtypes)
    axis = draw(st.integers(0, len(shape) - 1))
    axes = tuple(sorted(draw(st.sets(st.integers(0, len(shape) - 1), min_size=1))))
    x = normal(shape, dtype)
    kind = draw(st.sampled_from(["softmax", "log_softmax", "reduce", "concat", "upsample", "activation", "norm"]))
    if kind in ("softmax", "log_softmax"):
        return lambda x: getattr(jax.nn, kind)(x, axis=axis), [x]
    if kind == "reduce":
        how = draw(st.sampled_from([jnp.sum, jnp.mean, jnp.max, jnp.prod]))
        return lambda x: how(x, axis=axes, keepdims=len(shape) % 2 == 0), [x]
    if kind == "concat":
        other = [n + 3 if a == axis else n for a, n in enumerate(shape)]
        return lambda x, y: jnp.concatenate([x, y, x], axis), [x, normal(other, dtype)]
    if kind == "upsample":
        return lambda x: jnp.repeat(jnp.repeat(x, 2, axis), 3, axes[0]), [x]
    if kind == "activation":
        how = draw(st.sampled_from([jax.nn.gelu, jax.nn.silu, jnp.tanh, jax.nn.sigmoid, jax.nn.hard_swish]))
        return lambda x: how(x) * 2, [x]
    # Of two nearly equal bfloat16 numbers JAX, which rounds their mean, finds no useful deviation.
    arrays = [normal(shape), *(normal([shape[-1]], seed=s) for s in range(2))]
    return lambda x, scale, shift: _layer_norm(x, 0) * scale + shift, arrays


def _layer_norm(x: Any, unbiased: int, outside: bool = False, epsilon: float = 1e-6) -> Any:
    centred = x - jnp.mean(x, -1, keepdims=True)
    variance = jnp.sum(centred**2, -1, keepdims=True) / (x.shape[-1] - unbiased)
    return centred / (jnp.sqrt(variance) + epsilon if outside else jnp.sqrt(variance + epsilon))


@given(whole_array_functions())
def test_functions_of_whole_arrays_compute_what_jax_computes(drawn: tuple[Callable[..., Any], list[Any]]) -> None:
    fun, args = drawn
    check(fun, *args, ends_only=True)


def test_the_common_functions_of_whole_arrays_are_supported() -> None:
    x = normal((2, 6, 6, 16))
    assert check(lambda x: jax.nn.softmax(x), x) == {"softmax"}
    assert check(lambda x: jax.nn.log_softmax(x), x) == {"log_softmax"}
    assert check(lambda x: jnp.mean(x, (1, 2)), x) == {"mean"}
    assert check(lambda x: jnp.sum(x, -1), x) == {"reduce_sum"}
    assert check(lambda x: jnp.max(x, -1), x) == {"reduce_max"}
    assert check(lambda x: jnp.concatenate([x, x + 1], -1), x) == {"concatenate"}
    assert check(lambda x: jnp.repeat(jnp.repeat(x, 2, 1), 2, 2), x) == {"upsample"}
    assert check(lambda x: jax.nn.gelu(x, approximate=False), x) == {"gelu"}


def _repeated(x: Any, factors: tuple[int, ...]) -> Any:
    for axis, factor in enumerate(factors):
        x = jnp.repeat(x, factor, axis) if factor > 1 else x
    return x


#: What another operand may follow, with the shapes of its arguments.
FOLLOWED: dict[str, tuple[Callable[..., Any], tuple[int, ...], ...]] = {
    "rows repeated": (lambda x: _repeated(x, (1, 3, 1, 1)), (2, 3, 4, 8)),
    "columns repeated": (lambda x: _repeated(x, (1, 1, 3, 1)), (2, 3, 4, 8)),
    "pixels repeated": (lambda x: _repeated(x, (1, 2, 2, 1)), (2, 3, 4, 8)),
    "voxels repeated": (lambda x: _repeated(x, (1, 2, 1, 2, 1)), (2, 3, 2, 4, 8)),
    "softmax": (jax.nn.softmax, (2, 3, 4, 8)),
    "softmax of five axes": (jax.nn.softmax, (2, 3, 2, 4, 8)),
    "maxima of rows": (lambda x: lax.reduce_window(x, -jnp.inf, lax.max, *[(1, 2, 1, 1)] * 2, "VALID"), (2, 6, 4, 8)),
    "convolution": (
        lambda x, w: lax.conv_general_dilated(x, w, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")),
        (2, 4, 5, 8),
        (3, 3, 8, 16),
    ),
    "products": (lambda x, y: jnp.einsum("bqhd,bkhd->bhqk", x, y), (2, 6, 3, 8), (2, 5, 3, 8)),
    "products in turn": (lambda x, y: jnp.einsum("bhqk,bkhd->bqhd", x, y), (2, 4, 3, 5), (2, 5, 4, 16)),
    "rows in turn": (lambda x, y: jnp.einsum("bhqk,bkhd->bqhd", x, y), (1, 4, 1, 3), (1, 3, 4, 16)),
    "sums": (lambda x: jnp.sum(x, (1, 2), keepdims=True), (2, 3, 4, 8)),
}


@given(st.sampled_from(sorted(FOLLOWED)), st.tuples(*[st.booleans()] * 5))
@example("pixels repeated", (1, 1, 1, 1))
@example("rows repeated", (0, 0, 0, 1))
@example("columns repeated", (0, 0, 1, 1))
@example("softmax", (0, 1, 0, 0))
@example("rows in turn", (0, 0, 0, 1, 0))
@settings(deadline=None, max_examples=3 * settings.default.max_examples)
def test_what_follows_may_be_repeated_along_any_axes(kind: str, kept: Sequence[bool]) -> None:
    """The library reads some of what it accepts wrongly."""
    function, *shapes = FOLLOWED[kind]
    args = [normal(shape, seed=i) for i, shape in enumerate(shapes)]
    shape = jax.eval_shape(function, *args).shape
    other = normal([n if keep else 1 for n, keep in zip(shape, kept, strict=False)], seed=5)
    check(lambda other, *args: function(*args) * other, other, *args)


@pytest.mark.parametrize("order", [*map("".join, permutations("NHWC"))])
def test_a_convolution_of_one_tap_brings_positions_into_the_result_s_order(order: str) -> None:
    """All axes are of one size, so that products in another order have the same shapes."""
    x, weights = normal((2, 2, 2, 2)), normal((1, 1, 2, 2), seed=1)
    for source in ("NHWC", "HWNC", "CWHN"):
        numbers = source, "HWIO", order
        fun = partial(lax.conv_general_dilated, window_strides=(1, 1), padding="SAME", dimension_numbers=numbers)
        assert check(fun, x, weights)


@pytest.mark.parametrize("order", [(0, 1, 2), (0, 2, 1), (1, 0, 2), (2, 0, 1)], ids=str)
@pytest.mark.parametrize("terms", [4, 5, 9])
def test_an_infinity_is_no_nan_in_products_of_bfloat16(order: tuple[int, ...], terms: int) -> None:
    """Pairs of an odd number of terms are filled up with zeros, which must not meet the last term once more."""
    batch, _, last = (order.index(axis) for axis in range(3))
    numbers = (((last,), (1,)), ((batch,), (0,)))
    left = normal((2, 6, terms), BF16).at[..., -1].set(jnp.inf).transpose(order)
    right = normal((2, terms, 15), BF16, 1)
    skip_unless_onednn_takes(BF16)
    graph = graph_of(lambda left, right: lax.dot_general(left, right, numbers), left, right)
    regions = accepted(graph)
    assert bool(regions) == (terms % 2 == 0 or order[0] == 0)
    for region in regions.values():
        check_region(region, dict(zip(graph.inputs, (left, right), strict=True)).__getitem__)


@pytest.mark.parametrize("unbiased", [0, 1])
def test_layer_norm_of_every_kind_is_as_exact_as_promised(unbiased: int) -> None:
    def fun(x: Any, scale: Any, shift: Any) -> Any:
        return scale * _layer_norm(x, unbiased) + shift

    x, scale, shift = normal((4, 9, 32)), normal([32], seed=1), normal([32], seed=2)
    (region,) = accepted(graph_of(fun, x, scale, shift)).values()
    by_value = dict(zip(region.graph.inputs, (x, scale, shift), strict=True))
    (got,) = jax.jit(BACKEND.emit(region))(*(by_value[v] for v in region.entries))
    exact = [np.asarray(a, np.float64) for a in (x, scale, shift)]
    centred = exact[0] - exact[0].mean(-1, keepdims=True)
    variance = (centred**2).sum(-1, keepdims=True) / (32 - unbiased)
    wanted = exact[1] * centred / np.sqrt(variance + 1e-6) + exact[2]
    np.testing.assert_allclose(got, wanted, rtol=2e-6, atol=2e-6)


def test_layer_norm_with_epsilon_outside_the_root_is_refused() -> None:
    graph = graph_of(lambda x: _layer_norm(x, 1, outside=True, epsilon=1e-6), normal((4, 32)))
    refusals = [p.refused for p in BACKEND.propose(graph) if p.label == "layer_norm"]
    assert refusals and refusals[0] is not None and "1e-06" in refusals[0].reason


def _with_special(value: Value, args: Sequence[Any]) -> Any:
    """The argument of the value's shape; for a value inside the program, an array special where the first one is."""
    found = next((a for a in args if a.shape == value.shape), None)
    return args[0][:, :1] * jnp.ones(value.shape) if found is None else found


@pytest.mark.parametrize("special", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize(
    ("fun", "shapes"),
    [
        (lambda x, w: jax.nn.relu(_conv(x, w)), [(1, 6, 6, 16), (3, 3, 16, 16)]),
        (lambda x, w: jax.nn.relu(_conv(x, w)), [(1, 6, 6, 16), (1, 1, 16, 16)]),
        (lambda x, w: jax.nn.relu(_conv(x, w, feature_group_count=4)), [(1, 6, 6, 16), (3, 3, 4, 16)]),
        (lambda x, w: jax.nn.relu(_conv(x, w, feature_group_count=16)), [(1, 6, 6, 16), (3, 3, 1, 16)]),
        (lambda x, w: jnp.tanh(x @ w), [(8, 16), (16, 32)]),
        (lambda x, w: jax.nn.gelu(x @ w, approximate=False), [(8, 16), (16, 32)]),
        (lambda x, w: jax.nn.gelu(x @ w, approximate=True), [(8, 16), (16, 32)]),
        (lambda x, w: jax.nn.silu(x @ w), [(8, 16), (16, 32)]),
        (lambda x, w: jax.nn.relu(x @ w), [(8, 16), (16, 32)]),
        (lambda x: lax.reduce_window(x, -jnp.inf, lax.max, (1, 3, 3, 1), (1, 2, 2, 1), "SAME"), [(1, 6, 6, 16)]),
        (lambda x: jax.nn.softmax(x), [(8, 16)]),
        (lambda x: jax.nn.log_softmax(x), [(8, 16)]),
        (lambda x: jnp.max(x, -1), [(8, 16)]),
        (lambda x: jnp.mean(x, (1, 2)), [(2, 6, 6, 16)]),
        (_layer_norm, [(8, 16)]),
    ],
)
def test_nan_and_infinity_go_where_jax_lets_them_go(fun: Any, shapes: Any, special: float) -> None:
    args = [normal(shape) for shape in shapes]
    args[0] = args[0].at[(0, *(2,) * (args[0].ndim - 1))].set(special)
    fun = fun if fun is not _layer_norm else lambda x: _layer_norm(x, 0)
    regions = accepted(graph_of(fun, *args))
    assert regions
    for region in regions.values():
        check_region(region, lambda v: _with_special(v, args))


_BOUNDS = [jax.nn.relu6, lambda y: jnp.clip(y, -1, 1), lambda y: jnp.maximum(y, 1), lambda y: jnp.minimum(y, 0.5)]


@pytest.mark.parametrize("dtype", [F32, BF16])
@pytest.mark.parametrize("special", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("activation", _BOUNDS)
def test_bounds_at_the_end_keep_nan(activation: Any, special: float, dtype: Any) -> None:
    skip_unless_onednn_takes(dtype)
    x, w = normal((8, 16), dtype).at[2, 3].set(special), normal((16, 32), dtype)
    (region,) = [r for r in accepted(graph_of(lambda x, w: activation(x @ w), x, w)).values() if len(r.nodes) > 1][-1:]
    check_region(region, lambda v: {x.shape: x, w.shape: w}[v.shape])


def test_a_sigmoid_after_any_convolution_keeps_nan() -> None:
    x, w = normal((1, 6, 6, 1)).at[0, 2, 2, 0].set(np.nan), normal((2, 3, 1, 24))
    # Padding as wide as the kernel leaves the library its products of gathered patches alone.
    graph = graph_of(lambda x, w: jax.nn.sigmoid(_conv(x, w, padding=((2, 2), (2, 2)))), x, w)
    for region in accepted(graph).values():
        if len(region.entries) == 2:
            check_region(region, lambda v: {x.shape: x, w.shape: w}[v.shape])


@pytest.mark.parametrize("activation", [jnp.exp, lambda y: jnp.clip(y, -1, 1) + 2])
def test_functions_that_would_drop_nan_are_not_fused(activation: Any) -> None:
    graph = graph_of(lambda x, w: activation(x @ w), normal((8, 16)), normal((16, 32)))
    assert not any("exp" in p.label or "add" in p.label for p in BACKEND.propose(graph) if p.refused is None)


@pytest.mark.parametrize("name", ["exp", "softplus", "mish", "elu"])
def test_a_function_that_is_not_that_of_jax_is_refused_with_the_reason(name: str) -> None:
    function = jnp.exp if name == "exp" else getattr(jax.nn, name)
    graph = graph_of(lambda x, w: function(x @ w), normal((8, 16)), normal((16, 32)))
    refused = [p.refused.reason for p in BACKEND.propose(graph) if p.refused is not None]
    assert refused == [f"oneDNN's {name} is not JAX's for every number"]


@pytest.mark.parametrize("dtype", [F32, BF16])
@pytest.mark.parametrize(
    "fun",
    [
        lambda x: lax.reduce_window(x, -jnp.inf, lax.max, (1, 3, 3, 1), (1, 2, 2, 1), "SAME"),
        lambda x: jnp.max(x, (1, 2)),
        lambda x: jnp.max(x, -1),
    ],
    ids=["pooling", "over space", "over channels"],
)
def test_the_maximum_of_minus_infinity_alone_is_minus_infinity(fun: Any, dtype: Any) -> None:
    skip_unless_onednn_takes(dtype)
    x = normal((2, 8, 8, 16), dtype).at[0, :, :5].set(-jnp.inf).at[1, :, :, 3:].set(-jnp.inf).at[1, 0].set(-jnp.inf)
    regions = accepted(graph_of(fun, x))
    assert regions
    for region in regions.values():
        check_region(region, lambda v: x)


def test_a_tail_has_at_most_as_many_parts_as_the_library_takes() -> None:
    def long(x: Any, w: Any) -> Any:
        y = x @ w
        for i in range(50):
            y = y * (1 + i / 64) + i / 64
        return y

    graph = graph_of(long, normal((4, 8)), normal((8, 4)))
    assert max(len(p.nodes) for p in BACKEND.propose(graph)) == 33


@pytest.mark.parametrize(
    ("fun", "args", "reason"),
    [
        (lambda x, w: x @ w, [normal((4, 4), jnp.float16)] * 2, "float16"),
        (lambda x, w: x @ w, [jnp.ones((4, 4), jnp.int32)] * 2, "int32"),
        (lambda x, w: x @ w, [jnp.ones((4, 4), jnp.complex64)] * 2, "complex64"),
        (lambda x, w: x @ w, [jnp.ones((0, 4)), jnp.ones((4, 4))], "empty"),
        (lambda x, w: _conv(x, w, padding=((-1, 0), (0, 0))), [normal((1, 5, 5, 3)), normal((1, 1, 3, 4))], "negative"),
        (
            lambda x, w: _conv(x, w, lhs_dilation=(2, 2), window_strides=(3, 3), padding=((0, 0), (0, 0))),
            [normal((1, 5, 5, 3)), normal((1, 1, 3, 4))],
            "window strides",
        ),
        (
            lambda x, w: lax.dot_general(x, w, (((1,), (0,)), ((), ())), precision="BF16_BF16_F32"),
            [normal((4, 4))] * 2,
            "BF16_BF16_F32",
        ),
        (lambda x: jax.nn.softmax(x), [normal((4, 4), jnp.float16)], "float16"),
    ],
)
def test_what_cannot_be_done_is_refused_with_the_offending_value(fun: Any, args: Any, reason: str) -> None:
    graph = graph_of(fun, *args)
    proposals = list(BACKEND.propose(graph))
    reasons = [p.refused or BACKEND.supports(Region.of(graph, p.nodes)) for p in proposals]
    assert any(isinstance(r, Unsupported) and reason in r.reason for r in reasons), reasons


def test_a_region_that_is_no_chain_is_refused() -> None:
    graph = graph_of(lambda x, w: (jnp.sin(x @ w), x @ w), normal((4, 4)), normal((4, 4)))
    for nodes in (graph.nodes, graph.nodes[1:]):
        refusal = BACKEND.supports(Region.of(graph, nodes))
        assert refusal is not None and refusal.reason


def test_a_value_used_twice_ends_the_tail() -> None:
    labels = check(lambda x, w: (jax.nn.relu(y := x @ w), y), normal((8, 16)), normal((16, 32)))
    assert labels == {"matmul"}


def test_x_times_its_sigmoid_is_fused_as_one_function() -> None:
    assert "matmul+silu" in check(lambda x, w: (y := x @ w) * jax.nn.sigmoid(y), normal((8, 16)), normal((16, 32)))


@given(
    size=st.integers(1, 6),
    kernel=st.integers(1, 5),
    stride=st.integers(1, 3),
    dilation=st.integers(1, 3),
    low=st.integers(0, 5),
    high=st.integers(0, 5),
)
def test_taps_that_only_meet_padding_are_left_out(
    size: int, kernel: int, stride: int, dilation: int, low: int, high: int
) -> None:
    reach = (kernel - 1) * dilation + 1
    if size + low + high < reach:
        reject()
    out = (size + low + high - reach) // stride + 1
    window = Window(size, out, kernel, stride, dilation, low)
    taps, new_low, new_high = useful_taps(window, high)
    assert taps
    assert min(new_low, new_high) >= 0
    assert {tap for tap in range(kernel) if window.meets(tap)} <= set(taps)
    fewer = Window(size, out, len(taps), stride, dilation, new_low)
    assert (size + new_low + new_high - (len(taps) - 1) * dilation - 1) // stride + 1 == out
    assert all(fewer.place(o, t) == window.place(o, t + taps.start) for o in range(out) for t in range(len(taps)))


@pytest.mark.parametrize("feature_groups", [1, 4])
@pytest.mark.parametrize(("depth", "stride"), [(1, 1), (1, 2), (2, 2), (3, 1)])
def test_a_kernel_deeper_than_its_input(depth: int, stride: int, feature_groups: int) -> None:
    x, w = normal((2, depth, 6, 6, 16)), normal((3, 3, 3, 16 // feature_groups, 16))
    numbers = ("NDHWC", "DHWIO", "NDHWC")
    check(
        lambda x, w: jax.nn.relu(
            lax.conv_general_dilated(
                x, w, (stride,) * 3, [(1, 1)] * 3, dimension_numbers=numbers, feature_group_count=feature_groups
            )
        ),
        x,
        w,
    )


@pytest.mark.parametrize(
    "sizes", [(1, 1, 1), (1, 1, 100), (100, 1, 1), (1, 3, 1), (1, 100, 2), (2, 1, 100), (1, 3, 100)]
)
def test_products_with_a_lone_row_or_column(sizes: tuple[int, int, int]) -> None:
    m, k, n = sizes
    a, b = normal((m, k)), normal((k, n), seed=1)
    assert check(lambda a, b: a @ b, a, b)
    assert check(lambda a, b: (a @ b).T, a, b)
    assert check(lambda a, b: a @ b.T, a, normal((n, k), seed=2))
    assert check(lambda a, b: a.T @ b, normal((k, m), seed=3), b)


@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_bound_may_be_what_is_computed(place: int) -> None:
    x, w, y = 100 * normal((8, 16)), normal((16, 32)), normal((8, 32), seed=4)

    def fun(x: Any, w: Any, y: Any) -> Any:
        operands = [jnp.full_like(y, -1), y, jnp.full_like(y, 1)]
        operands[place] = x @ w
        return lax.clamp(*operands)

    check(fun, x, w, y)


@pytest.mark.parametrize("exponent", [0.5, -0.5, 1.5, 2.0, 3.0, -1.0])
def test_powers_of_special_numbers(exponent: float) -> None:
    x = jnp.asarray([[0.0, -0.0, 1.5, jnp.inf, -jnp.inf, jnp.nan, 2.0, 3.0]])
    check(lambda x, w: lax.pow(x @ w, exponent), jnp.where(jnp.isnan(x), 0, x).T, jnp.ones((1, 8)))
