"""Users' CUDA kernels, without a GPU: matched, compiled by NVRTC and XLA, launched on a driver that only records, and
their own sources run on the CPU. One test at the end needs a GPU.
"""

from __future__ import annotations

import ctypes
import os
import re
import subprocess
import sys
import types
from dataclasses import replace
from pathlib import Path

import cloudpickle
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cuda_on_host import on_host, the_driver
from cuda_on_host.sources import ROW_SOFTMAX, ROW_SUMS, SCALE_BIAS_RELU, TRANSPOSE

import collage_jax
from collage_jax.backends import registry
from collage_jax.candidates import find
from collage_jax.cuda_kernels import CudaSource, cuda_kernel, register, registered, unregister
from collage_jax.ffi import native
from collage_jax.gpu import xla_target
from collage_jax.gpu.device import known
from collage_jax.graph.trace import trace_function
from collage_jax.patterns import Pattern, any_, const, op, optional, relu, softmax
from collage_jax.patterns.recognise import recognise
from collage_jax.target import aiming_at

cuda = pytest.importorskip("collage_jax._cuda", exc_type=ImportError)

BACKEND = registry.get("cuda")
NVRTC = sys.modules["collage_jax.backends.cuda"].nvrtc
GPUS = ("sm_75", "sm_80", "sm_90")

needs_nvrtc = pytest.mark.skipif(NVRTC.missing() is not None, reason="nvidia-cuda-nvrtc is not installed")
needs_xla = pytest.mark.xla_gpu

X = np.asarray(jax.random.normal(jax.random.key(0), (5, 100)), np.float32)
SCALE, BIAS = np.linspace(0.5, 2, 100, dtype=np.float32), np.linspace(-1, 1, 100, dtype=np.float32)
#: Passes for compiled code that says nothing of its kernels, so that nothing has to be compiled.
IMAGE = b"compiled"


@pytest.fixture(autouse=True)
def _table():
    """No kernels before and after."""
    before = registered()
    for kernel in before:
        unregister(kernel.name)
    yield
    for kernel in registered():
        unregister(kernel.name)
    for kernel in before:
        register(kernel)


@pytest.fixture
def driver():
    the_driver().reset()
    return the_driver()


def is_matrix(match):
    return match["x"].ndim == 2 and match["x"].dtype == np.float32


def columns(match):
    return [np.int32(match["x"].shape[-1])]


def row_softmax(source: str | bytes = ROW_SOFTMAX, **changes):
    options = {"name": "row_softmax", "grid": lambda m: m["x"].shape[0], "block": 32, "shared": 4 * 32}
    cuda_kernel(softmax(any_("x")), source=source, where=is_matrix, **options | {"scalars": columns} | changes)


def affine(x, scale, bias):
    scaled = op("mul")(x, any_("scale"))
    return relu(optional(lambda term: op("add")(term, bias))(scaled))


