"""cuBLASLt without a GPU: what it is asked for, and what programs for GPUs hold. Nothing here runs on a GPU.

A small library (``fake_cublaslt.c``) stands in for cuBLASLt: it computes on host memory what each call is documented to
mean, and writes down what it was asked for. The native code runs with it for JAX's CPU, without a stream.
"""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor
from importlib import metadata
from itertools import pairwise
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax import lax

from collage_jax import target
from collage_jax.backends import cublas
from collage_jax.backends.base import Unsupported
from collage_jax.backends.cublas import BACKEND, CuBLAS
from collage_jax.backends.cublas import library as loading
from collage_jax.backends.cublas.library import TARGET
from collage_jax.backends.cublas.product import bits_of
from collage_jax.ffi import native
from collage_jax.gpu.device import known
from collage_jax.gpu.libraries import CUBLASLT, opened
from collage_jax.graph.evaluate import callable_of
from collage_jax.graph.region import Region
from collage_jax.graph.trace import trace_function
from collage_jax.measure.compare import largest_error, tolerance
from collage_jax.patterns.recognise import recognise
from collage_jax.problem import problem_of

HERE = Path(__file__).parent
ROOT = HERE.parent
F16, BF16, F32, F64 = 2, 14, 0, 1  # cudaDataType_t
COMPUTE_32F, COMPUTE_TF32, COMPUTE_64F = 68, 77, 70  # cublasComputeType_t

needs_gcc = pytest.mark.skipif(shutil.which("gcc") is None, reason="a C compiler, gcc, is needed")


class Fake:
    """The library that stands in, and what it was asked for last."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.library = ctypes.CDLL(str(path))
        self.library.fake_last.restype = ctypes.c_char_p
        for name in ("alive", "handles", "searches", "calls"):
            getattr(self.library, f"fake_{name}").restype = ctypes.c_long

    def last(self):
        return json.loads(self.library.fake_last())

    def count(self, name):
        return getattr(self.library, f"fake_{name}")()


def compiled(path, *options):
    source = str(HERE / "fake_cublaslt.c")
    subprocess.run(["gcc", "-shared", "-fPIC", "-O2", *options, source, "-o", str(path), "-lm"], check=True)
    return path


@pytest.fixture(scope="module")
def module():
    return pytest.importorskip("collage_jax._cublas", reason="the extension _cublas was not built")


@pytest.fixture(scope="module")
def fake(module, tmp_path_factory):
    """cuBLASLt is the fake one, and its target is known to JAX's CPU, while these tests run."""
    if shutil.which("gcc") is None:
        pytest.skip("a C compiler, gcc, is needed")
    path = compiled(tmp_path_factory.mktemp("cublas") / "libfake.so")
    module.open(str(path))
    jax.local_devices(backend="cpu")
    for name, stages in module.host_type_registrations().items():
        jax.ffi.register_ffi_type(name, stages, platform="cpu")
    for name, stages in module.host_registrations().items():
        jax.ffi.register_ffi_target(name, stages, platform="cpu")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cublas, "load", lambda: module)
        yield Fake(path)


def graph_of(fun, *args):
    return recognise(trace_function(fun, *args))


def regions_of(fun, *args, device="sm_90", backend=BACKEND):
    """The regions that the backend proposes for a device, by label; all of them are supported."""
    graph = graph_of(fun, *args)
    with target.aiming_at(known(device)):
        found = {p.label: Region.of(graph, p.nodes) for p in backend.propose(graph) if p.refused is None}
        assert all(region.is_convex and backend.supports(region) is None for region in found.values())
    return found


def refusals_of(fun, *args, device="sm_90"):
    graph = graph_of(fun, *args)
    with target.aiming_at(known(device)):
        return [p.refused.reason for p in BACKEND.propose(graph) if p.refused is not None]


def emitted(region, device="sm_90", backend=BACKEND):
    with target.aiming_at(known(device)):
        return backend.emit(region)


def array(*shape, dtype="float32", seed=0):
    return jnp.asarray(np.random.default_rng([seed, *shape]).standard_normal(shape), dtype)


def check(region, **how):
    """That the region's kernel computes what JAX does, its own memory filled with NaN."""
    arrays = [array(*v.shape, dtype=v.dtype, seed=i) for i, v in enumerate(region.entries)]
    wanted = jax.jit(callable_of(region.nodes, region.entries, region.exits))(*arrays)
    got = jax.jit(emitted(region, **how))(*arrays)
    assert [g.dtype for g in got] == [w.dtype for w in wanted]
    assert largest_error(got, wanted) <= tolerance(region), region


def check_all(fun, *args, **how):
    found = regions_of(fun, *args, **how)
    for region in found.values():
        check(region, **how)
    return list(found)


# --- the declarations -------------------------------------------------------------------------------------------------

