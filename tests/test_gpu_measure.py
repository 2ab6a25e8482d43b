"""Timing on a GPU, without one: marks on a driver that records, whose clock moves as the test wants, and in programs
that XLA compiles for GPUs.
"""

from __future__ import annotations

import ctypes
import itertools
import re
import threading
import time
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cuda_on_host import HOST as HOST_FUNCTION
from cuda_on_host import the_driver
from fakes import Fake
from test_measure import costs_of, whole

from collage_jax import Measured, device, target
from collage_jax.config import Config, config
from collage_jax.ffi import native
from collage_jax.gpu import xla_target
from collage_jax.gpu.device import known
from collage_jax.lowering.build import Lowered
from collage_jax.measure import clock as clocks
from collage_jax.measure import handover, regions, verdict
from collage_jax.measure.clock import HOST, DeviceClock, flush_bytes
from collage_jax.measure.marks import TARGET, leading, marked, misplaced
from collage_jax.measure.race import BrokeDown, race
from collage_jax.measure.reference import Reference
from collage_jax.measure.whole import XLA_ALONE, Trials

cuda = pytest.importorskip("collage_jax._cuda", exc_type=ImportError)

if jax.default_backend() == "gpu":
    pytest.skip("a driver that records stands for that of the GPU", allow_module_level=True)

needs_xla = pytest.mark.xla_gpu

FLUSH = 1 << 12
X = jnp.linspace(-1.0, 1.0, 64, dtype=jnp.float32)

_numbers = itertools.count(1000)
_images = itertools.count()


@pytest.fixture
def driver():
    the_driver().reset()
    return the_driver()


@pytest.fixture
def tied(monkeypatch):
    """Operands that depend on the begin by a number: XLA's compiler for CPUs takes barriers out before the order is
    settled, and there they hold nothing back."""

    def barrier(pair):
        held, begin = pair
        return [a + begin[0].astype(a.dtype) * 0 for a in held], begin

    monkeypatch.setattr(jax.lax, "optimization_barrier", barrier)


@pytest.fixture
def kernel(driver):
    """Makes kernels of [n] to [n] known to the driver, each with what it does to the numbers."""
    held = []

    def make(name, us=0.0, does=lambda x: 2 * x):
        def run(grid, block, shared, parameters):
            operand, result = (
                np.ctypeslib.as_array(
                    ctypes.cast(
                        ctypes.cast(address, ctypes.POINTER(ctypes.c_void_p))[0], ctypes.POINTER(ctypes.c_float)
                    ),
                    (X.size,),
                )
                for address in ctypes.cast(parameters, ctypes.POINTER(ctypes.c_void_p))[:2]
            )
            result[:] = does(operand)

        held.append(HOST_FUNCTION(run))
        driver.knows(name, [8, 8], held[-1])
        driver.takes(name, us)
        image = np.frombuffer(f"image {next(_images)}".encode(), np.uint8)  # the driver numbers kernels anew each time
        one, attributes = np.ones(3, np.int64), {"shared": np.int64(0), "shared_limit": np.int64(0)}

        def call(x):
            target = jax.ffi.ffi_call("collage_cuda_launch_v1", jax.ShapeDtypeStruct(x.shape, x.dtype))
            return target(x, image=image, name=name, grid=one, block=one, parameters="in0 out0", **attributes)

        return call

    return make


def on_device(flush=FLUSH):
    """A clock of this test's own."""
    return DeviceClock(cuda, next(_numbers), flush)


def compiled(clock, function, *arguments):
    return clock.compiling(function, lambda run: lambda: jax.jit(run).lower(*arguments).compile())()


def calls(clock, *functions):
    """Calls of ``functions`` of X, compiled for ``clock``."""
    made = [compiled(clock, function, X) for function in functions]
    return [lambda f=f: f(X) for f in made]


# The marks, on a driver that records.


def test_the_driver_is_given_flush_begin_kernel_and_end_in_this_order(driver, kernel, tied):
    driver.takes("memset", 100.0)
    clock = on_device()
    (call,) = calls(clock, kernel("doubled", us=7.5))
    seconds = clock.seconds(call)
    (flush, begin, work, end) = driver.work
    assert flush == ("memset", FLUSH, None)
    assert [what for what, _, _ in (begin, work, end)] == ["event", "doubled", "event"]
    assert begin[1] != end[1] and {stream for _, _, stream in driver.work} == {None}
    assert seconds == pytest.approx(7.5e-6)  # without the flush