def scale_bias_relu(source: str | bytes = SCALE_BIAS_RELU):
    cuda_kernel(
        affine(any_("x"), any_("scale"), any_("bias")),
        source=source,
        name="scale_bias_relu",
        grid=lambda m: -(-m.root.out.size // 64),
        block=64,
        scalars=lambda m: (np.int64(m["x"].size), np.uint32(m["x"].shape[-1]), np.float32(0)),
        where=lambda m: is_matrix(m) and all(m[v].ndim == 1 for v in ("scale", "bias") if v in m),
    )


def considered(function, *arguments):
    """The kernels' regions, and the reasons of refusals, where programs are placed for an A100."""
    with aiming_at(known("sm_80")):
        found = find(recognise(trace_function(function, *arguments)), [BACKEND])
    mine = [c for c in found.chosen_from if c.backend == "cuda"]
    return {c.region: c.label for c in mine}, [r.reason for r in found.refusals if r.backend == "cuda"]


def emitted(function, *arguments):
    """The one kernel found, as a function of ``arguments``, which are those of ``function``."""
    regions, reasons = considered(function, *arguments)
    assert len(regions) == 1, reasons
    (region,) = regions
    with aiming_at(known("sm_80")):
        kernel = BACKEND.emit(region)
    places = [region.graph.inputs.index(value) for value in region.entries]
    return lambda *given: kernel(*(given[i] for i in places))


def refusal(function, *arguments):
    regions, reasons = considered(function, *arguments)
    assert not regions and len(reasons) == 1, reasons
    return reasons[0]


# What is registered.


def test_a_kernel_gets_what_the_pattern_captures_from_left_to_right():
    cuda_kernel(
        Pattern("many", op("add")(op("mul")(any_("b"), any_("a")).named("product"), const(name="c")), multi_exit=True),
        source=IMAGE,
        name="k",
        grid=1,
        block=1,
    )
    (kernel,) = registered()
    assert (kernel.inputs, kernel.inner_results) == (("b", "a"), ("product",))


RAW = types.SimpleNamespace(code="extern ...", name="raw", options=("-DN=4",))
PATTERN = softmax(any_("x"))


def test_a_raw_kernel_of_cupy_brings_source_name_and_options():
    cuda_kernel(PATTERN, source=RAW, grid=1, block=1, options=["-lineinfo"])
    (kernel,) = registered()
    assert (kernel.name, kernel.body.code, kernel.body.options) == ("raw", RAW.code, ("-DN=4", "-lineinfo"))


def test_the_real_raw_kernel_is_one():
    cupy = pytest.importorskip("cupy")
    cuda_kernel(PATTERN, source=cupy.RawKernel(ROW_SOFTMAX, "row_softmax", options=("-DN=4",)), grid=1, block=1)
    assert registered()[0].body.code == ROW_SOFTMAX and registered()[0].body.options == ("-DN=4",)


@pytest.mark.parametrize(
    ("changes", "error", "reason"),
    [
        ({"pattern": "softmax"}, TypeError, "takes a pattern, got 'softmax'; write"),
        ({"source": 3}, TypeError, "a source is CUDA C.. as a text, a cupy.RawKernel with code, or compiled bytes"),
        ({"source": types.SimpleNamespace(code=None, name="k", options=())}, TypeError, "a source is CUDA"),
        ({"source": b"compiled", "options": ["-DN=1"]}, ValueError, "this is compiled: leave -DN=1 out"),
        ({"options": "-DN=1"}, TypeError, r"options are a list of texts, got '-DN=1'; write options=\["),
        ({"options": [3]}, TypeError, "options are a list of texts, got .3."),
        ({"options": ["-arch=sm_75"]}, ValueError, "for the GPU that is placed for, got '-arch=sm_75'; leave it out"),
        ({"name": None}, ValueError, "which function of the source is the kernel. pass name="),
        ({"grid": None}, TypeError, "pass grid=... and block=..."),
        ({"grid": 2.5}, TypeError, "`grid` is in whole numbers, got 2.5; divide with //"),
        ({"block": (1, 2, 3, 4)}, TypeError, "a block has one to three sizes, got .1, 2, 3, 4."),
        ({"shared": True}, TypeError, "`shared` is in whole numbers, got True"),
        ({"scalars": [3]}, TypeError, r"dtypes of the parameters, got 3; write np.int32"),
        ({"source": None}, TypeError, "grid, block, shared, scalars and options belong to a kernel's source"),
        ({"pattern": Pattern("p", PATTERN), "where": bool}, ValueError, "has a `where` of its own place"),
    ],
    ids=repr,
)
def test_what_can_be_no_kernel_is_refused_with_a_remedy(changes, error, reason):
    good = {"pattern": PATTERN, "source": "...", "name": "k", "grid": 1, "block": 1}
    with pytest.raises(error, match=reason):
        cuda_kernel(**good | changes)
    with pytest.raises(ValueError, match="no kernel is called 'k'; there are: none"):
        collage_jax.unregister_cuda_kernel("k")


def test_what_decorates_must_be_a_function_with_a_name():
    with pytest.raises(TypeError, match="a function of CuPy arrays is needed, got 'code'; pass source="):
        cuda_kernel(PATTERN)("code")  # pyright: ignore[reportArgumentType, reportCallIssue]
    with pytest.raises(ValueError, match="has no name of its own; pass name="):
        cuda_kernel(PATTERN)(type("Callable", (), {"__call__": print})())


def test_the_version_is_that_of_sources_sizes_and_conditions():
    versions = set()
    for changes in ({}, {"source": ROW_SOFTMAX + " "}, {"block": 64}, {"scalars": lambda m: []}, {"options": ["-DN"]}):
        row_softmax(**changes)
        versions.add(BACKEND.version())
    assert len(registered()) == 1 and len(versions) == 5
    row_softmax(options=["-DN"])
    assert BACKEND.version() in versions


def test_a_worker_gets_the_kernels():
    row_softmax(IMAGE)
    state, version = cloudpickle.loads(cloudpickle.dumps(BACKEND.portable())), BACKEND.version()
    unregister("row_softmax")
    scale_bias_relu(IMAGE)
    BACKEND.adopt(state)
    assert [k.name for k in registered()] == ["row_softmax"] and BACKEND.version() == version
    assert list(considered(jax.nn.softmax, X)[0].values()) == ["row_softmax"]


# Where it can be used.


def test_a_function_on_a_cpu_is_right_and_says_why_the_kernels_are_out():
    row_softmax(IMAGE)
    decorated = collage_jax.jit(lambda x: jax.nn.softmax(x) * 2)
    np.testing.assert_allclose(decorated(X), jax.nn.softmax(X) * 2, rtol=1e-6)
    (info,) = [b for b in collage_jax.backends() if b.name == "cuda"]
    assert not info.available and info.unavailable.startswith("runs on gpu, and JAX's default backend is cpu")
    assert "cuda" in str(decorated.explain(X))


def test_it_is_there_with_a_kernel_that_can_be_compiled(monkeypatch):
    assert "no kernel was registered; use collage_jax.cuda_kernel" in BACKEND.available().reason
    row_softmax()
    lacks = collage_jax.Unsupported("NVRTC is not installed: pip install nvidia-cuda-nvrtc")
    monkeypatch.setattr(NVRTC, "missing", lambda: lacks)
    assert BACKEND.available() == BACKEND.missing() == lacks
    scale_bias_relu(IMAGE)
    assert BACKEND.available() is None


def test_the_target_is_known_where_no_kernel_is(monkeypatch):
    """A process that runs what another one made has none to register."""
    asked = []
    monkeypatch.setitem(BACKEND.available.__globals__, "load", lambda: asked.append(True) or cuda)
    assert "no kernel was registered" in BACKEND.available().reason and asked


def test_without_nvrtc_the_refusal_names_the_wheel():
    if NVRTC.missing() is None:
        pytest.skip("nvidia-cuda-nvrtc is installed")
    row_softmax()
    assert "row_softmax: NVRTC is not installed: pip install nvidia-cuda-nvrtc" in refusal(jax.nn.softmax, X)


def test_no_cuda_library_is_needed_to_import_it():
    needed = subprocess.run(["readelf", "-d", cuda.__file__], capture_output=True, text=True, check=True).stdout
    names = re.findall(r"NEEDED.*\[(.*)\]", needed)
    assert names and not [name for name in names if re.match(r"lib(cu|nv)", name)]


# Which places it takes.


def test_conditions_constants_and_captures_decide():
    scale_bias_relu(IMAGE)
    full = considered(lambda x, s, b: jax.nn.relu(x * s + b), X, SCALE, BIAS)[0]
    assert list(full.values()) == ["scale_bias_relu"] and len(next(iter(full)).nodes) >= 3
    assert not considered(lambda x, s, b: jax.nn.relu(x * s + b), X[0], SCALE, BIAS)[0]


@pytest.mark.parametrize(
    ("function", "arguments", "reason"),
    [
        (
            lambda x: x * 2.0 + x,
            (X,),
            " is a scalar of the program, and a pointer needs an array: take it by const(name=",
        ),
        (lambda x, y: x * y + x, (X.astype("int4"), X.astype("int4")), "XLA packs numbers of less than a byte"),
    ],
)
def test_what_has_no_pointer_is_refused(function, arguments, reason):
    cuda_kernel(op("add")(op("mul")(any_("x"), any_("y")), any_("z")), source=IMAGE, name="k", grid=1, block=1)
    assert reason in refusal(function, *arguments)


def test_an_array_that_is_not_captured_is_refused():
    cuda_kernel(op("add")(any_("x"), op("mul")), source=IMAGE, name="k", grid=1, block=1)
    assert "an array is read that is not passed, float32[5, 100]: capture it" in refusal(lambda x, y: x + y * y, X, X)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"block": (64, 32)}, "a block has at most 1024 threads, got 64 x 32 x 1 = 2048; give a smaller block"),
        ({"block": (1, 1, 65)}, "size z of a block is 1 to 64, got 1 x 1 x 65"),
        ({"grid": (1, 65536)}, "size y of a grid is 1 to 65535, got 1 x 65536 x 1"),
        ({"grid": lambda m: 0}, "size x of a grid is 1 to 2147483647, got 0 x 1 x 1"),
        ({"grid": lambda m: m["y"].size}, "its sizes failed: KeyError: 'y'"),
        ({"grid": lambda m: m["x"].size / 4}, "its sizes failed: TypeError: `grid` is in whole numbers, got 125.0"),
        ({"shared": 164 << 10}, "can have 0 to 166912 bytes of dynamic shared memory on this device, got 167936"),
        ({"scalars": [np.datetime64(1, "s")]}, "dtype:bytes of a scalar is needed"),
    ],
    ids=lambda given: given if isinstance(given, str) else ",".join(given),
)
def test_what_no_launch_can_be_is_refused_with_a_remedy(changes, reason):
    row_softmax(IMAGE, **changes)
    assert reason in refusal(jax.nn.softmax, X)