#: Asserts that ours are those of the header: values, sizes, places of fields, and of each function how arguments go.
ASSERTIONS = r"""
#include <cstddef>
#include <type_traits>
#include "cublasLt.h"
#include "abi.h"
using namespace collage::cublas;

template <typename A, typename B>
constexpr bool kAlike = sizeof(A) == sizeof(B) && std::is_pointer_v<A> == std::is_pointer_v<B> &&
                        std::is_floating_point_v<A> == std::is_floating_point_v<B>;
template <typename A, typename B>
struct Same : std::false_type {};
template <typename R, typename... A, typename S, typename... B>
struct Same<R (*)(A...), S (*)(B...)> {
  static constexpr bool value = [] {
    if constexpr (sizeof...(A) == sizeof...(B)) return kAlike<R, S> && (kAlike<A, B> && ...);
    return false;
  }();
};
#define FUNCTION(name) static_assert(Same<decltype(Functions::name), decltype(&cublasLt##name)>::value, #name)
FUNCTION(GetVersion); FUNCTION(GetStatusString); FUNCTION(Create); FUNCTION(MatmulDescCreate);
FUNCTION(MatmulDescDestroy); FUNCTION(MatmulDescSetAttribute); FUNCTION(MatrixLayoutCreate);
FUNCTION(MatrixLayoutDestroy); FUNCTION(MatrixLayoutSetAttribute); FUNCTION(MatmulPreferenceCreate);
FUNCTION(MatmulPreferenceDestroy); FUNCTION(MatmulPreferenceSetAttribute); FUNCTION(MatmulAlgoGetHeuristic);
FUNCTION(Matmul);

#define VALUE(ours, theirs) static_assert(int(ours) == int(theirs), #theirs)
VALUE(kSuccess, CUBLAS_STATUS_SUCCESS);
VALUE(kF32, CUDA_R_32F); VALUE(kF64, CUDA_R_64F); VALUE(kF16, CUDA_R_16F); VALUE(kBF16, CUDA_R_16BF);
VALUE(kCompute32F, CUBLAS_COMPUTE_32F); VALUE(kCompute64F, CUBLAS_COMPUTE_64F);
VALUE(kCompute32FFastTF32, CUBLAS_COMPUTE_32F_FAST_TF32); VALUE(kN, CUBLAS_OP_N); VALUE(kT, CUBLAS_OP_T);
VALUE(kTransA, CUBLASLT_MATMUL_DESC_TRANSA); VALUE(kTransB, CUBLASLT_MATMUL_DESC_TRANSB);
VALUE(kEpilogueAttribute, CUBLASLT_MATMUL_DESC_EPILOGUE); VALUE(kBiasPointer, CUBLASLT_MATMUL_DESC_BIAS_POINTER);
VALUE(kBatchCount, CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT);
VALUE(kBatchStride, CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET);
VALUE(kMaxWorkspace, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES);
VALUE(kMinAlignmentA, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES);
VALUE(kMinAlignmentB, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES);
VALUE(kMinAlignmentC, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES);
VALUE(kMinAlignmentD, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES);
VALUE(kDefault, CUBLASLT_EPILOGUE_DEFAULT); VALUE(kRelu, CUBLASLT_EPILOGUE_RELU); VALUE(kBias, CUBLASLT_EPILOGUE_BIAS);
VALUE(kReluBias, CUBLASLT_EPILOGUE_RELU_BIAS); VALUE(kGelu, CUBLASLT_EPILOGUE_GELU);
VALUE(kGeluBias, CUBLASLT_EPILOGUE_GELU_BIAS); VALUE(kBiasGradientA, CUBLASLT_EPILOGUE_BGRADA);
VALUE(kBiasGradientB, CUBLASLT_EPILOGUE_BGRADB); VALUE(kGeluAux, CUBLASLT_EPILOGUE_GELU_AUX);
VALUE(kGeluAuxBias, CUBLASLT_EPILOGUE_GELU_AUX_BIAS); VALUE(kReluGradient, CUBLASLT_EPILOGUE_DRELU);
VALUE(kReluBiasGradient, CUBLASLT_EPILOGUE_DRELU_BGRAD); VALUE(kGeluGradient, CUBLASLT_EPILOGUE_DGELU);
VALUE(kGeluBiasGradient, CUBLASLT_EPILOGUE_DGELU_BGRAD);
VALUE(kAuxPointer, CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_POINTER);
VALUE(kAuxLeadingDimension, CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_LD);
VALUE(kAuxBatchStride, CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_BATCH_STRIDE);

#define PLACE(ours, theirs) \
  static_assert(offsetof(Heuristic, ours) == offsetof(cublasLtMatmulHeuristicResult_t, theirs), #theirs)
static_assert(sizeof(Algorithm) == sizeof(cublasLtMatmulAlgo_t) && alignof(Algorithm) == alignof(cublasLtMatmulAlgo_t));
static_assert(sizeof(Heuristic) == sizeof(cublasLtMatmulHeuristicResult_t));
PLACE(algorithm, algo); PLACE(workspace, workspaceSize); PLACE(state, state); PLACE(waves, wavesCount);
PLACE(reserved, reserved);
"""


def header_folders():
    """Where the header and those that it includes lie, by the wheels that have them."""
    folders = []
    for wheel, name in (("nvidia-cublas", "cublasLt.h"), ("nvidia-cuda-runtime", "cuda_runtime_api.h")):
        try:
            file = native.file_of(wheel, name)
        except metadata.PackageNotFoundError:
            pytest.skip(f"the header {name} of {wheel} is needed")
        folders.append(str(file.parent))
    return folders


def assertions_fail(folder, text):
    source = folder / "assertions.cc"
    source.write_text(text)
    paths = [f"-I{path}" for path in header_folders()]
    command = ["g++", "-std=c++17", "-fsyntax-only", *paths, f"-I{ROOT / 'csrc' / 'cublas'}", str(source)]
    return subprocess.run(command, capture_output=True, text=True, check=False).stderr


@pytest.mark.skipif(shutil.which("g++") is None, reason="a C++ compiler, g++, is needed")
@pytest.mark.skipif(not (ROOT / "csrc").exists(), reason="the sources are needed")
def test_the_declarations_are_those_of_the_header(tmp_path):
    assert assertions_fail(tmp_path, ASSERTIONS) == ""
    # The comparison sees what is wrong: a function with other arguments, a value, a place.
    for wrong in (
        "Same<decltype(Functions::Create), decltype(&cublasLtMatmul)>::value",
        "kRelu == CUBLASLT_EPILOGUE_BIAS",
    ):
        assert "static assertion failed" in assertions_fail(tmp_path, f"{ASSERTIONS}\nstatic_assert({wrong});")


# --- what is computed -------------------------------------------------------------------------------------------------

#: What may follow a product, by name.
TAILS = {
    "scale": lambda y: y * 0.5,
    "divide": lambda y: y / 3.0,
    "bias": lambda y: y + array(y.shape[-1], dtype=y.dtype, seed=1),
    "bias_first": lambda y: array(*[1] * (y.ndim - 1), y.shape[-1], dtype=y.dtype, seed=2) + y,
    "residual": lambda y: array(*y.shape, dtype=y.dtype, seed=3) + y,
    "minus": lambda y: array(*y.shape, dtype=y.dtype, seed=4) - y,
    "less": lambda y: y - array(*y.shape, dtype=y.dtype, seed=5),
    "relu": jax.nn.relu,
    "gelu": lambda y: jax.nn.gelu(y, approximate=True),
}
ORDERS = [
    "", "relu", "gelu", "bias", "bias relu", "bias gelu", "scale bias relu", "residual relu", "residual bias gelu",
    "bias_first residual relu", "divide residual", "scale minus", "less bias", "scale gelu",
]  # fmt: skip