def test_without_a_flush_nothing_is_written(driver, kernel, tied):
    clock = on_device(flush=0)
    (call,) = calls(clock, kernel("doubled", us=3.0))
    assert clock.seconds(call) == pytest.approx(3e-6)
    assert [what for what, _, _ in driver.work] == ["event", "doubled", "event"]


def test_all_kernels_of_a_program_count(driver, kernel, tied):
    clock = on_device()
    one, other = kernel("one", us=5.0), kernel("other", us=11.0)
    (call,) = calls(clock, lambda x: (other(one(x)), one(x + 1)))
    assert clock.seconds(call) in (pytest.approx(16e-6), pytest.approx(21e-6))
    assert driver.work[0][0] == "memset" and driver.work[-1][0] == "event"


def test_results_are_those_of_the_function(driver, kernel):
    doubled = kernel("doubled")
    keys = jax.random.split(jax.random.key(0), 3)
    cases = [
        (lambda x: doubled(x) + 1, (X,)),
        (lambda tree, y: {"sum": tree["a"] + y, "both": [tree["b"], y * 2]}, ({"a": X, "b": X + 1}, X)),
        (lambda k, x: (jax.random.split(k[0]), jax.random.normal(k[1], (4,)) + x[:4]), (keys, X)),
        (lambda n, b: (n * 2, ~b), (jnp.arange(5), jnp.array([True, False]))),
        (lambda x: x[:0], (X,)),
        (lambda: jnp.arange(3), ()),
    ]
    for function, arguments in cases:
        for all_operands in (False, True):
            run = jax.jit(marked(function, next(_numbers), FLUSH, all_operands))
            got, wanted = run(*arguments)[0], jax.jit(function)(*arguments)
            assert jax.tree.structure(got) == jax.tree.structure(wanted)
            for g, w in zip(jax.tree.leaves(got), jax.tree.leaves(wanted), strict=True):
                assert g.dtype == w.dtype
                g, w = (jax.random.key_data(a) if jnp.issubdtype(a.dtype, jax.dtypes.prng_key) else a for a in (g, w))
                np.testing.assert_array_equal(g, w)


def test_the_median_of_several_runs_is_told(driver, kernel, tied):
    clock, took = on_device(), iter([5.0, 90.0, 6.0, 5.5, 7.0])
    (call,) = calls(clock, kernel("k"))

    def next_call():
        driver.takes("k", next(took))
        return call()

    assert clock.seconds(next_call, repeats=50) == pytest.approx(6e-6)


def test_a_call_that_does_nothing_has_marks_alone(driver):
    clock = on_device()
    assert clock.seconds(clock.idle(3), repeats=2) == 0
    assert [what for what, _, _ in driver.work] == ["memset", "event", "event"] * 2


def test_a_time_is_told_once_and_not_before(driver, kernel, tied):
    clock = on_device()
    (call,) = calls(clock, kernel("k", us=1.0))
    with pytest.raises(RuntimeError, match="there is no time to tell: no program with the timer's marks has run"):
        clock.seconds(lambda: X)
    clock.seconds(call)
    with pytest.raises(RuntimeError, match="there is no time to tell"):
        clock.seconds(lambda: X)
    assert clock.seconds(call) == pytest.approx(1e-6)


def mark(**attributes):
    call = jax.ffi.ffi_call(TARGET, jax.ShapeDtypeStruct((1,), jnp.uint8))
    return jax.block_until_ready(jax.jit(lambda: call(**attributes))())


@pytest.mark.parametrize(
    ("attributes", "reason"),
    [
        ({"timer": np.int64(0), "which": "middle"}, "a mark is a flush, a begin or an end, got `middle`"),
        ({"timer": np.int64(-1), "which": "end"}, "a timer has a number of 0 or more, got -1"),
        ({"timer": np.int32(1), "which": "end"}, "Wrong scalar data type"),
        ({"timer": np.int64(1)}, "attributes"),
        ({"timer": np.int64(1), "which": "end", "colour": "red"}, "attributes"),
    ],
    ids=["which", "negative", "dtype", "missing", "unknown"],
)
def test_a_bad_mark_is_refused_when_it_is_compiled(driver, attributes, reason):
    call = jax.ffi.ffi_call(TARGET, jax.ShapeDtypeStruct((1,), jnp.uint8))
    with pytest.raises(jax.errors.JaxRuntimeError, match=reason):
        jax.jit(lambda: call(**attributes)).lower().compile()