# What the driver gets.


def test_pointers_sizes_and_scalars_arrive_in_order(driver):
    driver.knows("scale_bias_relu", [8, 8, 8, 8, 8, 4, 4])
    scale_bias_relu(IMAGE)
    run = emitted(lambda s, x, b: jax.nn.relu(x * s + b), SCALE, X, BIAS)
    scale, x, bias = map(jnp.asarray, (SCALE, X, BIAS))
    (y,) = jax.block_until_ready(jax.jit(run)(scale, x, bias))
    (launch,) = driver.launches
    pointers = [int.from_bytes(p, "little") for p in launch.parameters[:4]]
    assert pointers == [a.unsafe_buffer_pointer() for a in (x, scale, bias, y)]
    assert launch.parameters[4:] == (np.int64(500).tobytes(), np.uint32(100).tobytes(), np.float32(0).tobytes())
    assert (launch.name, launch.grid, launch.block) == ("scale_bias_relu", (8, 1, 1), (64, 1, 1))
    assert (launch.shared, launch.stream) == (0, None)


def test_what_is_absent_is_a_null_pointer(driver):
    driver.knows("scale_bias_relu", [8, 8, 8, 8, 8, 4, 4])
    scale_bias_relu(IMAGE)
    jax.block_until_ready(jax.jit(emitted(lambda x, s: jax.nn.relu(x * s), X, SCALE))(X, SCALE))
    assert [p == bytes(8) for p in driver.launches[0].parameters[:4]] == [False, False, True, False]


