"""The oneDNN extension alone: specs run as FFI calls, compared with JAX."""

from __future__ import annotations

import contextlib
import re
import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from instruction_sets import skip_unless_onednn_takes

from collage_jax.backends.onednn import library

onednn = library.load()
pytestmark = pytest.mark.skipif(not onednn, reason=getattr(onednn, "reason", ""))

NAMES = {"float32": "f32", "bfloat16": "bf16", "int8": "s8", "uint8": "u8", "int32": "s32"}


def strides(dims, order=None):
    """Strides of logical ``dims`` that lie in memory in ``order``, slowest first."""
    steps, step = [0] * len(dims), 1
    for axis in reversed(order or range(len(dims))):
        steps[axis], step = step, step * dims[axis]
    return "x".join(map(str, steps))


def memory(dims, order=None, dtype="float32", layout=None):
    return f"{NAMES[str(dtype)]}:{'x'.join(map(str, dims))}:{layout or strides(dims, order)}"


def channels_last(array):
    """The memory of an array (batch, spatial..., channels), seen as (batch, channels, spatial...)."""
    rank = array.ndim
    dims = (array.shape[0], array.shape[-1], *array.shape[1:-1])
    return memory(dims, (0, *range(2, rank), 1), array.dtype)


def ffi_call(spec, result, *operands, aliases=None):
    call = jax.ffi.ffi_call(library.TARGET, result, input_output_aliases=aliases)
    return call(*operands, spec=spec, version=onednn.version())


def run(spec, result, *operands, aliases=None):
    return jax.jit(lambda *xs: ffi_call(spec, result, *xs, aliases=aliases))(*operands)


def like(array):
    return jax.ShapeDtypeStruct(array.shape, array.dtype)


def random(*shape, dtype="float32", seed=0):
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape), dtype)


def assert_close(got, want, rtol=2e-5):
    got, want = (np.asarray(x, np.float64) for x in (got, want))
    assert got.shape == want.shape
    scale = np.abs(want).max()
    np.testing.assert_allclose(got / scale, want / scale, rtol=0, atol=rtol)


def joined(values):
    return "x".join(map(str, values))