def with_tail(y, names):
    for name in names.split():
        y = TAILS[name](y)
    return y


@st.composite
def dots(draw):
    """Any product: batch, free and contracted axes in any order, perhaps between transposes, and what follows."""
    sizes = st.integers(1, 7)
    counts = draw(st.integers(0, 2)), draw(st.integers(0, 2)), draw(st.integers(0, 2)), draw(st.integers(0, 2))
    batch, left, right, summed = (tuple(draw(sizes) for _ in range(count)) for count in counts)
    sides = []
    for free in (left, right):
        names = [("b", i) for i in range(len(batch))] + [("f", i) for i in range(len(free))]
        names += [("c", i) for i in range(len(summed))]
        order = draw(st.permutations(names))
        extent = {"b": batch, "f": free, "c": summed}
        shape = tuple(extent[kind][i] for kind, i in order)
        axes = {kind: tuple(order.index((kind, i)) for i in range(len(extent[kind]))) for kind in "bc"}
        turn = tuple(draw(st.permutations(range(len(order))))) if draw(st.booleans()) else None
        sides.append((shape, axes, turn))
    (shape, axes, turn), (other_shape, other_axes, other_turn) = sides
    numbers = ((axes["c"], other_axes["c"]), (axes["b"], other_axes["b"]))
    result_turn = tuple(draw(st.permutations(range(sum(counts[:3]))))) if draw(st.booleans()) else None
    names = draw(st.sampled_from(ORDERS))

    def fun(x, w):
        x, w = (v if t is None else v.transpose(np.argsort(t)) for v, t in ((x, turn), (w, other_turn)))
        y = lax.dot_general(x, w, numbers)
        return with_tail(y if result_turn is None or y.ndim == 0 else y.transpose(result_turn), names)

    stored = lambda shape, turn: shape if turn is None else tuple(shape[a] for a in turn)  # noqa: E731
    return fun, stored(shape, turn), stored(other_shape, other_turn)


@settings(max_examples=2 * settings.default.max_examples, deadline=None)
@given(dots())
def test_products_compute_what_jax_does(fake, case):
    fun, shape, other = case
    before = fake.count("calls")
    labels = check_all(fun, array(*shape), array(*other, seed=1))
    assert fake.count("calls") - before == len(labels) >= 1
    assert fake.last()["stream"] == 0


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("names", ["", "bias relu", "residual bias gelu", "scale minus"])
def test_narrow_products(fake, names, dtype):
    check_all(lambda x, w: with_tail(x @ w, names), array(5, 12, dtype=dtype), array(12, 9, dtype=dtype))
    last = fake.last()
    wanted = {"float16": F16, "bfloat16": BF16}[dtype]
    assert [last[name][0] for name in "abcd"] == [wanted] * 4
    assert (last["compute"], last["scale"]) == (COMPUTE_32F, F32)


@pytest.mark.parametrize("names", ["", "bias relu", "residual gelu"])
def test_narrow_operands_give_float32(fake, names):
    def fun(x, w):
        return with_tail(lax.dot(x, w, preferred_element_type=jnp.float32), names)

    assert check_all(fun, array(5, 12, dtype="bfloat16"), array(12, 9, dtype="bfloat16"))
    assert [fake.last()[name][0] for name in "abd"] == [BF16, BF16, F32]


def test_float64_has_factors_and_a_summand_alone(fake):
    with jax.enable_x64(True):
        x, w = array(5, 12, dtype="float64"), array(12, 9, dtype="float64")
        assert check_all(lambda x, w: with_tail(x @ w / 3.0, "residual bias relu"), x, w)[-1] == "dot+scale+sum"
        last = fake.last()
    assert (last["compute"], last["scale"], last["a"][0], last["d"][0]) == (COMPUTE_64F, F64, F64, F64)
    assert last["alpha"] == 1 / 3.0 and last["beta"] == 1.0  # not rounded to float32


# --- what the library is asked for ------------------------------------------------------------------------------------


def asked(fake, fun, *args, **how):
    """What the library was asked for by the longest region."""
    region = list(regions_of(fun, *args, **how).values())[-1]
    check(region, **how)
    return fake.last()


def test_a_row_major_product_is_the_transposed_one_in_columns(fake):
    last = asked(fake, lambda x, w: x @ w, array(5, 12), array(12, 9))
    # A is w: 9 x 12 in columns; B is x: 12 x 5; the result 9 x 5. Type, rows, columns, distance, batch, stride.
    assert (last["transa"], last["transb"]) == (0, 0)
    assert last["a"] == [F32, 9, 12, 9, 1, 0] and last["b"] == [F32, 12, 5, 12, 1, 0]
    assert last["d"] == last["c"] == [F32, 9, 5, 9, 1, 0] and not last["separate_c"]


@pytest.mark.parametrize(
    ("spec", "shapes", "transposed", "leading"),
    [
        ("mk,kn->mn", ((5, 12), (12, 9)), (0, 0), (9, 12, 9)),
        ("km,kn->mn", ((12, 5), (12, 9)), (0, 1), (9, 5, 9)),
        ("mk,nk->mn", ((5, 12), (9, 12)), (1, 0), (12, 12, 9)),
        ("km,nk->mn", ((12, 5), (9, 12)), (1, 1), (12, 5, 9)),
        ("mk,kn->nm", ((5, 12), (12, 9)), (1, 1), (12, 9, 5)),
    ],
)
def test_transposes_are_told_not_made(fake, spec, shapes, transposed, leading):
    last = asked(fake, lambda x, w: jnp.einsum(spec, x, w), *(array(*shape) for shape in shapes))
    assert (last["transa"], last["transb"]) == transposed
    assert tuple(last[name][3] for name in "abd") == leading