def test_every_result_has_a_pointer(driver):
    driver.knows("both", [8, 8, 8, 8])
    pattern = Pattern("both", op("exp")(op("mul")(any_("x"), any_("y")).named("product")), multi_exit=True)
    cuda_kernel(pattern, source=IMAGE, name="both", grid=1, block=1)

    def function(x, y):
        product = x * y
        return product, jnp.exp(product)

    product, exponential = jax.block_until_ready(jax.jit(emitted(function, X, X))(jnp.asarray(X), jnp.asarray(X)))
    made = [a.unsafe_buffer_pointer() for a in (exponential, product)]
    assert [int.from_bytes(p, "little") for p in driver.launches[0].parameters[2:]] == made


def test_an_image_is_loaded_once_and_a_kernel_once_on_each_device(driver):
    driver.knows("row_softmax", [8, 8, 4])
    row_softmax(b"an image of its own", shared=100 << 10)
    run = jax.jit(emitted(jax.nn.softmax, X))
    for context in (1, 1, 2, 2):
        driver.in_context(context)
        jax.block_until_ready(run(X))
    jax.block_until_ready(jax.jit(lambda x: run(x)[0] + 1)(X))
    assert (driver.count("launches"), driver.count("loads"), driver.count("functions")) == (5, 1, 2)
    assert driver.count("granted") == 100 << 10


def test_a_kernel_may_have_what_dynamic_shared_memory_it_asks_for(driver):
    """A little may be too much without: what is there by itself is shared with what the source declares."""
    driver.knows("row_softmax", [8, 8, 4])
    for shared, granted in ((4 * 32, 4 * 32), (40 << 10, 40 << 10), (4 * 32, 40 << 10)):
        row_softmax(b"an image with shared memory of its own", shared=shared)
        jax.block_until_ready(jax.jit(emitted(jax.nn.softmax, X))(X))
        assert (driver.launches[-1].shared, driver.count("granted")) == (shared, granted)


@pytest.mark.parametrize(
    "function", ["cuCtxGetCurrent", "cuLibraryLoadData", "cuKernelGetFunction", "cuFuncSetAttribute", "cuLaunchKernel"]
)
def test_what_the_driver_refuses_is_the_programs_error(driver, function):
    driver.knows("row_softmax", [8, 8, 4])
    driver.fails(function)
    row_softmax(f"not loaded for {function}".encode(), shared=64 << 10)
    run = jax.jit(emitted(jax.nn.softmax, X))
    with pytest.raises(jax.errors.JaxRuntimeError, match=r"failed: CUDA_ERROR_MADE_UP \(as the test wants it\)"):
        jax.block_until_ready(run(X))
    driver.fails("nothing")
    jax.block_until_ready(run(X))  # it is tried again
    assert driver.count("launches") == 1


def test_an_image_without_the_kernel_and_a_thread_without_a_context_are_errors(driver):
    row_softmax(b"without the kernel")
    run = jax.jit(emitted(jax.nn.softmax, X))
    with pytest.raises(jax.errors.JaxRuntimeError, match="finding kernel row_softmax failed: CUDA_ERROR_NOT_FOUND"):
        jax.block_until_ready(run(X))
    driver.in_context(None)
    with pytest.raises(jax.errors.JaxRuntimeError, match="needs a current CUDA context: there is none"):
        jax.block_until_ready(run(X))


def test_a_call_with_too_few_arrays_is_an_error(driver):
    driver.knows("k", [8])
    shape = jax.ShapeDtypeStruct((4,), jnp.float32)
    with pytest.raises(jax.errors.JaxRuntimeError, match="kernel k reads operand 2, and the call has 1"):
        jax.block_until_ready(jax.ffi.ffi_call("collage_cuda_launch_v1", shape)(X, **attributes(parameters="in2")))