def test_an_end_before_its_begin_is_an_error(driver):
    number = np.int64(next(_numbers))
    for _ in range(2):
        with pytest.raises(jax.errors.JaxRuntimeError, match="the end mark of a timer came before its begin mark"):
            mark(timer=number, which="end")
    mark(timer=number, which="begin")
    mark(timer=number, which="end")
    assert cuda.elapsed_us(int(number)) == 0


@pytest.mark.parametrize(
    "function", ["cuStreamGetCtx", "cuCtxPushCurrent_v2", "cuEventCreate", "cuEventRecord", "cuMemsetD8Async"]
)
def test_what_the_driver_refuses_is_the_programs_error(driver, kernel, tied, function):
    clock = on_device()
    (call,) = calls(clock, kernel("k", us=1.0))
    driver.fails(function)
    with pytest.raises(jax.errors.JaxRuntimeError, match="failed: CUDA_ERROR_MADE_UP"):
        clock.seconds(call)
    driver.fails("nothing")
    assert clock.seconds(call) == pytest.approx(1e-6)


@pytest.mark.parametrize("function", ["cuEventSynchronize", "cuEventElapsedTime"])
def test_what_the_driver_refuses_to_tell_breaks_a_contender_down(driver, kernel, tied, function):
    clock = on_device()
    (call,) = calls(clock, kernel("k", us=1.0))
    driver.fails(function)
    with pytest.raises(BrokeDown) as caught:
        race({"k": call}, rounds=2, seconds=1.0, clock=clock)
    assert "failed: CUDA_ERROR_MADE_UP" in str(caught.value.__cause__)
    driver.fails("nothing")
    assert clock.seconds(call) == pytest.approx(1e-6)
    assert driver.count("entered") == 0


def test_a_timer_is_for_one_device(driver):
    number = np.int64(next(_numbers))
    driver.in_context(1)
    mark(timer=number, which="begin")
    driver.in_context(2)
    with pytest.raises(jax.errors.JaxRuntimeError, match="a timer is for one device, and this program runs on another"):
        mark(timer=number, which="end")
    driver.in_context(None)
    with pytest.raises(jax.errors.JaxRuntimeError, match="asking a stream for its CUDA context failed: CUDA_ERROR_INV"):
        mark(timer=number, which="end")


def test_events_are_made_once_for_a_timer(driver, kernel, tied):
    clock = on_device()
    before = driver.count("events")
    call, other = calls(clock, kernel("k"), kernel("other"))
    for _ in range(3):
        clock.seconds(call)
        clock.seconds(other)
    assert driver.count("events") == before + 2


def test_threads_with_clocks_of_their_own_do_not_disturb_each_other(driver, kernel, tied):
    function = kernel("k", us=1.0)
    failures, times = [], []

    def work():
        try:
            clock = on_device()
            (call,) = calls(clock, function)
            for _ in range(20):
                times.append(clock.seconds(call))
                np.testing.assert_array_equal(call(), 2 * X)
        except BaseException as failure:
            failures.append(failure)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures and len(times) == 80
    assert all(us >= 0.99e-6 for us in times)  # the driver's clock runs for the others as well
    streams = [number for what, number, _ in driver.work if what == "event"]
    assert len(set(streams)) == 8


# What XLA puts where.


def test_what_runs_outside_of_the_marks_is_refused(driver):
    def lower(run):
        return jax.jit(lambda x, y: (x + y, jnp.zeros(1, jnp.uint8))).lower(X, X).compile

    with pytest.raises(RuntimeError, match=r"it cannot be timed: XLA put \S+ outside of the marks around it"):
        on_device().compiling(lambda x, y: x * y, lower)()