def test_heads_are_batches_by_strides(fake):
    def scores(q, k):
        return jnp.einsum("qhd,khd->hqk", q, k)

    region = regions_of(scores, array(6, 3, 8), array(7, 3, 8))["dot"]
    assert "transpose" not in str(jax.make_jaxpr(emitted(region))(*(jnp.zeros(v.shape) for v in region.entries)))
    check(region)
    last = fake.last()
    assert last["b"] == [F32, 8, 6, 24, 3, 8] and last["a"] == [F32, 8, 7, 24, 3, 8]
    assert last["d"] == [F32, 7, 6, 7, 3, 42]


def test_axes_in_no_line_are_transposed_first(fake):
    region = regions_of(lambda x, w: jnp.einsum("abcd,bdn->acn", x, w), array(2, 3, 4, 5), array(3, 5, 6))["dot"]
    assert "transpose" in str(jax.make_jaxpr(emitted(region))(*(jnp.zeros(v.shape) for v in region.entries)))
    check(region)


def test_an_array_that_only_one_side_can_read_before_its_transposition(fake):
    def fun(x):
        turned = x.transpose(1, 0, 2)
        return lax.dot_general(turned, turned, (((1,), (2,)), ((), ())))

    # Both sides read the transposed array, which so is no part of the region.
    assert check_all(fun, array(3, 3, 3)) == ["dot"]


@pytest.mark.parametrize(
    ("names", "epilogue", "alpha", "beta"),
    [
        ("bias", 4, 1, 0), ("relu", 2, 1, 0), ("bias relu", 6, 1, 0), ("gelu", 32, 1, 0), ("bias gelu", 36, 1, 0),
        ("scale", 1, 0.5, 0), ("residual", 1, 1, 1), ("less", 1, 1, -1), ("scale minus", 1, -0.5, 1),
        ("scale bias residual relu", 6, 0.5, 1),
    ],
)  # fmt: skip
def test_what_follows_is_the_epilogue(fake, names, epilogue, alpha, beta):
    last = asked(fake, lambda x, w: with_tail(x @ w, names), array(5, 12), array(12, 9))
    assert (last["epilogue"], last["alpha"], last["beta"]) == (epilogue, alpha, beta)
    assert bool(last["separate_c"]) == (beta != 0)


def test_what_cannot_be_fused_is_left_outside(fake):
    x, w = array(5, 12), array(12, 9)
    labels = lambda fun: list(regions_of(fun, x, w))  # noqa: E731
    assert labels(lambda x, w: jax.nn.gelu(x @ w, approximate=False)) == ["dot"]
    assert labels(lambda x, w: x @ w + array(5, 1)) == ["dot"]  # one number for each row
    assert labels(lambda x, w: jax.nn.relu(x @ w) + array(9)) == ["dot", "dot+relu"]
    assert labels(lambda x, w: jnp.tanh(x @ w)) == ["dot"]
    # Several axes in one line: a bias along the last alone is shorter than the line.
    wide = array(12, 3, 3)
    assert list(regions_of(lambda x, w: jnp.tensordot(x, w, 1) + array(3), x, wide)) == ["dot"]


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_gradients_of_weights_and_bias_are_one_call(fake, turned, dtype):
    def loss(w, b, x, g):
        y = jnp.einsum("nk,bk->bn", w, x) if turned else x @ w
        return jnp.vdot(y + b, g)

    def gradients(x, g, w, b):
        return jax.grad(loss, (0, 1))(w, b, x, g)

    shape = (9, 12) if turned else (12, 9)
    args = [array(*s, dtype=dtype, seed=i) for i, s in enumerate([(33, 12), (33, 9), shape, (9,)])]
    labels = check_all(gradients, *args)
    together = [label for label in labels if "bias_gradient" in label]
    assert together, labels
    last = asked(fake, gradients, *args)
    assert last["epilogue"] in (256, 512)


def test_sums_over_other_axes_stay_outside(fake):
    def fun(x, g):
        return x.T @ g, g.sum(1)

    assert list(regions_of(fun, array(33, 12), array(33, 9))) == ["dot", "transpose+dot"]


# --- gradients of activations -----------------------------------------------------------------------------------------

GELU, RELU = (lambda x: jax.nn.gelu(x, approximate=True)), jax.nn.relu
DRELU, DRELU_BGRAD, DGELU, DGELU_BGRAD, GELU_AUX, GELU_AUX_BIAS = 136, 152, 192, 208, 160, 164  # cublasLtEpilogue_t


def through(activation, y, dy):
    """The activation of y, and its gradient for that of its result."""
    result, gradient = jax.vjp(activation, y)
    return result, gradient(dy)[0]


#: Products by the shapes of their operands, and how many last axes of the result are its line.
PLACES = {
    "mk,kn->mn": 1, "mk,nk->mn": 1, "km,kn->mn": 1, "mk,kn->nm": 1, "bmk,bkn->bmn": 1, "mbk,bkn->mbn": 1,
    "abk,kn->abn": 1, "mk,khd->mhd": 2,
}  # fmt: skip


@st.composite
def slopes(draw):
    """The gradient of an activation after some product, perhaps with more between and a sum of it."""
    spec = draw(st.sampled_from(sorted(PLACES)))
    extent = {axis: draw(st.one_of(st.integers(1, 5), st.sampled_from([7, 8, 16, 24]))) for axis in "abmknhd"}
    left, right, result = spec.replace("->", ",").split(",")
    shapes = [tuple(extent[axis] for axis in axes) for axes in (left, right, result)]
    between = draw(st.sampled_from(["", "scale", "residual", "scale residual"]))
    summed, is_gelu = draw(st.booleans()), draw(st.booleans())

    def fun(dy, w, y):
        given = with_tail(jnp.einsum(spec, dy, w), between)
        result, gradient = through(GELU if is_gelu else RELU, y, given)
        return result, gradient, gradient.sum(tuple(range(y.ndim - PLACES[spec]))) if summed else None

    dtype = draw(st.sampled_from(["float32", "float32", "float16", "bfloat16"]))
    line = int(np.prod(shapes[2][-PLACES[spec] :]))
    fits = extent["k"] > 1 and (line % 8 == 0 or not is_gelu)
    has_sum = fits and summed and not spec.startswith(("b", "mb")) and (len(shapes[2]) > PLACES[spec])
    return fun, [array(*shape, dtype=dtype, seed=i) for i, shape in enumerate(shapes)], is_gelu, fits, has_sum