def test_without_a_driver_the_program_says_so():
    script = """
import jax, numpy as np
from collage_jax import _cuda
from collage_jax.ffi import native
native.register(_cuda.host)
one = np.ones(3, np.int64)
call = jax.ffi.ffi_call("collage_cuda_launch_v1", jax.ShapeDtypeStruct((4,), "float32"))
try:
    jax.block_until_ready(call(image=np.ones(4, np.uint8), name="k", grid=one, block=one, shared=np.int64(0),
                               shared_limit=np.int64(0), parameters="out0"))
except jax.errors.JaxRuntimeError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-P", "-c", script], capture_output=True, text=True, timeout=120, check=True)
    if "no NVIDIA driver can be opened: libcuda.so.1" not in done.stdout:
        assert Path("/dev/nvidiactl").exists(), done.stdout + done.stderr


# What the kernels compute, by their own sources on the CPU.


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    folder = tmp_path_factory.mktemp("kernels")
    made: dict[tuple[str, str], ctypes.CDLL] = {}

    def build(source, name):
        if (source, name) not in made:
            made[source, name] = on_host(source, name, folder)
        return made[source, name]

    return build


def computed(driver, library, name, sizes, function, *arguments):
    """What the kernel gives, with threads in rising and in falling order."""
    driver.knows(name, sizes, getattr(library, f"{name}_on_host"))
    run = jax.jit(emitted(function, *arguments))
    given = [jnp.asarray(a) for a in arguments]
    results = []
    for falling in (False, True):
        getattr(library, f"{name}_order")(falling)
        results.append(np.asarray(jax.block_until_ready(run(*given))[0]))
    diverged = getattr(library, f"{name}_diverged")
    diverged.restype = ctypes.c_bool
    assert not diverged()
    return results


@pytest.mark.parametrize("shape", [(5, 100), (1, 7), (3, 32)])
def test_softmax_of_rows(driver, built, shape):
    x = np.asarray(jax.random.normal(jax.random.key(1), shape) * 5, np.float32)
    row_softmax(IMAGE)
    library = built(ROW_SOFTMAX, "row_softmax")
    for result in computed(driver, library, "row_softmax", [8, 8, 4], jax.nn.softmax, x):
        np.testing.assert_allclose(result, jax.jit(jax.nn.softmax)(x), rtol=1e-5, atol=1e-7)


def test_the_kernel_of_the_example_and_of_the_document(driver, built):
    import gpu_kernels

    assert gpu_kernels.ROW_SOFTMAX.count("__shfl_xor_sync") == 2
    gpu_kernels.register_cuda()
    register(replace(registered()[0], body=CudaSource(IMAGE)))
    library = built(gpu_kernels.ROW_SOFTMAX, "row_softmax")
    for result in computed(driver, library, "row_softmax", [8, 8, 4], jax.nn.softmax, X):
        np.testing.assert_allclose(result, jax.jit(jax.nn.softmax)(X), rtol=1e-5, atol=1e-7)


def test_a_barrier_that_is_missing_shows(driver, built):
    row_softmax(IMAGE)
    broken = ROW_SOFTMAX.replace("= sum;\n  __syncthreads();", "= sum;")
    wanted = jax.jit(jax.nn.softmax)(X)
    found = computed(driver, built(broken, "row_softmax"), "row_softmax", [8, 8, 4], jax.nn.softmax, X)
    assert not all(np.allclose(result, wanted, rtol=1e-5) for result in found)


@pytest.mark.parametrize("with_bias", [True, False])
def test_scale_bias_and_relu(driver, built, with_bias):
    def function(x, scale, *bias):
        return jax.nn.relu(x * scale + bias[0] if bias else x * scale)

    scale_bias_relu(IMAGE)
    arguments = (X, SCALE, *([BIAS] if with_bias else []))
    library = built(SCALE_BIAS_RELU, "scale_bias_relu")
    for result in computed(driver, library, "scale_bias_relu", [8, 8, 8, 8, 8, 4, 4], function, *arguments):
        np.testing.assert_allclose(result, jax.jit(function)(*arguments), rtol=1e-6, atol=1e-7)


def test_three_dimensions_and_64_bits(driver, built):
    with jax.enable_x64(True):
        x = np.arange(2.0 * 11 * 13).reshape(2, 11, 13)
        cuda_kernel(
            op("transpose", where=lambda node: node.params["permutation"] == (0, 2, 1))(any_("x")),
            source=IMAGE,
            name="transpose",
            grid=lambda m: (-(-m["x"].shape[2] // 8), -(-m["x"].shape[1] // 8), m["x"].shape[0]),
            block=(8, 8),
            scalars=lambda m: tuple(map(np.int32, m["x"].shape[1:])),
        )
        for result in computed(
            driver, built(TRANSPOSE, "transpose"), "transpose", [8, 8, 4, 4], lambda x: jnp.swapaxes(x, 1, 2), x
        ):
            np.testing.assert_array_equal(result, np.swapaxes(x, 1, 2))
    assert (driver.launches[0].grid, driver.launches[0].block) == ((2, 2, 2), (8, 8, 1))


def test_sums_by_shuffles(driver, built):
    cuda_kernel(
        op("reduce_sum", where=lambda node: node.params["axes"] == (1,))(any_("x")),
        source=IMAGE,
        name="row_sums",
        grid=lambda m: m["x"].shape[0],
        block=32,
        scalars=columns,
    )
    found = computed(driver, built(ROW_SUMS, "row_sums"), "row_sums", [8, 8, 4], lambda x: jnp.sum(x, axis=1), X)
    for result in found:
        np.testing.assert_allclose(result, X.sum(1), rtol=1e-5, atol=1e-5)


# NVRTC.


@needs_nvrtc
@pytest.mark.parametrize(
    "source", [ROW_SOFTMAX, SCALE_BIAS_RELU, TRANSPOSE, ROW_SUMS], ids=lambda s: s.split("(")[0][-15:]
)
@pytest.mark.parametrize("gpu", GPUS)
def test_sources_compile(gpu, source):
    image = NVRTC.compiled(source, (), gpu)
    assert image.code.startswith(b"\x7fELF") and f".target {gpu}" in image.ptx
    assert NVRTC.compiled(source, (), gpu) is image


@needs_nvrtc
@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        (
            {"source": ROW_SOFTMAX.replace("row[i]", "column[i]")},
            r"NVRTC cannot compile it: kernel.cu\(\d+\): error: id",
        ),
        ({"options": ("--no-such-flag",)}, r"NVRTC cannot compile it: nvrtc: error: unrecognized option"),
        ({"name": "rows"}, r"the code holds no kernel called rows, but row_softmax: declare it extern .C. __global__"),
        ({"scalars": ()}, r"its parameters are of 8, 8, 4 bytes, and it would get 8, 8: pointers"),
        ({"scalars": [np.int64(3)]}, r"its parameters are of 8, 8, 4 bytes, and it would get 8, 8, 8"),
    ],
    ids=["source", "options", "name", "too few", "other dtype"],
)
def test_what_does_not_compile_or_fit_is_refused(changes, reason):
    row_softmax(**changes)
    assert re.search(reason, refusal(jax.nn.softmax, X))


@needs_nvrtc
def test_options_and_scalars_of_other_dtypes_reach_the_kernel():
    source = """
    struct Pair { float a, b; };
    extern "C" __global__ void k(const float* x, float* y, bool a, short b, double c, Pair d) {
      y[0] = x[0] + a + b + c + d.a + N;
    }
    """
    scalars = [np.bool_(1), np.int16(2), np.float64(3), np.complex64(4)]
    cuda_kernel(PATTERN, source=source, name="k", grid=1, block=1, scalars=scalars, options=["-DN=4"])
    assert list(considered(jax.nn.softmax, X)[0].values()) == ["k"]


@needs_nvrtc
def test_cudas_own_headers_are_found():
    if not NVRTC._headers():
        pytest.skip("nvidia-cuda-runtime, which holds cuda_fp16.h, is not installed")
    source = '#include <cuda_fp16.h>\nextern "C" __global__ void k(const __half* x, __half* y) { y[0] = hexp(x[0]); }'
    cuda_kernel(op("exp")(any_("x")), source=source, name="k", grid=1, block=1)
    assert list(considered(jnp.exp, X.astype("float16"))[0].values()) == ["k"]


@needs_nvrtc
def test_compiled_code_is_taken_as_it_is(driver):
    image = NVRTC.compiled(ROW_SOFTMAX, (), "sm_80")
    for code in (image.code, image.ptx.encode()):
        row_softmax(code)
        assert list(considered(jax.nn.softmax, X)[0].values()) == ["row_softmax"]
        row_softmax(code, name="rows")
        unregister("row_softmax")
        assert "code holds no kernel called rows" in refusal(jax.nn.softmax, X)
        unregister("rows")


@needs_nvrtc
def test_what_cuda_core_compiled_is_taken():
    core = pytest.importorskip("cuda.core", reason="cuda-core is not installed")
    code = core.Program(ROW_SOFTMAX, "c++", core.ProgramOptions(arch="sm_80")).compile("cubin").code
    row_softmax(bytes(code))
    assert list(considered(jax.nn.softmax, X)[0].values()) == ["row_softmax"]


# XLA for a GPU that is not here.


def attributes(**changes):
    one = np.ones(3, np.int64)
    good = {"image": np.frombuffer(IMAGE, np.uint8), "name": "k", "grid": one, "block": one}
    return good | {"shared": np.int64(0), "shared_limit": np.int64(48 << 10), "parameters": "in0 out0"} | changes


def compiled_call(gpu="sm_80", **given):
    registry.get("cuda").missing()  # the targets are known from the first use on
    x = jax.ShapeDtypeStruct((8,), jnp.float32, sharding=xla_target.sharding_on(known(gpu)))
    call = jax.ffi.ffi_call("collage_cuda_launch_v1", jax.ShapeDtypeStruct((8,), jnp.float32))
    return jax.jit(lambda x: call(x, **given) + 1).lower(x).compile().as_text()


@needs_xla
@needs_nvrtc
@pytest.mark.parametrize("gpu", GPUS)
def test_a_placed_function_is_compiled_with_the_call(gpu):
    row_softmax()
    lowered = collage_jax.lower_for(lambda x: jax.nn.softmax(x) * 2, X, device=gpu, backends=["cuda"])
    assert lowered.placement.counts().get("cuda") == 1, str(lowered.placement)
    assert lowered.stage == "hlo" and lowered.custom_calls() == {"collage_cuda_launch_v1": 1}
    assert 'name = "row_softmax"' in lowered.as_text()


@needs_xla
@pytest.mark.parametrize("gpu", GPUS)
def test_a_call_with_good_attributes_compiles(gpu):
    assert 'custom_call_target="collage_cuda_launch_v1"' in compiled_call(gpu, **attributes())


BAD = [
    ({"image": np.zeros(0, np.uint8)}, "an empty image"),
    ({"image": np.zeros(4, np.int8)}, "Wrong"),
    ({"name": ""}, "a kernel has a name"),
    ({"name": np.int32(3)}, "Wrong attribute type"),
    ({"grid": np.ones(2, np.int64)}, "a grid has three sizes, got 1 x 1"),
    ({"grid": np.array([1, 1, 65536])}, "size z of a grid is 1 to 65535"),
    ({"block": np.array([1025, 1, 1])}, "size x of a block is 1 to 1024"),
    ({"block": np.array([32, 33, 1])}, "a block has at most 1024 threads, got 32 x 33 x 1 = 1056"),
    ({"shared": np.int64(-1)}, "0 to 49152 bytes of dynamic shared memory on this device, got -1"),
    ({"shared": np.int64(49153)}, "got 49153; let a block work on less at a time"),
    ({"parameters": "in0 outx"}, "bad parameter `outx`: a number is needed"),
    ({"parameters": "in0 out0 3"}, "bad parameter `3`: in0, out0, null, or dtype:bytes of a scalar is needed"),
    ({"parameters": "int32:00"}, "bad parameter `int32:00`: 4 bytes are needed"),
    ({"parameters": "int8:0g"}, "bad parameter `int8:0g`: bytes are in hexadecimal"),
    ({"colour": 3}, "Wrong number of attributes|unexpected|expected"),
]


@needs_xla
@pytest.mark.parametrize(("changes", "reason"), BAD, ids=[re.sub(r"\W+", " ", repr(c)) for c, _ in BAD])
def test_a_call_with_bad_attributes_is_refused_when_it_is_compiled(changes, reason):
    with pytest.raises(jax.errors.JaxRuntimeError, match=reason):
        compiled_call(**attributes(**changes))


# CuPy: only one that is made up can be called without a GPU.


class FakeCupy(types.ModuleType):
    """Arrays on the host's memory, and a note of the stream they are used on."""

    def __init__(self):
        super().__init__("cupy")
        self.streams: list[int] = []
        self.__spec__ = types.SimpleNamespace()  # pyright: ignore[reportAttributeAccessIssue]
        outer = self

        class ExternalStream:
            def __init__(self, pointer):
                self.pointer = pointer

            def __enter__(self):
                outer.streams.append(self.pointer)

            def __exit__(self, *_):
                outer.streams.append(-1)

        self.cuda = types.SimpleNamespace(
            ExternalStream=ExternalStream,
            UnownedMemory=self.unowned,
            MemoryPointer=lambda memory, offset: memory,
        )

    empty = staticmethod(np.empty)

    def unowned(self, pointer, size, owner):
        if pointer == 0 or size == 0:  # CuPy asks which device a pointer is of, and a null pointer is of none
            raise RuntimeError("UnownedMemory requires explicit device ID for empty memory.")
        return pointer, size

    def ndarray(self, shape, dtype, memory):
        pointer, size = memory
        return np.frombuffer((ctypes.c_char * size).from_address(pointer), dtype).reshape(shape)