class Convolution:
    """A channels-last convolution: its JAX form and its spec."""

    def __init__(self, spatial, kernel, i, o, *, groups=1, stride=1, dilation=1, pads=(1, 1), dtype="float32", batch=2):
        rank = len(spatial)
        self.x = random(batch, *spatial, i, dtype=dtype)
        self.w = random(*kernel, i // groups, o, dtype=dtype, seed=1)
        letters = "DHW"[-rank:]
        self.reference = jax.lax.conv_general_dilated(
            self.x, self.w, (stride,) * rank, (pads,) * rank, rhs_dilation=(dilation,) * rank,
            dimension_numbers=(f"N{letters}C", f"{letters}IO", f"N{letters}C"), feature_group_count=groups,
            precision="highest",
        )  # fmt: skip
        # The kernel lies in memory as (spatial..., i, o); oneDNN's order is ([g,] o, i, spatial...).
        dims = (o // groups, i // groups, *kernel)
        steps = strides((o, *dims[1:]), (*range(2, rank + 2), 1, 0))
        if groups > 1:
            dims, steps = (groups, *dims), f"{o // groups}x{steps}"
        self.dims, self.plain, self.dtype = dims, steps, dtype
        self.options = (
            f"src={channels_last(self.x)} dst={channels_last(self.reference)} strides={joined([stride] * rank)}"
            f" dilates={joined([dilation - 1] * rank)} pads_l={joined([pads[0]] * rank)}"
            f" pads_r={joined([pads[1]] * rank)}"
        )

    def weights(self, layout=None):
        return "wei=" + memory(self.dims, dtype=self.dtype, layout=layout or self.plain)

    def packed(self):
        spec = f"op=pack.conv {self.options} {self.weights('any')} plain={self.plain}"
        size = onednn.query(spec)["packed_bytes"]
        return run(spec, jax.ShapeDtypeStruct((size,), jnp.uint8), self.w)


CONVOLUTIONS = {
    "2d": {"spatial": (14, 13), "kernel": (3, 3), "i": 16, "o": 24},
    "1x1": {"spatial": (9, 9), "kernel": (1, 1), "i": 32, "o": 64, "pads": (0, 0)},
    "stride": {"spatial": (15, 15), "kernel": (3, 3), "i": 3, "o": 16, "stride": 2},
    "asymmetric padding": {"spatial": (8, 9), "kernel": (3, 3), "i": 16, "o": 16, "stride": 2, "pads": (0, 1)},
    "dilation": {"spatial": (12, 12), "kernel": (3, 3), "i": 16, "o": 16, "dilation": 2, "pads": (2, 2)},
    "groups": {"spatial": (8, 8), "kernel": (3, 3), "i": 32, "o": 32, "groups": 8},
    "groups of odd size": {"spatial": (8, 8), "kernel": (3, 3), "i": 15, "o": 9, "groups": 3},
    "depthwise": {"spatial": (10, 10), "kernel": (5, 5), "i": 19, "o": 19, "groups": 19, "pads": (2, 2)},
    "1d": {"spatial": (33,), "kernel": (5,), "i": 16, "o": 8, "pads": (2, 2)},
    "3d": {"spatial": (4, 7, 7), "kernel": (3, 3, 3), "i": 16, "o": 16},
    "bfloat16": {"spatial": (9, 9), "kernel": (3, 3), "i": 32, "o": 32, "dtype": "bfloat16"},
    "bfloat16 depthwise": {"spatial": (9, 9), "kernel": (3, 3), "i": 16, "o": 16, "groups": 16, "dtype": "bfloat16"},
}


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_convolution_matches_jax_with_weights_in_every_form(name):
    conv = Convolution(**CONVOLUTIONS[name])
    skip_unless_onednn_takes(conv.dtype)
    rtol = 2e-2 if conv.dtype == "bfloat16" else 2e-5
    plain, packed = conv.weights(), conv.weights("any")
    for spec, weights in [
        (f"op=conv {conv.options} {plain}", conv.w),
        (f"op=conv {conv.options} {plain} wei_reorder=1", conv.w),
        (f"op=conv {conv.options} {plain} wei_reorder=1 inner=any", conv.w),
        (f"op=conv {conv.options} {packed}", conv.packed()),
    ]:
        assert_close(run(spec, like(conv.reference), conv.x, weights), conv.reference, rtol)


@pytest.mark.parametrize("stride", [1, 2])
def test_transposed_convolution_matches_jax(stride):
    x, w = random(2, 5, 6, 8), random(4, 4, 8, 12, seed=1)
    want = jax.lax.conv_transpose(x, w, (stride, stride), ((2, 2), (2, 2)), precision="highest")
    padding = 1  # of the forward convolution this transposes: kernel - 1 - 2
    flipped = jnp.flip(w, (0, 1))  # oneDNN, unlike lax, mirrors the kernel
    kernel = (12, 8, 4, 4)
    spec = (
        f"src={channels_last(x)} dst={channels_last(want)} strides={stride}x{stride} dilates=0x0"
        f" pads_l={padding}x{padding} pads_r={padding}x{padding}"
    )
    plain = strides(kernel, (2, 3, 1, 0))
    got = run(f"op=deconv {spec} wei={memory(kernel, layout=plain)} wei_reorder=1", like(want), x, flipped)
    assert_close(got, want)

    pack = f"op=pack.deconv {spec} wei={memory(kernel, layout='any')} plain={plain}"
    packed = run(pack, jax.ShapeDtypeStruct((onednn.query(pack)["packed_bytes"],), jnp.uint8), flipped)
    assert_close(run(f"op=deconv {spec} wei={memory(kernel, layout='any')}", like(want), x, packed), want)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize(("a", "b"), [((7, 20), (20, 9)), ((3, 7, 20), (1, 20, 9)), ((2, 3, 5, 8), (2, 3, 8, 4))])
def test_matmul_with_bias_matches_jax(a, b, dtype):
    skip_unless_onednn_takes(dtype)
    x, w = random(*a, dtype=dtype), random(*b, dtype=dtype, seed=1)
    bias = random(*[1] * (len(a) - 1), b[-1], seed=2, dtype=dtype)
    want = jnp.matmul(x, w, precision="highest", preferred_element_type="float32") + bias.astype("float32")
    want = want.astype(dtype)
    spec = (
        f"op=matmul src={memory(a, dtype=dtype)} wei={memory(b, dtype=dtype)} bia={memory(bias.shape, dtype=dtype)}"
        f" dst={memory(want.shape, dtype=dtype)}"
    )
    for options in ("", " wei_reorder=1"):
        assert_close(run(spec + options, like(want), x, w, bias), want, 2e-2 if dtype == "bfloat16" else 2e-5)


def test_matmul_reads_transposed_operands_in_place():
    x, w = random(20, 7), random(9, 20, seed=1)
    spec = f"op=matmul src={memory((7, 20), (1, 0))} wei={memory((20, 9), (1, 0))} dst={memory((7, 9))}"
    assert_close(run(spec, jax.ShapeDtypeStruct((7, 9), jnp.float32), x, w), x.T @ w.T)


def test_matmul_takes_weights_packed_from_either_order():
    x, w = random(64, 128), random(128, 96, seed=1)
    spec = f"src={memory((64, 128))} dst={memory((64, 96))} wei={memory((128, 96), layout='any')}"
    for operand, order in ((w, (0, 1)), (w.T, (1, 0))):
        pack = f"op=pack.matmul {spec} plain={strides((128, 96), order)}"
        size = onednn.query(pack)["packed_bytes"]
        packed = run(pack, jax.ShapeDtypeStruct((size,), jnp.uint8), jnp.array(operand))
        assert_close(run(f"op=matmul {spec}", jax.ShapeDtypeStruct((64, 96), jnp.float32), x, packed), x @ w)


@pytest.mark.parametrize("inner", ["", " inner=any"])
@pytest.mark.parametrize("aliased", [True, False])
def test_post_ops_run_in_order_and_sum_adds_the_last_operand(aliased, inner):
    conv = Convolution((9, 9), (3, 3), 16, 32)
    bias, scale = random(32, seed=2), random(1, 1, 1, 32, seed=3)
    residual = random(*conv.reference.shape, seed=4)
    want = jax.nn.relu((conv.reference + bias) * scale + residual)
    spec = (
        f"op=conv {conv.options} {conv.weights()} bia={memory((32,))}{inner}"
        f" post=binary:mul:{channels_last(scale)}|sum:1|eltwise:relu:0:0"
    )
    got = run(spec, like(want), conv.x, conv.w, bias, scale, residual, aliases={4: 0} if aliased else None)
    assert_close(got, want)


def test_a_large_sum_operand_that_is_not_aliased_is_copied():
    x, w, y = random(256, 64), random(64, 4096, seed=1), random(256, 4096, seed=2)
    spec = f"op=matmul src={memory(x.shape)} wei={memory(w.shape)} dst={memory(y.shape)} post=sum:0.5"
    assert_close(run(spec, like(y), x, w, y), x @ w + 0.5 * y)


ELTWISE = {
    "relu": jax.nn.relu,
    "tanh": jnp.tanh,
    "gelu_erf": lambda x: jax.nn.gelu(x, approximate=False),
    "gelu_tanh": lambda x: jax.nn.gelu(x, approximate=True),
    "logistic": jax.nn.sigmoid,
    "abs": jnp.abs,
    "square": jnp.square,
    "exp": jnp.exp,
    "swish:1:0": jax.nn.silu,
    "elu:1:0": jax.nn.elu,
    "clip:-0.5:0.5": lambda x: jnp.clip(x, -0.5, 0.5),
    "linear:2:3": lambda x: 2 * x + 3,
    "relu:0.1:0": lambda x: jax.nn.leaky_relu(x, 0.1),
    "hardswish:0.16666667:0.5": jax.nn.hard_swish,
}


@pytest.mark.parametrize("name", ELTWISE)
def test_eltwise_matches_jax_as_operation_and_as_post_op(name):
    x = random(8, 40)
    algorithm, alpha, beta = [*name.split(":"), "0", "0"][:3]
    tensors = f"src={memory(x.shape)} dst={memory(x.shape)}"
    got = run(f"op=eltwise alg={algorithm} alpha={alpha} beta={beta} {tensors}", like(x), x)
    assert_close(got, ELTWISE[name](x))
    spec = f"op=binary alg=add src0={memory(x.shape)} src1={memory((1, 40))} dst={memory(x.shape)}"
    got = run(f"{spec} post=eltwise:{algorithm}:{alpha}:{beta}", like(x), x, x[:1])
    assert_close(got, ELTWISE[name](x + x[:1]))


BINARY = {
    "add": jnp.add,
    "mul": jnp.multiply,
    "sub": jnp.subtract,
    "div": jnp.divide,
    "max": jnp.maximum,
    "min": jnp.minimum,
}


@pytest.mark.parametrize("name", BINARY)
def test_binary_broadcasts_like_jax(name):
    x, y = random(3, 5, 8), 1.5 + jnp.abs(random(1, 5, 1, seed=1))
    want = BINARY[name](x, y)
    spec = f"op=binary alg={name} src0={memory(x.shape)} src1={memory(y.shape)} dst={memory(x.shape)}"
    assert_close(run(spec, like(want), x, y), want)


@pytest.mark.parametrize("name", ["sum", "mean", "max", "min", "prod"])
def test_reduction_matches_jax(name):
    x = random(3, 6, 10)
    want = getattr(jnp, name)(x, axis=(0, 2), keepdims=True)
    spec = f"op=reduce alg={'mul' if name == 'prod' else name} src={memory(x.shape)} dst={memory(want.shape)}"
    assert_close(run(spec, like(want), x), want)


@pytest.mark.parametrize("name", ["max", "avg_include", "avg_exclude"])
def test_pooling_matches_jax(name):
    x = random(2, 9, 9, 16)
    window, step, pads = (1, 3, 3, 1), (1, 2, 2, 1), ((0, 0), (1, 1), (1, 1), (0, 0))
    total = jax.lax.reduce_window(x, 0.0, jax.lax.add, window, step, pads)
    count = jax.lax.reduce_window(jnp.ones_like(x), 0.0, jax.lax.add, window, step, pads)
    want = {
        "max": jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, window, step, pads),
        "avg_include": total / 9,
        "avg_exclude": total / count,
    }[name]
    spec = (
        f"op=pool alg={name} src={channels_last(x)} dst={channels_last(want)} kernel=3x3 strides=2x2 dilates=0x0"
        " pads_l=1x1 pads_r=1x1"
    )
    assert_close(run(spec, like(want), x), want)


@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
@pytest.mark.parametrize("axis", [0, 2])
def test_softmax_matches_jax(name, axis):
    x = random(4, 5, 33)
    spec = f"op=softmax alg={name} axis={axis} src={memory(x.shape)} dst={memory(x.shape)}"
    assert_close(run(spec, like(x), x), getattr(jax.nn, name)(x, axis))


@pytest.mark.parametrize("flags", ["none", "scale", "shift", "scale+shift"])
def test_layer_norm_matches_jax(flags):
    x, scale, shift = random(6, 40), random(40, seed=1), random(40, seed=2)
    want = (x - x.mean(-1, keepdims=True)) / jnp.sqrt(x.var(-1, keepdims=True) + 1e-3)
    operands = [x]
    if "scale" in flags:
        want, operands = want * scale, [*operands, scale]
    if "shift" in flags:
        want, operands = want + shift, [*operands, shift]
    spec = f"op=layernorm src={memory(x.shape)} dst={memory(x.shape)} eps=1e-3 flags={flags}"
    assert_close(run(spec, like(x), *operands), want)


def test_batch_norm_with_given_statistics_matches_jax():
    x, scale, shift = random(2, 5, 5, 16), random(16, seed=1), random(16, seed=2)
    mean, variance = random(16, seed=3), jnp.abs(random(16, seed=4))
    want = jax.nn.relu((x - mean) / jnp.sqrt(variance + 1e-3) * scale + shift)
    spec = f"op=batchnorm src={channels_last(x)} dst={channels_last(x)} eps=0.001 flags=scale+shift+relu"
    assert_close(run(spec, like(x), x, mean, variance, scale, shift), want)


@pytest.mark.parametrize("name", ["nearest", "linear"])
def test_resampling_matches_jax(name):
    x = random(1, 5, 6, 8)
    want = jax.image.resize(x, (1, 10, 12, 8), name)
    spec = f"op=resample alg={name} src={channels_last(x)} dst={channels_last(want)} factors=2.0x2.0"
    assert_close(run(spec, like(want), x), want)


def test_concatenation_matches_jax():
    x, y = random(2, 3, 3, 8), random(2, 3, 3, 24, seed=1)
    want = jnp.concatenate([x, y], -1)
    spec = f"op=concat axis=1 srcs={channels_last(x)},{channels_last(y)} dst={channels_last(want)}"
    assert_close(run(spec, like(want), x, y), want)


def test_reorder_transposes_and_converts():
    x = random(3, 4, 5)
    spec = f"op=reorder src={memory(x.shape)} dst={memory(x.shape, (2, 0, 1), 'bfloat16')}"
    want = x.transpose(2, 0, 1).astype("bfloat16")
    assert jnp.array_equal(run(spec, like(want), x), want)


MATMUL = f"op=matmul src={memory((4, 8))} wei={memory((8, 2))} dst={memory((4, 2))}"


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("", "missing token `op=`"),
        ("op=nothing", "`op=nothing`"),
        ("op=matmul", "missing token `src=` of op=matmul"),
        ("op=matmul src", "`src`"),
        (MATMUL + " speed=high", "`speed=high`"),
        (MATMUL + " op=conv", "`op=conv`: the key is given twice"),
        (MATMUL.replace("f32:4x8:", "f99:4x8:"), "`src=f99:4x8:8x1`: `f99`"),
        (MATMUL.replace(":8x1", ":8"), "as many strides"),
        (MATMUL.replace("4x8:8x1", "4x-8:8x1"), "negative dimension"),
        (MATMUL.replace("4x8", "4xx8"), "`` is not an integer"),
        (MATMUL.replace(":8x1", ":any"), "`any` is not an integer"),
        (MATMUL.replace(":8x1", ":9999999999999999x1"), "larger than any memory"),
        (MATMUL + " wei_reorder=yes", "`wei_reorder=yes`"),
        (MATMUL + " threads=0", "`threads=0`: 1 to 1024"),
        (MATMUL + " post=eltwise:unknown:0:0", "`post=eltwise:unknown:0:0`: no algorithm `unknown`"),
        (MATMUL + " post=sum:1|sum:1", "at most one sum"),
        (MATMUL + " post=other:1", "`post=other:1`"),
        (MATMUL.replace("8x2:2x1", "7x2:2x1"), "cannot do op=matmul: invalid arguments"),
        (MATMUL.replace("f32", "s32"), "cannot do op=matmul"),
    ],
)
def test_a_spec_that_cannot_be_done_says_why(spec, message):
    for _ in range(2):  # the second answer comes from memory
        with pytest.raises(ValueError, match=re.escape(message)):
            onednn.query(spec)


