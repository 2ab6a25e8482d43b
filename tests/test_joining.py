"""Native calls in one program: the order of tasks, the text, the memory, and the same results as apart."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from collage_jax.backends.onednn import library
from collage_jax.ffi import program
from collage_jax.ffi.native_call import NativeCall, NativeOperand
from collage_jax.ffi.program import Step, can_hold
from collage_jax.lowering.joining import Task, run_tasks, tasks_of_call

onednn = library.load()
pytestmark = pytest.mark.skipif(not onednn, reason="there is no oneDNN here")


def call_of(spec: str, shape: Sequence[int], operands: Sequence[NativeOperand]) -> NativeCall:
    result = jax.ShapeDtypeStruct(tuple(shape), jnp.float32)
    return NativeCall(library.TARGET, spec, onednn.version(), tuple(operands), result, library.STEP)


def add_of(*shape: int) -> NativeCall:
    """A sum of two arrays; sizes may differ from test to test, so that arrays of a program do too."""
    rows, columns = shape
    memory = f"f32:{rows}x{columns}:{columns}x1"
    spec = f"op=binary alg=add src0={memory} src1={memory} dst={memory}"
    return call_of(spec, shape, [NativeOperand((0,)), NativeOperand((1,))])


def relu_of(*shape: int) -> NativeCall:
    rows, columns = shape
    memory = f"f32:{rows}x{columns}:{columns}x1"
    return call_of(f"op=eltwise alg=relu src={memory} dst={memory}", shape, [NativeOperand((0,))])


def xla(function: Any, reads: Sequence[Any], make: Any) -> Task:
    return Task(tuple(reads), (make,), lambda *arrays: (function(*arrays),))


def reshape(read: Any, make: Any, *shape: int) -> Task:
    return Task((read,), (make,), lambda array: (jnp.reshape(array, shape),), shape=shape)


def results(tasks: Sequence[Task], env: dict[Any, Any], wanted: Sequence[Any]) -> tuple[list[Any], int, int]:
    """Arrays for ``wanted``, and how many programs and single calls were compiled in."""

    def run(env: dict[Any, Any]) -> list[Any]:
        env = dict(env)
        run_tasks(tasks, env, wanted)
        return [env[key] for key in wanted]

    lowered = jax.jit(run).lower(env)
    text = lowered.as_text()
    return lowered.compile()(env), text.count(f"@{program.TARGET}("), text.count(f"@{library.TARGET}(")


X = np.linspace(-1, 1, 24, dtype=np.float32).reshape(4, 6)
ENV = {"x": X, "y": X[::-1].copy()}


def test_calls_are_named_for_profilers():
    tasks = [
        *tasks_of_call(add_of(4, 6), ["x", "y"], "a", "fast: add"),
        *tasks_of_call(relu_of(4, 6), ["a"], "b", "fast: relu"),
        Task(("b",), ("c",), lambda b: (jnp.sin(b),), title="slow: sin"),
    ]

    def fun(x: Any, y: Any) -> Any:
        env = {"x": x, "y": y}
        run_tasks(tasks, env, ["c"])
        return env["c"]

    text = jax.jit(fun).lower(X, X).compile().as_text()
    assert "fast: 2 kernels/" in text and "slow: sin/" in text


def test_calls_in_a_row_become_one_program():
    tasks = [*tasks_of_call(add_of(4, 6), ["x", "y"], "a"), *tasks_of_call(relu_of(4, 6), ["a"], "b")]
    (b,), programs, calls = results(tasks, ENV, ["b"])
    np.testing.assert_array_equal(b, np.maximum(X + X[::-1], 0))
    assert (programs, calls) == (1, 0)


def test_what_is_read_later_leaves_the_program():
    tasks = [
        *tasks_of_call(add_of(4, 6), ["x", "y"], "a"),
        *tasks_of_call(relu_of(4, 6), ["a"], "b"),
        xla(jnp.cos, ["a"], "c"),
        *tasks_of_call(add_of(4, 6), ["b", "c"], "d"),
    ]
    (a, d), programs, calls = results(tasks, ENV, ["a", "d"])
    np.testing.assert_array_equal(a, X + X[::-1])
    np.testing.assert_allclose(d, np.maximum(a, 0) + np.cos(a), rtol=1e-6)
    assert (programs, calls) == (1, 1)


def test_work_for_xla_is_done_before_where_it_can_be():
    tasks = [
        *tasks_of_call(add_of(4, 6), ["x", "y"], "a"),
        xla(jnp.cos, ["x"], "c"),
        *tasks_of_call(add_of(4, 6), ["a", "c"], "d"),
    ]
    (d,), programs, calls = results(tasks, ENV, ["d"])
    np.testing.assert_allclose(d, X + X[::-1] + np.cos(X), rtol=1e-6)
    assert (programs, calls) == (1, 0)


def test_a_change_of_shape_is_no_step():
    tasks = [
        *tasks_of_call(relu_of(4, 6), ["x"], "a"),
        reshape("a", "b", 6, 4),
        reshape("b", "c", 3, 8),
        *tasks_of_call(relu_of(3, 8), ["c"], "d"),
        *tasks_of_call(add_of(3, 8), ["c", "d"], "e"),
    ]
    (b, c, e), programs, calls = results(tasks, ENV, ["b", "c", "e"])
    positive = np.maximum(X, 0)
    np.testing.assert_array_equal(b, positive.reshape(6, 4))
    np.testing.assert_array_equal(c, positive.reshape(3, 8))
    np.testing.assert_array_equal(e, 2 * positive.reshape(3, 8))
    assert (programs, calls) == (1, 0)


def test_an_operand_that_has_to_be_made_is_made_before():
    made = [NativeOperand((0,)), NativeOperand((1,), lambda y: y * 2)]
    add = call_of(add_of(4, 6).spec, (4, 6), made)
    tasks = [*tasks_of_call(add, ["x", "y"], "a"), *tasks_of_call(relu_of(4, 6), ["a"], "b")]
    (b,), programs, calls = results(tasks, ENV, ["b"])
    np.testing.assert_array_equal(b, np.maximum(X + 2 * X[::-1], 0))
    assert (programs, calls) == (1, 0)


@st.composite
def task_lists(draw: st.DrawFn) -> tuple[list[Task], list[str], int]:
    """Tasks on arrays of equal sizes and changing shapes, the keys they make, and how many are native."""
    shapes = {"x": (4, 6), "y": (4, 6)}
    tasks: list[Task] = []
    native = 0
    for i in range(draw(st.integers(1, 14))):
        key = f"v{i}"
        read = draw(st.sampled_from(sorted(shapes)))
        shape = shapes[read]
        kind = draw(st.sampled_from(["add", "relu", "relu", "reshape", "xla"]))
        if kind == "add":
            other = draw(st.sampled_from(sorted(k for k, s in shapes.items() if s == shape)))
            tasks += tasks_of_call(add_of(*shape), [read, other], key)
        elif kind == "relu":
            tasks += tasks_of_call(relu_of(*shape), [read], key)
        elif kind == "reshape":
            shape = draw(st.sampled_from([(4, 6), (6, 4), (2, 12), (24, 1)]))
            tasks.append(reshape(read, key, *shape))
        else:
            tasks.append(xla(lambda a: a - 1, [read], key))
        native += kind in ("add", "relu")
        shapes[key] = shape
    return tasks, [k for k in shapes if k not in ENV], native


@given(task_lists(), st.data())
def test_any_tasks_give_the_same_joined_as_apart(drawn: Any, data: st.DataObject) -> None:
    tasks, keys, _ = drawn
    wanted = data.draw(st.lists(st.sampled_from(keys), min_size=1, unique=True))
    env: dict[Any, Any] = dict(ENV)
    for task in tasks:
        env.update(zip(task.makes, task.run(*(env[key] for key in task.reads)), strict=True))
    got, _, _ = results(tasks, ENV, wanted)
    for key, array in zip(wanted, got, strict=True):
        assert array.shape == env[key].shape
        np.testing.assert_array_equal(array, env[key])


def test_a_kernel_without_steps_stays_a_call():
    assert can_hold(relu_of(4, 6))
    assert not can_hold(NativeCall("some_target", "", "", (), jax.ShapeDtypeStruct((), jnp.float32)))


def test_calls_from_several_threads_do_not_share_memory():
    size = 257
    chain = [Step(relu_of(size, size), ("x",), 0)]
    chain += [Step(add_of(size, size), (i, i), i + 1) for i in range(6)]
    run = jax.jit(program.program(chain, ["x"], [6]))
    inputs = [np.full((size, size), i, np.float32) for i in range(4)]
    failures: list[int] = []

    def work(i: int) -> None:
        for _ in range(20):
            (got,) = run(inputs[i])
            if not np.array_equal(got, inputs[i] * 64):
                failures.append(i)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


RELU = f"_onednn {onednn.version() if onednn else ''} {{}}\n{relu_of(4, 6).spec}"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (RELU.format("o0 t0"), "step 0 reads an array that no earlier step makes"),
        (RELU.format("i0 i0"), "step 0 makes an array that there is already"),
        (RELU.format("o0 i0") + "\n" + RELU.format("o0 i0"), "step 1 makes an array that there is already"),
        (RELU.format("o0 z0"), "step 0: `z0` is no array"),
        (RELU.format("o0 i99999999999"), "is no array"),
        (RELU.format("o0 i0 i1"), "takes 1 arrays, got 2"),
        (RELU.format("o0 i0").replace("_onednn", "_nothing"), "the library `_nothing` is not loaded"),
        (RELU.format("o0 i0").replace(" i0", " i1"), "the program has 2 inputs, got 1"),
        (RELU.format("o0 i0").replace("alg=relu", "alg=rely"), "rely"),
        (RELU.format("o1 i0"), "the program has 2 results, got 1"),
    ],
)
def test_a_text_without_sense_is_an_error_that_says_where(text: str, reason: str) -> None:
    assert can_hold(relu_of(4, 6))
    invoke = jax.ffi.ffi_call(program.TARGET, [jax.ShapeDtypeStruct((4, 6), jnp.float32)])
    with pytest.raises(jax.errors.JaxRuntimeError, match=reason):
        jax.block_until_ready(jax.jit(lambda x: invoke(x, spec=text))(X))


def test_an_array_too_small_for_its_step_is_an_error():
    assert can_hold(relu_of(4, 6))
    invoke = jax.ffi.ffi_call(program.TARGET, [jax.ShapeDtypeStruct((4, 6), jnp.float32)])
    with pytest.raises(jax.errors.JaxRuntimeError, match="input 0 of the program has 48 bytes, its steps need 96"):
        jax.block_until_ready(jax.jit(lambda x: invoke(x, spec=RELU.format("o0 i0")))(X[:2]))


def test_arrays_of_another_librarys_version_are_refused():
    assert can_hold(relu_of(4, 6))
    text = RELU.format("o0 i0").replace(onednn.version(), "1.0")
    invoke = jax.ffi.ffi_call(program.TARGET, [jax.ShapeDtypeStruct((4, 6), jnp.float32)])
    with pytest.raises(jax.errors.JaxRuntimeError, match=r"compiled for oneDNN 1\.0"):
        jax.block_until_ready(jax.jit(lambda x: invoke(x, spec=text))(X))


def test_a_step_that_waits_for_what_nobody_makes_is_an_error_and_no_endless_search():
    tasks = [Task(("x",), ("y",), lambda x: (x,)), Task(("z",), ("w",), lambda z: (z,))]
    with pytest.raises(ValueError, match="steps wait for what no step makes"):
        run_tasks(tasks, {"x": X}, ["w"])