@pytest.fixture
def cupy(monkeypatch):
    fake = FakeCupy()
    monkeypatch.setitem(sys.modules, "cupy", fake)
    return fake


def test_a_function_of_cupy_arrays_runs_on_the_stream_and_the_memory_of_xla(driver, cupy):
    seen = []

    @cuda_kernel(affine(any_("x"), any_("scale"), any_("bias")))
    def affine_relu(x, scale, bias, out):
        seen.append((x.ctypes.data, out.ctypes.data, bias))
        np.maximum(x * scale, 0, out=out)

    assert affine_relu.__name__ == "affine_relu" and BACKEND.available() is None
    x = jnp.asarray(X)
    (y,) = jax.block_until_ready(jax.jit(emitted(lambda x, s: jax.nn.relu(x * s), X, SCALE))(x, SCALE))
    np.testing.assert_allclose(y, np.maximum(X * SCALE, 0), rtol=1e-6)
    assert seen == [(x.unsafe_buffer_pointer(), y.unsafe_buffer_pointer(), None)]
    assert cupy.streams == [0, -1]


def test_empty_arrays_have_their_shapes(driver, cupy):
    seen = []

    @cuda_kernel(op("dot_general")(any_("x"), any_("w")))
    def product(x, w, out):
        seen.append((x.shape, w.shape, out.shape, out.dtype))
        out[...] = x @ w

    for m, k, n in ((0, 3, 4), (2, 0, 4), (2, 3, 0)):
        x, w = np.ones((m, k), np.float32), np.ones((k, n), np.float32)
        (y,) = jax.block_until_ready(jax.jit(emitted(jnp.matmul, x, w))(x, w))
        np.testing.assert_array_equal(y, x @ w)
    assert seen == [((2, 0), (0, 4), (2, 4), np.float32)]  # XLA makes no call whose results are all empty