@pytest.mark.parametrize("token", ["strides=0x1", "dilates=-1x0", "strides=1", "strides=1x1x1"])
def test_window_numbers_are_checked_before_the_library_divides_by_them(token):
    conv = Convolution((9, 9), (3, 3), 16, 16)
    options = [token if part.split("=")[0] == token.split("=")[0] else part for part in conv.options.split()]
    with pytest.raises(ValueError, match=f"bad token `{token}`"):
        onednn.query(f"op=conv {' '.join(options)} {conv.weights()}")


@settings(deadline=None, max_examples=200)
@given(st.data())
def test_a_damaged_spec_is_refused_or_done_but_never_fatal(data):
    tokens = [
        "op=conv src=f32:1x8x6x6:288x36x6x1 wei=f32:4x8x3x3:any dst=f32:1x4x6x6:144x36x6x1 strides=1x1",
        "dilates=0x0 pads_l=1x1 pads_r=1x1 post=eltwise:relu:0:0|binary:add:f32:1x4x1x1:4x1x1x1",
    ]
    text = list(" ".join(tokens))
    for _ in range(data.draw(st.integers(1, 4))):
        text[data.draw(st.integers(0, len(text) - 1))] = data.draw(st.sampled_from([*"0123456789x:-=| any", ""]))
    with contextlib.suppress(ValueError):
        onednn.query("".join(text))