def test_another_way_is_tried_before_giving_up(driver, tied):
    clock, ways = on_device(), []

    def lower(run):
        ways.append(run)
        good = jax.jit(run).lower(X, X)
        bad = jax.jit(lambda x, y: (x + y, jnp.zeros(1, jnp.uint8))).lower(X, X)
        return (bad if len(ways) == 1 else good).compile

    run = clock.compiling(lambda x, y: x * y, lower)()
    np.testing.assert_array_equal(run(X, X), X * X)
    assert len(ways) == 2


PROGRAM = f"""
ENTRY %main (x: f32[4], w: f32[4]) -> f32[4] {{
  %x = f32[4]{{0}} parameter(0)
  %w = f32[4]{{0}} parameter(1)
  %zeros = f32[4]{{0}} fusion(), kind=kLoop, calls=%zeros_of
  %flush = u8[99]{{0}} custom-call(), custom_call_target="{TARGET}", backend_config={{timer = 0 : i64, which = "flush"}}
  %begin = u8[1]{{0}} custom-call(%flush), custom_call_target="{TARGET}", backend_config={{which = "begin"}}
  %tuple = (f32[4]{{0}}, /*index=1*/u8[1]{{0}}) tuple(%x, %begin)
  %held = f32[4]{{0}} get-tuple-element(%tuple), index=0
  %view = f32[2,2]{{1,0}} bitcast(%w)
  %y = f32[4]{{0}} fusion(%held, %view, %zeros), kind=kLoop, calls=%sum
  %end = u8[1]{{0}} custom-call(%begin, %y), custom_call_target="{TARGET}", backend_config={{which = "end"}}
  %copy = f32[4]{{0}} copy(%y)
  ROOT %out = (f32[4]{{0}}, f32[4]{{0}}, u8[1]{{0}}) tuple(%y, %copy, %end)
}}
"""


def moved(name, to):
    """``PROGRAM`` with one instruction before another."""
    lines = PROGRAM.splitlines()
    (line,) = (line for line in lines if line.startswith(f"  %{name} ="))
    lines.remove(line)
    (place,) = (i for i, other in enumerate(lines) if other.startswith(f"  %{to} ="))
    return "\n".join([*lines[:place], line, *lines[place:]])


def test_what_may_lie_outside_and_what_may_not():
    assert misplaced(PROGRAM) is None
    assert misplaced(moved("view", "zeros")) is None  # is there at no cost
    assert misplaced(moved("y", "begin").replace("%held, %view", "%x, %w")) == "y"
    assert misplaced(moved("y", "begin").replace("%held, %view", "%zeros, %view")) is None  # reads nothing given yet
    assert misplaced(moved("view", "zeros").replace("fusion(), kind", "fusion(%view), kind")) == "zeros"
    assert misplaced(moved("y", "copy")) == "y"
    assert misplaced(PROGRAM.replace('"begin"', '"start"')) == "y"
    assert misplaced(PROGRAM.replace('"end"', '"stop"')) == "its marks"
    assert misplaced("") == "its marks"


def test_the_leading_operand_is_what_most_depends_on():
    def layers(weights, x):
        for w in weights:
            x = jax.nn.relu(jnp.sin(x) @ w)
        return x

    square = jax.ShapeDtypeStruct((8, 8), jnp.float32)
    assert leading(layers, ([square] * 3, square)) == 3
    assert leading(lambda x, weights: layers(weights, x), (square, [square] * 3)) == 0
    assert leading(jax.jit(layers), ([square] * 3, square)) == 3
    assert leading(lambda unused, x: jnp.sin(x), (square, square)) == 1


def plain_text(function, *shapes, donate=(), gpu="sm_80"):
    native.register(cuda, "CUDA")
    sharding = xla_target.sharding_on(known(gpu))
    arguments = jax.tree.map(lambda s: jax.ShapeDtypeStruct(s.shape, s.dtype, sharding=sharding), shapes)
    jitted = jax.jit(function, donate_argnums=donate, keep_unused=True)
    return jitted.lower(*arguments).compile().as_text()


def run_of(text):
    """What a compiled program runs, in order: kinds, names without numbers, targets of calls, which mark."""
    found = []
    for line in text[text.index("ENTRY ") :].splitlines():
        match = re.match(r"\s*(?:ROOT )?%(\S+?)[.\d]* = .*? ([a-z][\w-]*)\(", line)
        if match and match[2] not in ("parameter", "constant", "tuple", "get-tuple-element", "bitcast"):
            which = re.search(r'which = "(\w+)"', line)
            called = re.search(r'custom_call_target="([^"]+)"', line)
            found.append(which[1] if which else called[1] if called else match[1])
    return found