def test_an_elementwise_kernel_counts_by_what_it_does(driver, cupy):
    class Elementwise:
        name = "square"

        def __init__(self, operation):
            self.operation = operation

        def __call__(self, x, out):
            np.multiply(x, x, out=out)

    versions = set()
    for operation in ("y = x * x", "y = x*x", "y = x * x"):
        cuda_kernel(op("square")(any_("x")))(Elementwise(operation))
        versions.add(BACKEND.version())
    assert len(versions) == 2
    (y,) = jax.jit(emitted(jnp.square, X))(X)
    np.testing.assert_allclose(y, X * X, rtol=1e-6)


def test_what_a_function_raises_is_the_programs_error(driver, cupy):
    @cuda_kernel(op("sin")(any_("x")))
    def fails(x, out):
        raise RuntimeError("no memory on the GPU")

    with pytest.raises(jax.errors.JaxRuntimeError, match="no memory on the GPU"):
        jax.block_until_ready(jax.jit(emitted(jnp.sin, X))(X))


def test_without_cupy_the_refusal_names_the_wheel(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", None)
    cuda_kernel(op("sin")(any_("x")))(lambda x, out: None)
    assert BACKEND.available().reason == "CuPy is not installed: pip install cupy-cuda13x"
    assert "CuPy is not installed" in refusal(jnp.sin, X)


def test_a_function_that_this_process_does_not_know_is_told():
    native.register(cuda.host)
    call = jax.ffi.ffi_call("collage_cuda_cupy_v1", jax.ShapeDtypeStruct((4,), jnp.float32))
    with pytest.raises(
        jax.errors.JaxRuntimeError, match="no function called `unknown#1` is registered in this process"
    ):
        jax.block_until_ready(jax.jit(lambda x: call(x, function="unknown#1"))(X))


# Pallas and the example.


def test_the_pallas_kernel_of_the_example_computes_what_jax_does():
    import gpu_kernels

    scale, bias = jnp.asarray(SCALE[:64]), jnp.asarray(BIAS[:64])
    x = jnp.asarray(X[:4, :64])
    got = gpu_kernels.normalised(x, scale, bias, gpu_kernels.EPSILON, interpret=True)
    np.testing.assert_allclose(got, jax.jit(gpu_kernels.plain_layer_norm)(x, scale, bias), rtol=1e-5, atol=1e-5)


def test_the_example_runs_or_compiles():
    script = Path(__file__).parents[1] / "examples" / "gpu_kernels.py"
    done = subprocess.run(
        [sys.executable, str(script)], env=os.environ, capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == 0, done.stderr
    if xla_target.why_not() is None and NVRTC.missing() is None:
        assert "collage_cuda_launch_v1" in done.stdout and "triton" in done.stdout


@pytest.mark.gpu
@pytest.mark.skipif(jax.default_backend() != "gpu", reason="JAX has no GPU here")
def test_on_a_gpu_the_kernel_computes_what_jax_does():
    row_softmax()
    regions, reasons = considered(jax.nn.softmax, X)
    assert regions, reasons
    (region,) = regions
    got = jax.jit(BACKEND.emit(region))(X)[0]
    np.testing.assert_allclose(got, jax.jit(jax.nn.softmax)(X), rtol=1e-5, atol=1e-6)