def test_query_tells_what_the_library_chose():
    conv = Convolution((14, 14), (3, 3), 16, 24)
    plain = onednn.query(f"op=conv {conv.options} {conv.weights()}")
    assert plain["weights_plain"]
    assert plain["packed_bytes"] == conv.w.nbytes
    free = onednn.query(f"op=conv {conv.options} {conv.weights()} wei_reorder=1")
    packed = onednn.query(f"op=conv {conv.options} {conv.weights('any')} plain={conv.plain}")
    assert free == packed
    assert free["impl"]
    assert free["scratchpad_bytes"] >= 0


def test_a_call_that_does_not_fit_its_spec_is_an_error():
    x, w = random(4, 8), random(8, 2)
    result = jax.ShapeDtypeStruct((4, 2), jnp.float32)
    with pytest.raises(jax.errors.JaxRuntimeError, match="operand 1 has 32 bytes, the spec says 64"):
        run(MATMUL, result, x, w[:4]).block_until_ready()
    with pytest.raises(jax.errors.JaxRuntimeError, match="got 1 operands, the spec says 2"):
        run(MATMUL, result, x).block_until_ready()
    with pytest.raises(jax.errors.JaxRuntimeError, match="operand 0 does not have the spec's element type"):
        run(MATMUL, result, x.astype("int32"), w).block_until_ready()
    with pytest.raises(jax.errors.JaxRuntimeError, match="the result has 8 bytes"):
        run(MATMUL, jax.ShapeDtypeStruct((2,), jnp.float32), x, w).block_until_ready()
    with pytest.raises(jax.errors.JaxRuntimeError, match="missing token `src=`"):
        run("op=matmul", result, x, w)