def shaped(*sizes, dtype="float32"):
    return jax.ShapeDtypeStruct(sizes, dtype)


def convolution(x, w):
    return jax.nn.relu(jax.lax.conv_general_dilated(x, w, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")))


def attention(q, k, v):
    return jax.nn.softmax(jnp.where(jnp.tril(jnp.ones((128, 128), bool)), q @ k.T, -1e9)) @ v


def biased(weights, x):
    """Queries, keys and values: XLA makes one product of the three, and moves what reshapes the biases."""
    heads = [(x @ w + b).reshape(64, 4, 16) for w, b in weights]
    return jnp.einsum("ihd,jhd->hij", heads[0], heads[1]), heads[2]


QKV = [(shaped(64, 64), shaped(64))] * 3
REGIONS = {
    "product": (lambda x, w: jnp.tanh(x @ w) + 1, (shaped(64, 64), shaped(64, 64))),
    "convolution": (convolution, (shaped(8, 56, 56, 64), shaped(3, 3, 64, 64))),
    "attention": (attention, (shaped(128, 64),) * 3),
    "biased": (biased, (QKV, shaped(64, 64))),
    "several results": (lambda x: (jnp.sum(x), x.T, jnp.sort(x)), (shaped(64, 64),)),
    "a loop": (lambda x: jax.lax.fori_loop(0, 3, lambda i, y: jnp.sin(y @ y), x), (shaped(32, 32),)),
}


@needs_xla
@pytest.mark.parametrize("flush", [0, 160 << 20], ids=["", "flushed"])
@pytest.mark.parametrize("name", REGIONS)
def test_the_marks_enclose_what_xla_runs_on_a_gpu_and_nothing_else_changes(name, flush):
    function, shapes = REGIONS[name]
    text = plain_text(marked(function, 0, flush, all_operands=False), *shapes)
    assert misplaced(text) is None
    first, *ran, last = [one for one in run_of(text) if one != "flush"]
    fills = [] if first == "begin" else [first]  # of zeros for a bias, that XLA adds
    if fills:
        assert ran.pop(0) == "begin" and not flush
    assert (first == "begin" or fills) and last == "end"
    assert sorted(fills + ran) == sorted(run_of(plain_text(function, *shapes)))
    assert ("flush" in run_of(text)) == bool(flush)


@needs_xla
@pytest.mark.parametrize("gpu", ["sm_75", "sm_80", "sm_90"])
def test_users_kernels_lie_between_the_marks(gpu):
    one, none = np.ones(3, np.int64), np.int64(0)

    def kernel(x):
        call = jax.ffi.ffi_call("collage_cuda_launch_v1", jax.ShapeDtypeStruct(x.shape, x.dtype))
        image = np.frombuffer(b"compiled", np.uint8)
        return call(
            x, image=image, name="k", grid=one, block=one, shared=none, shared_limit=none, parameters="in0 out0"
        )

    for all_operands in (False, True):
        text = plain_text(marked(kernel, 0, flush_bytes(known(gpu)), all_operands), shaped(64), gpu=gpu)
        assert run_of(text) == ["flush", "begin", "collage_cuda_launch_v1", "end"]


@needs_xla
def test_large_results_are_written_where_those_before_were():
    def into(spare, x):
        return marked(lambda x: jax.nn.softmax(x) * 2, 0, 1 << 20)(x)

    text = plain_text(into, shaped(1024, 1024), shaped(1024, 1024), donate=0)
    assert "input_output_alias={ {0}: (0, {}, may-alias) }" in text
    assert "copy" not in run_of(text) and misplaced(text) is None


@needs_xla
def test_a_program_without_a_barrier_would_be_found_out(monkeypatch):
    """That the tests above can fail: there XLA puts the begin where it is read, after all else."""
    monkeypatch.setattr(jax.lax, "optimization_barrier", lambda pair: pair)
    shapes = REGIONS["convolution"][1]
    assert misplaced(plain_text(marked(lambda x, w: convolution(convolution(x, w), w), 0), *shapes)) is not None


# Which clock is used, and for what.


#: With little of what the host would have to write for long.
A100 = replace(known("sm_80"), l2_cache=1 << 14, memory_clock_mhz=1)


@pytest.fixture
def gpu_here(monkeypatch, driver):
    """As if JAX had an A100; programs still run on the CPU."""
    monkeypatch.setattr(target, "_here", lambda platform: target.Target("gpu", A100))
    device._here.cache_clear()
    device.cuda_driver.cache_clear()
    clocks._clock.cache_clear()
    monkeypatch.setattr(clocks, "_extension", lambda: cuda)
    yield driver
    device._here.cache_clear()
    device.cuda_driver.cache_clear()
    clocks._clock.cache_clear()


def test_on_a_cpu_and_for_a_gpu_that_is_not_here_the_hosts_clock_is_used():
    assert clocks.for_regions() is clocks.for_programs() is HOST
    with target.aiming_at(known("sm_90")):
        assert clocks.for_regions() is HOST


def test_the_hosts_clock_changes_nothing():
    def function(x):
        return x + 1

    assert HOST.marked(function) is function and HOST.results(function) is function
    lowered = jax.jit(function).lower(X)
    compile_it = lowered.compile
    assert HOST.compiling(function, lambda given: compile_it if given is function else None) is compile_it


def test_without_a_driver_the_hosts_clock_is_used(gpu_here, monkeypatch):
    monkeypatch.undo()
    monkeypatch.setattr(target, "_here", lambda platform: target.Target("gpu", known("sm_80")))
    clocks._extension.cache_clear()
    gpu_here.fails("cuDriverGetVersion")
    assert device.cuda_driver() is None and clocks.for_regions() is HOST
    clocks._extension.cache_clear()


def test_kernels_alone_find_an_empty_cache_unless_that_is_turned_off(gpu_here, monkeypatch):
    alone, programs = clocks.for_regions(), clocks.for_programs()
    assert isinstance(alone, DeviceClock) and isinstance(programs, DeviceClock)
    assert alone is clocks.for_regions() and alone is not programs
    assert (alone._flush_bytes, programs._flush_bytes) == (flush_bytes(A100), 0)
    kept = device.settings()
    monkeypatch.setattr(config, "flush_l2", False)
    assert clocks.for_regions() is programs
    assert device.settings() != kept  # costs are kept apart


@pytest.mark.parametrize("gpu", ["sm_75", "sm_80", "sm_86", "sm_89", "sm_90"])
def test_more_is_written_than_the_cache_holds_and_long_enough(gpu):
    written = flush_bytes(known(gpu))
    assert written >= 2 * known(gpu).l2_cache
    assert written / known(gpu).bandwidth >= 0.99 * clocks.HEAD_START_S
    assert written < 0.02 * known(gpu).memory


def test_the_option_is_read_from_the_environment(monkeypatch):
    assert Config().flush_l2
    monkeypatch.setenv("COLLAGE_JAX_FLUSH_L2", "off")
    assert not Config().flush_l2
    monkeypatch.setenv("COLLAGE_JAX_FLUSH_L2", "sometimes")
    with pytest.raises(ValueError, match="COLLAGE_JAX_FLUSH_L2 must be on or off, got 'sometimes'"):
        Config()


def test_each_thread_has_timers_of_its_own(gpu_here):
    found = [clocks.for_regions()]
    thread = threading.Thread(target=lambda: found.append(clocks.for_regions()))
    thread.start()
    thread.join()
    assert len({clock._timer for clock in found}) == 2


def test_costs_are_kept_under_gpu_and_driver(gpu_here):
    assert device.description() == "gpu NVIDIA A100-SXM4-40GB sm_80, driver for CUDA 13.1"


def test_on_a_cpu_the_driver_is_not_asked(monkeypatch):
    monkeypatch.setattr(device, "cuda_driver", lambda: pytest.fail("the driver was asked"))
    device._here.cache_clear()
    assert device.description().startswith("cpu ")
    assert "flush_l2" not in device.settings()


def test_a_gpu_hands_over_in_its_own_time_and_keeps_memory(gpu_here, monkeypatch, tied):
    monkeypatch.setattr(handover, "GPU_BYTES", 1 << 12)
    handover.fresh_us_per_byte.cache_clear()
    handover.handover_us_per_byte.cache_clear()
    assert handover.fresh_us_per_byte() == 0
    assert handover.handover_us_per_byte() == 0  # no kernel of the driver's, and the host's clock is not looked at
    assert {what for what, _, _ in gpu_here.work} == {"event"}
    handover.fresh_us_per_byte.cache_clear()
    handover.handover_us_per_byte.cache_clear()


# What is compared.


def slowly(x):
    time.sleep(0.003)
    return 2 * x


def test_the_kernel_that_is_faster_on_the_device_is_faster_however_long_the_host_takes(driver, kernel, tied):
    clock = on_device()
    fast, slow = calls(clock, kernel("fast", us=4.0, does=slowly), kernel("slow", us=9.0))
    times = race({"fast": fast, "slow": slow}, rounds=3, seconds=1.0, clock=clock)
    np.testing.assert_allclose(times["fast"], 4e-6, rtol=1e-6)
    np.testing.assert_allclose(times["slow"], 9e-6, rtol=1e-6)
    by_host = race({"fast": fast, "slow": slow}, rounds=3, seconds=1.0, hopeless=np.inf)
    assert np.median(by_host["fast"]) > np.median(by_host["slow"])


def test_candidates_are_checked_and_timed_on_the_device(gpu_here, kernel, tied, monkeypatch):
    """XLA's own operations take no time of this driver's clock; kernels take what they are said to."""
    monkeypatch.setattr(regions, "call_overhead_s", lambda arguments: 1e-6)
    fast, slow = kernel("fast", us=6.0, does=slowly), kernel("slow", us=11.0)
    wrong = kernel("wrong", us=1.0, does=lambda x: 3 * x)
    backends = [
        Fake(name, whole, lambda kernel, call=call: lambda x: (call(x),))
        for name, call in (("fast", fast), ("slow", slow), ("wrong", wrong))
    ]
    costs = costs_of(lambda x: x * 2, (X,), *backends)
    assert costs["fast"].median_us == pytest.approx(5.0) and costs["slow"].median_us == pytest.approx(10.0)
    assert isinstance(costs["xla"], Measured) and costs["xla"].median_us == 0
    assert costs["wrong"].stage == "verify"
    assert ("memset", flush_bytes(A100), None) in gpu_here.work


def drifting(driver, call, name, us, drift):
    """``call``, whose kernel takes ``us`` times the drift of the round."""
    factors = iter(drift)

    def next_call():
        driver.takes(name, us * next(factors))
        return call()

    return next_call


def test_under_drift_the_ratio_within_rounds_tells_contenders_apart(driver, kernel, tied):
    clock, rounds = on_device(), 9
    drift = np.concatenate([np.ones(3), np.exp(np.random.default_rng(0).normal(0, 0.5, rounds))])
    # Long kernels: one call a round, after three that find out who is hopeless.
    a, b = calls(clock, kernel("a"), kernel("b"))
    contenders = {"a": drifting(driver, a, "a", 1e3, drift), "b": drifting(driver, b, "b", 1.02e3, drift)}
    times = race(contenders, rounds=rounds, seconds=10.0, clock=clock)
    np.testing.assert_allclose(times["b"] / times["a"], 1.02, rtol=1e-5)
    assert np.std(times["a"]) / np.mean(times["a"]) > 0.2
    assert verdict.fastest(times) == "a"
    names = [what for what, _, _ in driver.work if what in "ab"]
    assert names[6:10] == ["a", "b", "b", "a"]  # in turn, the other way round each time


def trials_of(reference, programs):
    trials = Trials(
        [], [X], Reference(lambda: jax.jit(reference)(X), lambda frozen, others: [reference(*others)]), None
    )
    for name, function in programs.items():
        lowered = Lowered(lambda: ((), ()), lambda prepared, x, function=function: [function(x)])
        assert trials.enter(name, lambda lowered=lowered: lowered), trials.notes
    return trials


def test_whole_programs_are_judged_by_the_devices_time(gpu_here, kernel, tied):
    trials = trials_of(kernel("xla", us=900.0, does=slowly), {"placed": kernel("placed", us=300.0, does=slowly)})
    outcome = verdict.decide(trials, time.perf_counter() + 2.0)
    assert outcome.winner == "placed"
    assert outcome.measured_us == pytest.approx(300.0) and outcome.xla_us == pytest.approx(900.0)
    assert trials.rounds.ratio(XLA_ALONE, "placed") == pytest.approx(3.0)
    assert "memset" not in {what for what, _, _ in gpu_here.work}


def test_a_program_that_is_faster_for_the_device_alone_does_not_win(gpu_here, kernel, tied):
    placed = {"placed": kernel("placed", us=200.0, does=slowly)}
    outcome = verdict.decide(trials_of(kernel("xla", us=300.0), placed), time.perf_counter() + 2.0)
    assert outcome.winner is None
    assert outcome.measured_us == outcome.xla_us == pytest.approx(300.0)
    assert "placed is slower by the host's clock" in outcome.notes[-1]


def test_the_next_program_may_win_on_both_clocks(gpu_here, kernel, tied):
    programs = {"many": kernel("many", us=200.0, does=slowly), "few": kernel("few", us=205.0)}
    trials = trials_of(kernel("xla", us=300.0), programs)
    outcome = verdict.decide(trials, time.perf_counter() + 2.0)
    assert outcome.winner == "few" and outcome.measured_us == pytest.approx(205.0)
    assert any("many is slower by the host's clock" in note for note in outcome.notes)


def test_a_program_that_breaks_down_for_the_host_is_not_used(gpu_here, kernel, tied):
    trials = trials_of(kernel("xla", us=300.0), {"placed": kernel("placed", us=200.0)})
    call, by_host = trials._calls["placed"], trials.by_host

    def breaks(*arguments):
        trials._calls["placed"] = lambda: 1 / 0
        return by_host(*arguments)

    trials.by_host = breaks
    outcome = verdict.decide(trials, time.perf_counter() + 2.0)
    assert call is not None and outcome.winner is None and trials.names == []
    assert "placed: failed while it was timed: division by zero" in outcome.notes[-1]


def test_a_program_that_is_faster_for_the_host_alone_does_not_win(gpu_here, kernel, tied):
    trials = trials_of(kernel("xla", us=300.0, does=slowly), {"placed": kernel("placed", us=310.0)})
    assert verdict.decide(trials, time.perf_counter() + 2.0).winner is None


def test_where_xla_alone_cannot_be_marked_all_are_timed_by_the_host(gpu_here, monkeypatch):
    monkeypatch.setattr(clocks, "misplaced", lambda text: "fusion.7")
    trials = Trials([], [X], Reference(lambda: [2 * X], lambda frozen, others: [2 * others[0]]), None)
    assert trials._clock is HOST
    assert "Timed by the host's clock: RuntimeError: it cannot be timed: XLA put fusion.7" in trials.notes[0]
    assert trials.enter("placed", lambda: Lowered(lambda: ((), ()), lambda prepared, x: [x + x]))
    assert set(trials.race([XLA_ALONE, "placed"], 3, 1.0, np.inf)) == {XLA_ALONE, "placed"}
    assert gpu_here.work == []


def test_a_first_run_that_is_slow_for_the_host_is_no_time_of_the_devices(gpu_here, kernel, tied, monkeypatch):
    for module in ("whole.HOPELESS_S", "checking.SLOW_S"):
        monkeypatch.setattr(f"collage_jax.measure.{module}", 0.0)
    trials = trials_of(kernel("xla", us=300.0), {"placed": kernel("placed", us=200.0)})
    assert trials._took == {}
    costs = costs_of(lambda x: x * 2, (X,), Fake("same", whole))
    assert costs["xla"].median_us == 0 and costs["xla"].runs > 1


def test_a_program_that_cannot_be_marked_is_out(gpu_here, kernel, tied, monkeypatch):
    trials = trials_of(kernel("xla", us=300.0), {})
    monkeypatch.setattr(clocks, "misplaced", lambda text: "fusion.7")
    assert not trials.enter("placed", lambda: Lowered(lambda: ((), ()), lambda prepared, x: [2 * x]))
    assert "XLA put fusion.7 outside of the marks" in trials.notes[-1]


def test_what_has_no_traceable_reference_is_timed_by_the_host(gpu_here):
    assert Trials([], [X], Reference(lambda: 2 * X), None)._clock is HOST