@settings(max_examples=2 * settings.default.max_examples, deadline=None)
@given(slopes())
def test_gradients_of_activations_compute_what_jax_does(fake, case):
    fun, arrays, is_gelu, fits, has_sum = case
    labels = check_all(fun, *arrays)
    name = "gelu_gradient" if is_gelu else "relu_gradient"
    assert any(label.endswith(name) for label in labels) == fits, labels
    if has_sum and arrays[2].dtype == jnp.float32:  # in narrow types JAX's own sum widens first
        assert any(label.endswith(f"{name}+bias_gradient") for label in labels), labels


def loss(activation, weights, x, wanted):
    for w, b in weights[:-1]:
        x = activation(x @ w + b)
    w, b = weights[-1]
    return jnp.mean((x @ w + b - wanted) ** 2)


def step(activation):
    """A step of training a network of three layers."""

    def fun(weights, x, wanted):
        gradients = jax.grad(lambda weights: loss(activation, weights, x, wanted))(weights)
        return jax.tree.map(lambda w, g: w - 0.1 * g, weights, gradients)

    return fun


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("activation", ["relu", "gelu"])
def test_a_step_of_training(fake, activation, dtype):
    sizes = (12, 24, 16, 5)
    weights = [(array(a, b, dtype=dtype, seed=a), array(b, dtype=dtype, seed=b)) for a, b in pairwise(sizes)]
    closed = jax.jit(step({"relu": RELU, "gelu": GELU}[activation])).trace(
        weights, array(33, 12, dtype=dtype), array(33, 5, dtype=dtype)
    )
    graph = problem_of(closed.jaxpr, ()).split.each
    with target.aiming_at(known("sm_90")):
        found = [(p.label, Region.of(graph, p.nodes)) for p in BACKEND.propose(graph) if p.refused is None]
    labels = [label for label, _ in found]
    assert sum(label.endswith(f"{activation}_gradient+bias_gradient") for label in labels) == 2, labels
    assert sum(label == f"dot+bias+{activation}" for label in labels) == 2, labels
    asked_for = set()
    for label, region in found:
        assert region.is_convex, label
        check(region)
        asked_for.add(fake.last()["epilogue"])
    assert asked_for > ({DRELU_BGRAD, 6, 256} if activation == "relu" else {DGELU_BGRAD, GELU_AUX_BIAS, 256})


@pytest.mark.parametrize(
    ("shape", "activation", "epilogue", "aux"),
    [
        ((5, 9), RELU, DRELU, [128, 128 * 5]),
        ((5, 130), RELU, DRELU, [256, 256 * 5]),
        ((5, 16), GELU, DGELU, [16, 80]),
    ],
)
def test_what_goes_with_a_gradient(fake, shape, activation, epilogue, aux):
    def fun(dy, w, y):
        return through(activation, y, dy @ w)

    m, n = shape
    last = asked(fake, fun, array(m, 12), array(12, n), array(m, n))
    assert (last["epilogue"], last["aux"]) == (epilogue, [aux[0], 0])
    batched = asked(
        fake, lambda dy, w, y: through(activation, y, dy @ w), array(3, m, 12), array(3, 12, n), array(3, m, n)
    )
    assert (batched["epilogue"], batched["aux"]) == (epilogue, aux)


def test_a_gelu_gives_what_its_gradient_asks_for(fake):
    def fun(x, w, b, dy):
        return through(GELU, x @ w + b, dy)

    args = array(5, 12), array(12, 16), array(16), array(5, 16)
    assert check_all(fun, *args) == ["dot", "dot+bias", "dot+bias+gelu"]
    assert fake.last()["epilogue"] == GELU_AUX_BIAS and fake.last()["aux"] == [16, 0]
    assert list(regions_of(fun, args[0], array(12, 9), array(9), array(5, 9))) == ["dot", "dot+bias"]
    assert check_all(lambda x, w: (x @ w, GELU(x @ w)), *args[:2])[-1] == "dot+gelu"
    assert fake.last()["epilogue"] == GELU_AUX


def test_a_gradient_that_cannot_be_part_says_why(fake):
    def after(activation, more=lambda d: d):
        return lambda dy, w, y: through(activation, y, more(dy @ w))

    shapes = (5, 12), (12, 16), (5, 16)
    args = [array(*shape) for shape in shapes]
    assert not refusals_of(after(GELU), *args)
    odd = array(5, 12), array(12, 9), array(5, 9)
    assert "in lines of a multiple of 8, got 9" in refusals_of(after(GELU), *odd)[0]
    assert not refusals_of(after(RELU), *odd)
    for activation in (GELU, RELU):
        assert "with no bias" in refusals_of(after(activation, lambda d: d + array(16)), *args)[0]
        flat = array(5, 1), array(1, 16), array(5, 16)
        assert "more than one product" in refusals_of(after(activation), *flat)[0]
    assert list(regions_of(after(lambda x: jax.nn.gelu(x, approximate=False)), *args)) == ["dot"]
    with jax.enable_x64(True):
        wide = [array(*shape, dtype="float64") for shape in shapes]
        assert "not in float64" in refusals_of(after(RELU), *wide)[0]