def test_a_program_for_another_library_version_is_refused():
    call = jax.ffi.ffi_call(library.TARGET, jax.ShapeDtypeStruct((4, 2), jnp.float32))
    with pytest.raises(jax.errors.JaxRuntimeError, match=r"compiled for oneDNN 1\.0, loaded is"):
        jax.jit(lambda x, w: call(x, w, spec=MATMUL, version="1.0"))(random(4, 8), random(8, 2))


def test_threads_run_the_same_and_different_programs_at_once():
    functions = []
    for size in (8, 64, 100):
        conv = Convolution((size // 4, size // 4), (3, 3), 16, 32)
        spec = f"op=conv {conv.options} {conv.weights()} wei_reorder=1 inner=any"
        functions.append((jax.jit(partial(ffi_call, spec, like(conv.reference))), conv))

    def work(start):
        for step in range(30):
            function, conv = functions[(start + step) % len(functions)]
            assert_close(function(conv.x, conv.w), conv.reference)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(4)))


def test_a_thread_limit_changes_nothing_but_speed():
    conv = Convolution((28, 28), (3, 3), 32, 32)
    spec = f"op=conv {conv.options} {conv.weights()} wei_reorder=1"
    for threads in (1, 2):
        assert_close(run(f"{spec} threads={threads}", like(conv.reference), conv.x, conv.w), conv.reference)