@pytest.mark.parametrize("line", [1, 9, 128, 130])
def test_bits_as_they_are_documented(line):
    """Bit i % 8 of byte i // 8 is that of the element i of a line, and a line is filled up to 128 bits."""
    y = np.array([[1.0, -1, 0, -0.0, np.nan, np.inf, -np.inf, 1e-30] * 17] * 3, np.float32)[:, :line]
    packed = np.asarray(bits_of(jnp.asarray(y), line))
    assert packed.shape == (3, -(-line // 128) * 16) and packed.dtype == np.uint8
    bits = packed[:, np.arange(packed.shape[1] * 8) // 8] >> (np.arange(packed.shape[1] * 8) % 8) & 1
    with np.errstate(invalid="ignore"):
        np.testing.assert_array_equal(bits[:, :line], y > 0)
    assert not bits[:, line:].any()


# --- precision, devices, refusals -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("precision", "device", "compute"),
    [
        (None, "sm_90", COMPUTE_TF32),
        ("default", "sm_80", COMPUTE_TF32),
        ("high", "sm_90", COMPUTE_TF32),
        ("highest", "sm_90", COMPUTE_32F),
        (None, "sm_75", COMPUTE_32F),
        ("highest", "sm_75", COMPUTE_32F),
    ],
)
def test_float32_is_rounded_as_xla_does(fake, precision, device, compute):
    fun = lambda x, w: jnp.matmul(x, w, precision=precision)  # noqa: E731
    assert asked(fake, fun, array(5, 12), array(12, 9), device=device)["compute"] == compute


def test_the_default_precision_is_heeded(fake):
    with jax.default_matmul_precision("highest"):
        assert asked(fake, jnp.matmul, array(5, 12), array(12, 9))["compute"] == COMPUTE_32F


def test_refusals_say_why():
    x, w = array(5, 12), array(12, 9)
    narrow = [v.astype("bfloat16") for v in (x, w)]
    assert (
        "takes a GPU of compute capability 8.0, Tesla T4 has 7.5" in refusals_of(jnp.matmul, *narrow, device="sm_75")[0]
    )
    assert refusals_of(jnp.matmul, *narrow, device="sm_80") == []
    integers = [v.astype("int32") for v in (x, w)]
    assert "got int32 and int32 giving int32" in refusals_of(jnp.matmul, *integers)[0]
    assert "an array is empty" in refusals_of(jnp.matmul, jnp.zeros((0, 12)), w)[0]
    preset = lambda x, w: lax.dot(x, w, precision="BF16_BF16_F32_X3")  # noqa: E731
    assert "a particular algorithm is asked for" in refusals_of(preset, x, w)[0]
    huge = jax.ShapeDtypeStruct((1 << 31, 1), "float16")
    assert "32 bits" in refusals_of(lambda x: x @ x.T[:, :1], huge)[0]


def test_other_regions_are_refused():
    graph = graph_of(lambda x, w: jnp.tanh(x @ w), array(5, 12), array(12, 9))
    with target.aiming_at(known("sm_90")):
        assert "tanh cannot be done" in BACKEND.supports(Region.of(graph, graph.nodes)).reason
        assert "one product" in BACKEND.supports(Region.of(graph, graph.nodes[-1:])).reason
        with pytest.raises(ValueError, match="cublas cannot run"):
            BACKEND.emit(Region.of(graph, graph.nodes[-1:]))
    assert "NVIDIA" in BACKEND.supports(Region.of(graph, graph.nodes[:1])).reason  # for a CPU
    inner = graph_of(lambda x, w: (x @ w, jax.nn.relu(x @ w)), array(5, 12), array(12, 9))
    with target.aiming_at(known("sm_90")):
        assert "relu cannot be done" in BACKEND.supports(Region.of(inner, inner.nodes)).reason


def test_availability(fake, monkeypatch):
    with target.aiming_at(known("sm_90")):
        assert BACKEND.available() is None
        assert BACKEND.version() == "cuBLASLt 999000"
    here = target.Target("gpu", known("sm_90"), is_here=True)
    monkeypatch.setattr(target, "current", lambda: here)
    monkeypatch.setattr(cublas, "driver_missing", lambda: "no NVIDIA driver is installed")
    assert BACKEND.available() == Unsupported("no NVIDIA driver is installed")
    monkeypatch.setattr(cublas, "driver_missing", lambda: None)
    assert BACKEND.available() is None


def test_what_is_missing_is_named(monkeypatch):
    monkeypatch.setattr(cublas, "load", loading._load.__wrapped__)
    monkeypatch.setattr(loading, "opened", lambda library: Unsupported(f"pip install {library.releases[0][1]}"))
    assert "nvidia-cublas" in BACKEND.missing().reason
    monkeypatch.setattr(loading, "opened", lambda library: "libcublasLt.so.13")
    monkeypatch.setattr(loading, "EXTENSION", "_not_built")
    assert "its extension cannot be imported" in BACKEND.missing().reason


# --- algorithms -------------------------------------------------------------------------------------------------------


def test_each_form_takes_another_algorithm(fake):
    assert [form.name for form in BACKEND.forms()] == ["cublas@1", "cublas@2"]
    assert not BACKEND.forms()[0].forms()
    for rank, backend in enumerate((BACKEND, *BACKEND.forms())):
        last = asked(fake, jnp.matmul, array(5, 12), array(12, 9), backend=backend)
        assert last["rank"] == rank and last["workspace"] == 1024 << rank


def test_an_algorithm_that_there_is_not_is_an_error(fake):
    region = regions_of(jnp.matmul, array(5, 12), array(12, 9))["dot"]
    arrays = array(5, 12), array(12, 9)
    with pytest.raises(jax.errors.JaxRuntimeError, match="knows 3 algorithms for this product, and number 4"):
        jax.jit(emitted(region, backend=CuBLAS(3)))(*arrays)
    fake.library.fake_algorithms(0)
    try:
        with pytest.raises(jax.errors.JaxRuntimeError, match="cannot choose an algorithm: not supported"):
            jax.jit(emitted(region))(*arrays)
    finally:
        fake.library.fake_algorithms(3)


@pytest.mark.parametrize(
    ("columns", "device", "limit"),
    [(9, "sm_90", 64 << 10), (512, "sm_90", 32 << 20), (512, "sm_80", 8 << 20)],
)
def test_memory_to_work_in(fake, columns, device, limit):
    assert asked(fake, jnp.matmul, array(512, 1), array(1, columns), device=device)["limit"] == (
        limit if columns == 512 else -(-32 * 4 * 512 * columns // limit) * limit
    )


def test_threads_share_a_call(fake):
    run = jax.jit(emitted(regions_of(lambda x, w: x @ w + array(9), array(64, 12), array(12, 9))["dot+bias"]))
    rows = [(array(64, 12, seed=i), array(12, 9, seed=i), array(9, seed=i)) for i in range(8)]
    jax.block_until_ready(run(*rows[0]))
    searches, alive, handles = (fake.count(name) for name in ("searches", "alive", "handles"))
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda args: np.asarray(run(*args)[0]), rows * 8))
    for args, result in zip(rows * 8, results, strict=True):
        np.testing.assert_allclose(result, args[0] @ args[1] + args[2], rtol=1e-5, atol=1e-5)
    # An algorithm is chosen once for each alignment that arrays turned up with, and descriptions are given back.
    assert fake.count("searches") - searches <= 4
    assert fake.count("alive") == alive and fake.count("handles") == handles == 1


def test_descriptions_go_with_the_program(fake):
    region = regions_of(jnp.matmul, array(5, 12), array(12, 9))["dot"]
    run = jax.jit(emitted(region)).lower(array(5, 12), array(12, 9)).compile()
    run(array(5, 12), array(12, 9))
    held = fake.count("alive")
    del run
    jax.clear_caches()
    assert fake.count("alive") < held


# --- errors -----------------------------------------------------------------------------------------------------------

GOOD = (
    "operand=f32 result=f32 compute=f32 sizes=9x5x12x1 a=0x9x0 b=0x12x0 d=9x0 alpha=1.0 beta=0.0 epilogue=default "
    "rank=0 workspace=65536"
)


def called(spec, version="999000", results=((5, 9),), workspace=65536 + 256, **how):
    shapes = [
        *(jax.ShapeDtypeStruct(shape, jnp.float32) for shape in results),
        jax.ShapeDtypeStruct((workspace,), "uint8"),
    ]
    return jax.jit(lambda x, w: jax.ffi.ffi_call(TARGET, shapes)(w, x, spec=spec, version=version))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("operand=f32", "operand=f8"), "one of f16, bf16, f32, f64 is needed"),
        (("result=f32", "result=f16"), "a result has its operands' type"),
        (("compute=f32", "compute=f64"), "compute=f64 is for operands in f64"),
        (("sizes=9x5x12x1", "sizes=9x5x12"), "4 numbers are needed"),
        (("sizes=9x5x12x1", "sizes=9x0x12x1"), "out of range"),
        (("sizes=9x5x12x1", "sizes=9x5x12x3000000000"), "more than cuBLASLt can count"),
        (("a=0x9x0", "a=0x8x0"), "a has columns of 9 elements at a distance of 8"),
        (("b=0x12x0", "b=2x12x0"), "b is transposed, 1, or not, 0; got 2"),
        (("alpha=1.0", "alpha=inf"), "a finite number is needed"),
        (("epilogue=default", "epilogue=tanh"), "one of default, bias, relu"),
        (("beta=0.0", "beta=1.0"), None),
        (("epilogue=default", "epilogue=bgrada"), None),
        (("epilogue=default", "epilogue=drelu aux=128x0"), None),
        (("epilogue=default", "epilogue=gelu_aux aux=16x0"), None),
        (("epilogue=default", "epilogue=drelu"), "missing token `aux=`"),
        (("epilogue=default", "epilogue=relu aux=128x0"), "there is no such option"),
        (("epilogue=default", "epilogue=drelu aux=64x0"), "a distance of 64, a multiple of 128 is needed"),
        (("epilogue=default", "epilogue=dgelu aux=16x4"), "a distance of 4, a multiple of 8 is needed"),
        (("epilogue=default", "epilogue=dgelu_bgrad aux=8x0"), "aux has columns of 9 elements at a distance of 8"),
        (("rank=0", "rank=64"), "it is below 64"),
        (("rank=0", "rank=0 colour=1"), "there is no such option"),
        (("alpha=1.0 ", ""), "missing token `alpha=`"),
    ],
)
def test_a_bad_spec_is_refused_when_it_is_compiled(fake, change, message):
    lowered = called(GOOD.replace(*change)).lower(array(5, 12), array(12, 9))
    if message is None:  # good in itself, and then there are too few arrays
        with pytest.raises(jax.errors.JaxRuntimeError, match="another number of operands or results"):
            lowered.compile()(array(5, 12), array(12, 9))
        return
    with pytest.raises(jax.errors.JaxRuntimeError, match=message):
        lowered.compile()


def test_specs_that_contradict_themselves(fake):
    for change, message in {
        "beta=1.0 epilogue=bgrada": "nothing is added",
        "sizes=9x5x12x2 epilogue=drelu_bgrad aux=128x640": "of a single product",
        "operand=f64 result=f64 compute=f64 epilogue=relu": "products in f64 have no epilogue",
    }.items():
        spec = GOOD
        for token in change.split():
            key = token.split("=")[0]
            spec = " ".join([*(word for word in spec.split() if not word.startswith(f"{key}=")), token])
        with pytest.raises(jax.errors.JaxRuntimeError, match=message):
            called(spec).lower(array(5, 12), array(12, 9)).compile()


def test_arrays_of_other_sizes_are_refused(fake):
    run = called(GOOD)
    np.testing.assert_allclose(run(array(5, 12), array(12, 9))[0], array(5, 12) @ array(12, 9), rtol=1e-4, atol=1e-5)
    for shapes, how, message in (
        (((5, 12), (12, 8)), {}, "operand a has 384 bytes, the product takes 432"),
        (((5, 12), (12, 9)), {"results": ((5, 8),)}, "result d has 160 bytes, the product takes 180"),
        (((5, 12), (12, 9)), {"workspace": 65536}, "the workspace has 65536 bytes, the product takes 65792"),
    ):
        with pytest.raises(jax.errors.JaxRuntimeError, match=message):
            called(GOOD, **how)(*(array(*shape) for shape in shapes))


def test_another_version_is_refused(fake):
    with pytest.raises(
        jax.errors.JaxRuntimeError, match="compiled for cuBLASLt 120000, loaded is 999000: compile it again"
    ):
        called(GOOD, version="120000").lower(array(5, 12), array(12, 9)).compile()


@needs_gcc
def test_a_library_that_lacks_something_is_refused(module, fake, tmp_path):
    lacking = compiled(tmp_path / "liblacking.so", "-DcublasLtMatmulDescDestroy=another_name")
    with pytest.raises(RuntimeError, match="no function cublasLtMatmulDescDestroy: cuBLASLt of CUDA 12"):
        module.open(str(lacking))
    with pytest.raises(RuntimeError, match="cannot open shared object file"):
        module.open(str(tmp_path / "nothing.so"))
    assert module.version() == "999000"  # the one before goes on