def test_a_missing_library_is_a_reason(monkeypatch, tmp_path):
    monkeypatch.setenv("ONEDNN_ROOT", str(tmp_path))
    assert "libdnnl.so.3 in ONEDNN_ROOT" in library._load.__wrapped__().reason


def test_an_empty_batch_is_no_work():
    spec = f"op=matmul src={memory((0, 8))} wei={memory((8, 2))} dst={memory((0, 2))}"
    got = run(spec, jax.ShapeDtypeStruct((0, 2), jnp.float32), jnp.zeros((0, 8)), random(8, 2))
    assert got.shape == (0, 2)


def test_another_process_runs_the_program_from_the_compilation_cache(compilation_cache):
    program = textwrap.dedent(f"""
        import jax, jax.numpy as jnp
        from collage_jax.backends.onednn import library

        hits = []
        jax.monitoring.register_event_listener(lambda event, **_: hits.append(event.endswith("/cache_hits")))
        onednn = library.load()
        call = jax.ffi.ffi_call(library.TARGET, jax.ShapeDtypeStruct((4, 2), jnp.float32))
        f = jax.jit(lambda x, w: call(x, w, spec={MATMUL!r}, version=onednn.version()))
        print(float(f(jnp.ones((4, 8)), jnp.ones((8, 2))).sum()), sum(hits) > 0)
    """)
    for hit in (False, True):
        done = subprocess.run(
            [sys.executable, "-P", "-c", program],
            env=compilation_cache,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.stdout.split() == ["64.0", str(hit)], done.stderr