# --- programs for GPUs ------------------------------------------------------------------------------------------------


def test_the_lowered_program_names_the_target_and_what_to_compute(fake):
    region = regions_of(lambda x, w: jax.nn.relu(x @ w + array(9)), array(5, 12), array(12, 9))["dot+bias+relu"]
    arrays = array(5, 12), array(12, 9), array(9)
    lowered = jax.jit(emitted(region)).trace(*arrays).lower(lowering_platforms=("cuda",)).as_text()
    calls = [line.strip() for line in lowered.splitlines() if TARGET in line]
    spec = (
        "operand=f32 result=f32 compute=tf32 sizes=9x5x12x1 a=0x9x0 b=0x12x0 d=9x0 alpha=1.0 beta=0.0 "
        "epilogue=relu_bias rank=0 workspace=65536"
    )
    assert len(calls) == 1
    assert f'spec = "{spec}", version = "999000"' in calls[0]
    assert "(tensor<12x9xf32>, tensor<5x12xf32>, tensor<9xf32>) -> (tensor<5x9xf32>, tensor<65792xui8>)" in calls[0]


CHILD = """
    import jax, jax.numpy as jnp
    from collage_jax import target
    from collage_jax.backends.cublas import BACKEND
    from collage_jax.backends.cublas.library import TARGET, load
    from collage_jax.gpu.device import known
    from collage_jax.gpu.xla_target import sharding_on
    from collage_jax.graph.region import Region
    from collage_jax.graph.trace import trace_function
    from collage_jax.patterns.recognise import recognise

    def step(x, w1, b1, w2, dy, activation):
        y, back = jax.vjp(lambda x, w1, b1, w2: activation(x @ w1 + b1) @ w2, x, w1, b1, w2)
        return back(dy)

    def layer(x, w, b):
        return jax.nn.gelu(x @ w + b, approximate=True)

    shapes = (256, 512), (512, 128), (128,)
    for name in ("sm_80", "sm_90"):
        with target.aiming_at(known(name)):
            assert BACKEND.available() is None, BACKEND.available()
            device = sharding_on(known(name))
            args = [jax.ShapeDtypeStruct(s, jnp.bfloat16, sharding=device) for s in shapes]
            graph = recognise(trace_function(layer, *(jax.ShapeDtypeStruct(s, jnp.bfloat16) for s in shapes)))
            *_, longest = BACKEND.propose(graph)
            kernel = BACKEND.emit(Region.of(graph, longest.nodes))
            hlo = jax.jit(lambda x, w, b: kernel(jnp.tanh(x), w, b)[0] * 2).lower(*args).compile().as_text()
        call = next(line for line in hlo.splitlines() if f'custom_call_target="{TARGET}"' in line)
        print(longest.label, "epilogue=gelu_bias" in call, "bf16[256,128]{1,0}" in call)
    print(BACKEND.version())
    for activation in (jax.nn.relu, jax.nn.gelu):
        with target.aiming_at(known("sm_90")):
            args = [jax.ShapeDtypeStruct(s, jnp.bfloat16) for s in ((64, 48), (48, 72), (72,), (72, 24), (64, 24))]
            graph = recognise(trace_function(lambda *a: step(*a, activation), *args))
            calls, there = [], sharding_on(known("sm_90"))
            for found in BACKEND.propose(graph):
                region = Region.of(graph, found.nodes)
                entries = [jax.ShapeDtypeStruct(v.shape, v.dtype, sharding=there) for v in region.entries]
                hlo = jax.jit(BACKEND.emit(region)).lower(*entries).compile().as_text()
                calls += [line.split("epilogue=")[1].split()[0] for line in hlo.splitlines() if "epilogue=" in line]
        print(*sorted(set(calls)))
    bad = jax.ffi.ffi_call(TARGET, jax.ShapeDtypeStruct((4, 4), jnp.float32))
    run = lambda x: bad(x, spec="operand=f8", version=load().version())
    try:
        jax.jit(run).lower(jax.ShapeDtypeStruct((4, 4), jnp.float32, sharding=sharding_on(known("sm_90")))).compile()
    except jax.errors.JaxRuntimeError as error:
        print(str(error).splitlines()[0])
"""


@pytest.mark.xla_gpu
def test_programs_are_compiled_for_gpus_that_are_not_here(module):
    """With the real library where its wheel is installed: it accepts the descriptions, which takes no GPU."""
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])}
    with target.aiming_at(known("sm_90")):
        if isinstance(reason := opened(CUBLASLT), Unsupported):
            pytest.skip(reason.reason)
    command = [sys.executable, "-P", "-c", textwrap.dedent(CHILD)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    lines = done.stdout.splitlines()
    assert done.returncode == 0, done.stderr[-2000:]
    assert lines[:2] == ["dot+bias+gelu True True"] * 2
    assert lines[2].startswith("cuBLASLt 1")
    assert {"drelu", "drelu_bgrad"} < set(lines[3].split())
    assert {"dgelu", "dgelu_bgrad", "gelu_aux_bias"} < set(lines[4].split())
    assert "one of f16, bf16, f32, f64 is needed" in lines[5]


@pytest.mark.gpu
@pytest.mark.skipif(jax.default_backend() != "gpu", reason="JAX has no GPU here")
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
@pytest.mark.parametrize("names", ORDERS)
def test_on_a_gpu(names, dtype):
    if (refusal := BACKEND.available()) is not None:
        pytest.skip(refusal.reason)
    graph = graph_of(lambda x, w: with_tail(x @ w, names), array(64, 96, dtype=dtype), array(96, 128, dtype=dtype))
    for proposal in BACKEND.propose(graph):
        region = Region.of(graph, proposal.nodes)
        arrays = [array(*v.shape, dtype=v.dtype, seed=i) for i, v in enumerate(region.entries)]
        wanted = jax.jit(callable_of(region.nodes, region.entries, region.exits))(*arrays)
        assert largest_error(jax.jit(BACKEND.emit(region))(*arrays), wanted) <= max(tolerance(region), 2e-3)
