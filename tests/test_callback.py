"""Python functions in JAX programs, and as kernels: on XLA's own memory, with errors that say what happened."""

from __future__ import annotations

import gc
import os
import re
import subprocess
import sys
import textwrap
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from api_fakes import assert_like_jit, is_placed, use
from fakes import array_of
from hypothesis import given, settings
from hypothesis import strategies as st

import collage_jax
from collage_jax.backends import registry
from collage_jax.candidates import find
from collage_jax.costs import Measured
from collage_jax.graph.trace import trace_function
from collage_jax.host_functions import TARGET, Digest, callback_call, callback_kernel, register, registered, unregister
from collage_jax.patterns import Pattern, any_, const, gelu, one_of, op, optional, relu
from collage_jax.patterns.recognise import recognise

pytest.importorskip("collage_jax._callback", exc_type=ImportError)

BACKEND = registry.get("callback")
X = jnp.linspace(-1, 1, 12).reshape(3, 4)
W = jnp.linspace(1, 2, 8).reshape(4, 2)
FLOAT8 = ("float8_e4m3fn", "float8_e5m2", "float8_e4m3b11fnuz")
DTYPES = ("float32", "bfloat16", "float16", "int32", "int8", "uint16", "bool", "complex64", *FLOAT8)


def like(*arrays):
    """Shapes of results like ``arrays``: one, or several."""
    shapes = [jax.ShapeDtypeStruct(a.shape, a.dtype) for a in arrays]
    return shapes[0] if len(shapes) == 1 else shapes


def copies(*views):
    half = len(views) // 2
    for source, out in zip(views[:half], views[half:], strict=True):
        out[...] = source


def doubles(x, out):
    np.add(x, x, out=out)


def failing(function, *arrays):
    """The message of the error that a program with ``function`` ends with."""
    run = jax.jit(callback_call(function, like(*arrays)))
    with pytest.raises(jax.errors.JaxRuntimeError) as caught:
        jax.block_until_ready(run(*arrays))
    return str(caught.value)


# Calls in programs.


@st.composite
def arrays(draw):
    shape = tuple(draw(st.lists(st.integers(0, 5), max_size=4)))
    array = array_of(shape, "float32", draw(st.integers(0, 99)))
    return array.astype(draw(st.sampled_from(DTYPES)))


@given(st.lists(arrays(), min_size=1, max_size=3))
def test_every_array_arrives_and_comes_back_as_it_is(given_arrays):
    def check(*views):
        for view in views:
            assert view.flags.c_contiguous and view.flags.aligned and (view.size == 0 or not view.flags.owndata)
        assert [v.flags.writeable for v in views] == [False] * len(given_arrays) + [True] * len(given_arrays)
        copies(*views)

    shapes = [jax.ShapeDtypeStruct(a.shape, a.dtype) for a in given_arrays]
    got = jax.jit(callback_call(check, shapes))(*given_arrays)
    for g, a in zip(got, given_arrays, strict=True):
        assert (g.shape, g.dtype) == (a.shape, a.dtype)
        assert np.asarray(g).tobytes() == np.asarray(a).tobytes()


@settings(max_examples=settings.default.max_examples // 2)
@given(arrays(), arrays())
def test_a_function_in_the_middle_of_a_program_computes_what_jax_does(x, y):
    x, y = jnp.atleast_1d(x.astype("float32")), jnp.atleast_1d(y.astype("float32"))

    def outer_product(a, b, out, total):
        np.multiply.outer(a, b, out=out)
        total[...] = out.sum()

    result = jax.ShapeDtypeStruct(x.shape + y.shape, "float32"), jax.ShapeDtypeStruct((), "float32")
    call = callback_call(outer_product, result)

    def program(product):
        made, total = product(jnp.tanh(x), y[::-1])
        return jnp.sin(made) + total

    got = jax.jit(lambda: program(call))()
    wanted = jax.jit(lambda: program(lambda a, b: (m := jnp.multiply.outer(a, b), m.sum())))()
    np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-5)


def test_nothing_is_copied():
    seen = []

    def note(*views):
        seen.extend(view.ctypes.data for view in views)
        copies(*views)

    y = X + 1
    run = jax.jit(callback_call(note, like(X, y), name="note"))
    first, second = run(X, y)
    assert seen == [a.unsafe_buffer_pointer() for a in (X, y, first, second)]


def test_64_bits_need_their_setting():
    with jax.enable_x64(True):
        x = jnp.arange(3, dtype="float64")
        got = jax.jit(callback_call(doubles, like(x)))(x)
        assert got.dtype == np.float64
    with pytest.raises(TypeError, match=r"result 0 .* float64; set jax_enable_x64, or use 32 bits"):
        callback_call(doubles, jax.ShapeDtypeStruct((3,), "float64"))(np.ones(3, "float32"))


@pytest.mark.parametrize(
    "array", [jnp.ones(4, "int4"), jnp.ones(4, "uint2"), jax.random.key(0)], ids=["int4", "uint2", "key"]
)
def test_what_numpy_cannot_view_is_refused_when_traced(array):
    call = callback_call(lambda x, out: None, jax.ShapeDtypeStruct((4,), "int8"))
    with pytest.raises(TypeError, match=r"operand 0 .* XLA and NumPy do not hold .* in the same way; convert it"):
        jax.jit(call)(array)


def test_a_function_runs_in_loops_and_branches():
    call = callback_call(doubles, like(X))

    def program(double, x):
        x, _ = jax.lax.scan(lambda c, _: (double(c), None), x, None, length=3)
        x = jax.lax.fori_loop(0, 2, lambda _, c: double(c) - 1, x)
        return jax.lax.cond(x.sum() > 0, double, lambda c: c, x)

    got = jax.jit(partial(program, call))(X)
    np.testing.assert_allclose(got, jax.jit(partial(program, lambda x: x + x))(X), rtol=1e-6)


@pytest.mark.parametrize("method", ["sequential", "expand_dims", "broadcast_all"])
def test_vmap_works_as_its_method_says(method):
    got = jax.vmap(callback_call(doubles, like(X[0]), vmap_method=method))(X)
    np.testing.assert_array_equal(got, 2 * X)


def test_vmap_without_a_method_and_grad_say_what_is_missing():
    call = callback_call(doubles, like(X))
    with pytest.raises(NotImplementedError, match="vmap_method"):
        jax.vmap(call)(X[None])
    with pytest.raises(ValueError, match="cannot be differentiated"):
        jax.grad(lambda x: call(x).sum())(X)


def test_an_exported_program_calls_the_function():
    allowed = [jax.export.DisabledSafetyCheck.custom_call(TARGET)]
    exported = jax.export.export(jax.jit(callback_call(doubles, like(X))), disabled_checks=allowed)(like(X))
    np.testing.assert_array_equal(exported.call(X), 2 * X)


def test_numpys_own_functions_partials_methods_and_objects_can_be_called():
    class Scale:
        def __init__(self, factor):
            self.factor = factor

        def __call__(self, x, out):
            np.multiply(x, self.factor, out=out)

        def method(self, x, out):
            self(x, out)

    def scale(factor, x, out):
        return np.multiply(x, factor, out=out)  # a result given back, as NumPy does

    functions = [Scale(2), Scale(3), Scale(4).method, partial(scale, np.float32(5)), np.negative]
    got = jax.jit(lambda x: [callback_call(f, like(x))(x) for f in functions])(X)
    np.testing.assert_array_equal(got, [X * n for n in (2, 3, 4, 5, -1)])


def test_threads_run_one_program_and_many_at_once():
    barrier = threading.Barrier(4)

    def adds(n, x, out):
        np.add(x, n, out=out)

    shared = jax.jit(callback_call(partial(adds, 100), like(X)))

    def serve(n):
        own = jax.jit(callback_call(partial(adds, n), like(X)))
        barrier.wait()
        return [np.asarray(run(X + i)) for i in range(10) for run in (own, shared)]

    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(serve, range(4)))
    for n, got in enumerate(results):
        np.testing.assert_allclose(got, [X + i + k for i in range(10) for k in (n, 100)], rtol=1e-6)


def test_a_function_lives_as_long_as_a_program_that_calls_it():
    class Held:
        def __call__(self, x, out):
            doubles(x, out)

    first, second = Held(), Held()
    dropped = weakref.ref(first)
    run = jax.jit(callback_call(first, like(X)))
    run(X)
    callback_call(second, like(X))  # takes the name over
    del first
    gc.collect()
    np.testing.assert_array_equal(run(X), 2 * X)
    run.clear_cache()
    del run
    gc.collect()
    jax.jit(callback_call(second, like(X)))(X)
    gc.collect()
    assert dropped() is None


# What goes wrong.


class NoGood(Exception):
    pass


class Unprintable(Exception):
    def __str__(self):
        raise RuntimeError


@pytest.mark.parametrize(
    "error", [NoGood("no good\nat all"), KeyboardInterrupt(), SystemExit(3), Unprintable(), NoGood("\0 \ud800")]
)
def test_what_a_function_raises_is_an_error_with_its_traceback(error):
    calls = []

    def deeper():
        raise error

    def raises(x, out):
        calls.append(1)
        deeper()

    message = failing(raises, X)
    first, *others = message.splitlines()
    assert type(error).__name__ in first and "raises#" in first
    assert "no good" in first or "at all" not in message
    text = "\n".join(others)
    assert "Traceback (most recent call last)" in text
    assert "in raises\n" in text and "in deeper\n" in text and "raise error" in text
    assert calls == [1]


def test_a_program_that_failed_once_runs_again():
    state = {"fails": True}

    def sometimes(x, out):
        if state["fails"]:
            raise NoGood("not yet")
        doubles(x, out)

    run = jax.jit(callback_call(sometimes, like(X)))
    with pytest.raises(jax.errors.JaxRuntimeError, match="NoGood: not yet"):
        jax.block_until_ready(run(X))
    state["fails"] = False
    np.testing.assert_array_equal(run(X), 2 * X)


def writes_an_operand(x, out):
    x[...] = 1


def takes_too_few(x):
    pass


def returns_a_new_array(x, out):
    return x + x


def returns_an_operand(x, out):
    return x


async def is_asynchronous(x, out):
    doubles(x, out)


@pytest.mark.filterwarnings("ignore:coroutine:RuntimeWarning")
@pytest.mark.parametrize(
    ("function", "reason"),
    [
        (writes_an_operand, "ValueError: assignment destination is read-only"),
        (takes_too_few, "TypeError: .*takes 1 positional argument but 2 were given"),
        (
            returns_a_new_array,
            r"returned an object of type numpy.ndarray; it must write its 1 result\(s\) into its last",
        ),
        (returns_an_operand, "returned an object of type numpy.ndarray"),
        (is_asynchronous, "returned an object of type coroutine"),
    ],
)
def test_a_function_that_does_not_keep_to_the_convention_is_told_so(function, reason):
    with pytest.raises(jax.errors.JaxRuntimeError, match=reason):
        jax.block_until_ready(jax.jit(callback_call(function, like(X)))(X))


KEPT: list = []


@pytest.mark.parametrize(
    ("keep", "place"),
    [
        (lambda x, out: x, "argument 0 .an operand."),
        (lambda x, out: out, r"argument 1 .result 0."),
        (lambda x, out: x[1:, ::2], "argument 0"),
        (lambda x, out: out.T, "argument 1"),
        (lambda x, out: memoryview(x), "argument 0"),
        (lambda x, out: x[1:][1:], "argument 0"),
        (lambda x, out: lambda: out, "argument 1"),
    ],
    ids=["operand", "result", "part", "transposed", "memoryview", "part of a part", "closure"],
)
def test_a_view_that_outlives_its_call_is_an_error(keep, place):
    def keeps(x, out):
        out[...] = x
        KEPT.append(keep(x, out))

    try:
        with pytest.raises(
            jax.errors.JaxRuntimeError, match=rf"{place}.*, or a view of it, is still in use.*keep a copy"
        ):
            jax.block_until_ready(jax.jit(callback_call(keeps, like(X), name="keeps"))(X))
    finally:
        KEPT.clear()


@pytest.mark.parametrize("keep", [lambda x: x, lambda x: x[1:].T, lambda x: x[1:][1:]], ids=["whole", "part", "parts"])
def test_a_view_that_was_kept_is_not_read_to_tell_functions_apart(keep):
    def keeps(x, out):
        out[...] = x
        KEPT.append(keep(x))

    try:
        with pytest.raises(jax.errors.JaxRuntimeError, match="still in use"):
            jax.block_until_ready(jax.jit(callback_call(keeps, like(X), name="keeps"))(X))
        made = Digest(keeps)
        made.of(keeps)
        assert [type(thing) for thing in made.untold.values()] == [np.ndarray]
    finally:
        KEPT.clear()


def test_copies_may_be_kept_and_circles_are_in_nobodys_use():
    def keeps(x, out):
        doubles(x, out)
        KEPT.append(np.array(x))
        circle = [x, out]
        circle.append(circle)

    try:
        np.testing.assert_array_equal(jax.jit(callback_call(keeps, like(X), name="copies"))(X), 2 * X)
        np.testing.assert_array_equal(KEPT[0], X)
    finally:
        KEPT.clear()


@pytest.mark.parametrize(
    ("arguments", "error", "reason"),
    [
        ((3, like(X)), TypeError, "a function of NumPy arrays is needed, got 3"),
        ((doubles, []), ValueError, "give the shape of one at least"),
        ((doubles, (3, 4)), TypeError, r"must hold shapes and dtypes, got 3; write jax.ShapeDtypeStruct"),
    ],
)
def test_bad_arguments_are_refused_with_a_remedy(arguments, error, reason):
    with pytest.raises(error, match=reason):
        callback_call(*arguments)


# Names.


def factory(factor, default=0):
    def scales(x, out, _default=default):
        np.multiply(x, factor, out=out)

    return scales


def name_of(function):
    return Digest(function).of(function).hex()


@pytest.mark.parametrize(
    "contents",
    [
        (2, 3),
        (2, 2.0),
        (0.0, -0.0),
        ("a", b"a"),
        ([1, 2], [2, 1]),
        ({"a": 1}, {"a": 2}),
        ({1, 2}, {1, 3}),
        (np.arange(3), np.arange(4)),
        (np.float32(1), np.float64(1)),
        (jnp.ones(3), jnp.zeros(3)),
        (partial(doubles, 1), partial(doubles, 2)),
        (doubles, copies),
        (np.exp, np.log),
        (np, jnp),
        (np.dtype("int8"), np.dtype("uint8")),
    ],
    ids=lambda pair: re.sub(r" at 0x[0-9a-f]+", "", repr(pair)).replace("/", "."),
)
def test_functions_that_hold_other_things_have_other_names(contents):
    first, second = contents
    assert name_of(factory(first)) == name_of(factory(first)) != name_of(factory(second))
    assert name_of(factory(0, first)) != name_of(factory(0, second))


def test_a_function_that_holds_itself_has_a_name():
    def outer():
        def recursive(x, out):
            return recursive, out

        return recursive

    assert name_of(outer()) == name_of(outer())


def test_functions_that_cannot_be_told_apart_are_refused_unless_they_are_named():
    class Library:
        __slots__ = ()

    def uses(library):
        def kernel(x, out):
            assert library is not None
            doubles(x, out)

        return kernel

    one, other = Library(), Library()
    callback_call(uses(one), like(X))
    callback_call(uses(one), like(X))
    with pytest.raises(ValueError, match=r"uses.<locals>.kernel cannot be told apart: .* \(Library\); pass a name"):
        callback_call(uses(other), like(X))
    np.testing.assert_array_equal(jax.jit(callback_call(uses(other), like(X), name="the other"))(X), 2 * X)


# Other processes.

KERNELS = """
    import numpy as np
    from collage_jax.host_functions import callback_call, callback_kernel
    from collage_jax.patterns import any_, op

    FACTORS = {"a", "b", "c"}, 3.0

    @callback_kernel(op("sin")(any_("x")), where=lambda match: match["x"].ndim == 2)
    def scale(x, out):
        assert "a" in FACTORS[0]
        np.multiply(x, FACTORS[1], out=out)
"""

PROGRAM = """
    import sys, jax, jax.numpy as jnp, numpy as np
    from collage_jax.host_functions import TARGET, Digest, callback_call, load_extension, registered

    hits = []
    jax.monitoring.register_event_listener(lambda event, **_: hits.append(event.endswith("/cache_hits")))
    load_extension()
    x = np.ones((2, 3), np.float32)
    shape = jax.ShapeDtypeStruct(x.shape, x.dtype)
    def run(call):
        def program(x):
            return jnp.tanh(call(x + 1)) * 2
        return bool(np.allclose(jax.jit(program)(x), np.tanh(6) * 2))

    for unknown in sys.argv[1:]:
        try:
            run(lambda x: jax.ffi.ffi_call(TARGET, (shape,))(x, function=unknown)[0])
        except jax.errors.JaxRuntimeError as error:
            print(error, file=sys.stderr)
    hits.clear()
    import kernels
    name = f"kernels:scale#{Digest(kernels.scale).of(kernels.scale).hex()[:16]}"
    print(name, registered()[0].version, run(callback_call(kernels.scale, shape)), sum(hits))
"""


def python(text, *arguments, **environment):
    command = [sys.executable, "-P", "-c", textwrap.dedent(text), *arguments]
    done = subprocess.run(
        command, env=os.environ | environment, capture_output=True, text=True, timeout=120, check=False
    )
    return done.returncode, done.stdout.split(), done.stderr


@pytest.fixture
def folder(tmp_path):
    """The environment of a process that finds the module ``kernels`` and a compilation cache of its own."""
    (tmp_path / "kernels.py").write_text(textwrap.dedent(KERNELS))
    return {
        "PYTHONPATH": os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])]),
        "JAX_COMPILATION_CACHE_DIR": str(tmp_path / "cache"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
    }


def test_a_program_from_the_compilation_cache_finds_its_function_or_says_what_is_missing(folder):
    code, first, errors = python(PROGRAM, PYTHONHASHSEED="1", **folder)
    assert code == 0, errors
    name, version, is_right, hits = first
    assert (is_right, hits) == ("True", "0")
    code, (*again, hits), errors = python(PROGRAM, name, PYTHONHASHSEED="2", **folder)
    assert code == 0, errors
    assert again == [name, version, "True"] and int(hits) > 0
    reason = f"no Python function called `{name}` is registered in this process: import the module that registers it"
    assert reason in errors


def test_a_process_ends_while_a_function_is_waited_for():
    code, printed, errors = python("""
        import time, jax, jax.numpy as jnp
        from collage_jax.host_functions import callback_call

        def slow(x, out):
            time.sleep(0.2)
            out[...] = x

        call = callback_call(slow, jax.ShapeDtypeStruct((300, 300), "float32"))
        run = jax.jit(lambda x: call(jnp.tanh(call(x @ x)) @ x))
        x = jnp.ones((300, 300))
        jax.block_until_ready(run(x))
        pending = run(x)
        print("done")
    """)  # that it does not crash: the program's second call would come when Python is gone
    assert (code, printed) == (0, ["done"]), errors


# Kernels.


@pytest.fixture(autouse=True)
def table():
    """No kernels before and after."""
    before = registered()
    for kernel in before:
        unregister(kernel.name)
    yield
    for kernel in registered():
        unregister(kernel.name)
    for kernel in before:
        register(kernel)


def gelu_dot(x, w, out):
    y = x @ w
    out[...] = 0.5 * y * (1 + np.tanh(np.sqrt(2 / np.pi) * (y + 0.044715 * y**3)))


def layer(x, w):
    return jax.nn.gelu(x @ w) * 2


GELU_DOT = gelu(op("dot_general")(any_("x"), any_("w")))


def considered(function, *arguments):
    """Labels of the kernels' candidates, and the reasons of refusals."""
    found = find(recognise(trace_function(function, *arguments)), [BACKEND])
    mine = [c for c in found.chosen_from if c.backend == "callback"]
    return [c.label for c in mine], [r.reason for r in found.refusals], [c.region for c in mine]


def emitted(function, *arguments):
    """What the one candidate gives on the region's entries, taken from ``arguments`` in their order."""
    labels, reasons, (region,) = considered(function, *arguments)
    assert len(labels) == 1, reasons
    graph = region.graph
    known = dict(zip(graph.inputs, arguments, strict=True))
    return jax.jit(BACKEND.emit(region))(*(known[v] for v in region.entries))


def test_the_backend_is_there_only_with_a_kernel_and_its_extension(monkeypatch):
    assert "no kernel was registered; use collage_jax.callback_kernel" in str(BACKEND.available().reason)
    assert callback_kernel(GELU_DOT)(gelu_dot) is gelu_dot
    assert BACKEND.available() is None
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "collage_jax._callback", None)
        patch.setattr(sys.modules["collage_jax.host_functions.call"], "_module", None)
        assert "the extension for Python functions is missing" in BACKEND.available().reason
    assert [k.name for k in registered()] == ["gelu_dot"]
    (info,) = [b for b in collage_jax.backends() if b.name == "callback"]
    assert info.available and info.kind == "kernel-library" and info.version == BACKEND.version()


def test_the_version_is_that_of_the_kernels():
    callback_kernel(GELU_DOT)(gelu_dot)
    versions = [BACKEND.version()]
    unregister("gelu_dot")
    callback_kernel(GELU_DOT, where=lambda m: m["x"].ndim == 2)(gelu_dot)
    versions.append(BACKEND.version())
    callback_kernel(op("sin")(any_("x")))(doubles)
    versions.append(BACKEND.version())
    assert len(set(versions)) == 3
    unregister("doubles")
    assert BACKEND.version() == versions[1]


def test_a_kernel_is_placed_and_gives_what_jit_gives(monkeypatch):
    use(monkeypatch, BACKEND)
    callback_kernel(GELU_DOT, where=lambda m: m["x"].dtype == "float32")(gelu_dot)
    decorated = collage_jax.jit(layer, backends=["callback"])
    assert_like_jit(decorated(X, W), jax.jit(layer)(X, W))
    assert is_placed(decorated.placement(X, W), ["callback"])
    assert "gelu_dot" in decorated.explain(X, W)
    half = X.astype("bfloat16"), W.astype("bfloat16")
    assert_like_jit(decorated(*half), jax.jit(layer)(*half))
    assert not is_placed(decorated.placement(*half), ["callback"])


def test_a_kernel_runs_in_a_loop_and_after_a_transformation(monkeypatch):
    use(monkeypatch, BACKEND)
    callback_kernel(op("sin")(any_("x")))(lambda x, out: np.sin(x, out=out))

    def loop(x):
        return jax.lax.scan(lambda c, _: (jnp.sin(c) + x, None), x, None, length=4)[0]

    decorated = collage_jax.jit(loop, backends=["callback"])
    assert_like_jit(decorated(X), jax.jit(loop)(X))
    assert is_placed(decorated.placement(X), ["callback"])
    wanted = jax.grad(lambda x: loop(x).sum())(X)
    np.testing.assert_allclose(jax.grad(lambda x: decorated(x).sum())(X), wanted, rtol=1e-5)


def test_a_sort_by_numpy_is_measured_and_right():
    def sorts(x, out):
        out[...] = x
        out.sort(axis=-1)

    callback_kernel(op("sort")(any_("x")), where=lambda m: m.root.params["dimension"] == m["x"].ndim - 1)(sorts)
    x = jnp.asarray(np.random.default_rng(0).standard_normal((64, 500)), jnp.float32)

    def program(x):
        return jnp.sort(x * 2, axis=-1) + 1

    decorated = collage_jax.jit(program, backends=["callback"], budget_s=30)
    assert_like_jit(decorated(x), jax.jit(program)(x))
    (row,) = [r for r in decorated.placement(x).regions if "callback" in (r.backend, *r.alternatives)]
    costs = [row.cost, *row.alternatives.values()]
    assert len(costs) == 2 and all(isinstance(cost, Measured) and cost.median_us > 0 for cost in costs)
    assert "callback" in decorated.explain(x)


@pytest.mark.parametrize(
    ("kernel", "reason"),
    [
        (lambda x, out: np.add(x, 1, out=out), "verify: differs from XLA by"),
        (lambda x, out: 1 / 0, "run: JaxRuntimeError: INTERNAL: ZeroDivisionError: division by zero (raised by"),
        (lambda x, out: np.sin(x), "must write its 1 result(s) into its last 1 argument(s)"),
        (lambda x, out: KEPT.append(x), "is still in use"),
        (lambda x, out: sys.exit(), "run: JaxRuntimeError: INTERNAL: SystemExit"),
    ],
    ids=["wrong", "raises", "returns", "keeps", "exits"],
)
def test_a_kernel_that_fails_costs_nothing_but_itself(kernel, reason, monkeypatch):
    use(monkeypatch, BACKEND)
    callback_kernel(op("sin")(any_("x")), name="bad")(kernel)
    decorated = collage_jax.jit(lambda x: jnp.sin(x) + 1, backends=["callback"])
    assert_like_jit(decorated(X), jnp.sin(X) + 1)
    assert not is_placed(decorated.placement(X), ["callback"])
    assert reason in " ".join(decorated.explain(X).split())
    KEPT.clear()


# What a kernel's parameters get.


def by_name(last, right, left, out):
    np.multiply(left, right, out=out)
    out -= last


def test_parameters_get_what_is_captured_under_their_names():
    callback_kernel(op("sub")(op("mul")(any_("left"), any_("right")), any_("last")))(by_name)
    y, z = X * 3, X - 5
    np.testing.assert_allclose(emitted(lambda a, b, c: a * b - c, X, y, z)[0], X * y - z, rtol=1e-6)
    np.testing.assert_allclose(emitted(lambda a, b: a * b - b, X, y)[0], X * y - y, rtol=1e-6)


def test_a_bias_comes_as_its_vector():
    @callback_kernel(op("add")(op("dot_general")(any_("x"), any_("w")), any_("bias")))
    def biased(x, w, bias, out):
        assert bias.shape == (2,)
        np.add(x @ w, bias, out=out)

    bias = jnp.asarray([3.0, 5.0])
    got = emitted(lambda x, w, b: x @ w + b, X, W, bias)
    np.testing.assert_allclose(got[0], X @ W + bias, rtol=1e-5)


def test_numbers_of_the_program_come_as_python_numbers():
    seen = []

    @callback_kernel(op("max")(op("mul")(any_("x"), const(name="factor")), any_("floor")))
    def bounded(x, floor, factor, out):
        seen.extend([type(floor), type(factor)])
        np.maximum(x * np.float32(factor), np.float32(floor), out=out)

    np.testing.assert_allclose(emitted(lambda x: jnp.maximum(x * 0.5, 0.25), X)[0], jnp.maximum(X * 0.5, 0.25))
    assert seen == [float, float]


def test_what_is_optional_and_not_there_is_none():
    seen = []

    @callback_kernel(relu(optional(lambda dot: op("add")(dot, any_("bias")))(op("dot_general")(any_("x"), any_("w")))))
    def relu_dot(x, w, bias, out):
        seen.append(bias is None)
        np.maximum(x @ w if bias is None else x @ w + bias, 0, out=out)

    bias = jnp.asarray([-3.0, 5.0])
    np.testing.assert_allclose(emitted(lambda x, w: jax.nn.relu(x @ w), X, W)[0], jnp.maximum(X @ W, 0), rtol=1e-5)
    got = emitted(lambda x, w, b: jax.nn.relu(x @ w + b), X, W, bias)
    np.testing.assert_allclose(got[0], jnp.maximum(X @ W + bias, 0), rtol=1e-5)
    assert seen == [True, False]


def test_several_results_of_the_last_operation_are_numbered():
    @callback_kernel(op("top_k")(any_("x")), where=lambda m: m.root.params["k"] == 2)
    def top_two(x, out, out1):
        order = np.argsort(-x, axis=-1, kind="stable")[..., :2]
        out[...], out1[...] = np.take_along_axis(x, order, -1), order

    got = emitted(lambda x: jax.lax.top_k(x, 2), X)
    for g, w in zip(got, jax.lax.top_k(X, 2), strict=True):
        np.testing.assert_array_equal(g, w)
    # Of the two that the kernel makes, one is wanted.
    (got,) = emitted(lambda x: jax.lax.top_k(x, 2)[1], X)
    np.testing.assert_array_equal(got, jax.lax.top_k(X, 2)[1])


def test_an_inner_result_that_others_read_has_its_operations_name():
    pattern = Pattern("exp+sum", op("reduce_sum")(op("exp")(any_("x")).named("exponentials")), multi_exit=True)

    @callback_kernel(pattern)
    def exp_sum(x, out, out_exponentials):
        assert out.shape == ()
        out[...] = np.exp(x, out=out_exponentials).sum()

    wanted = jnp.exp(X)
    got = emitted(lambda x: (e := jnp.exp(x), e.sum()), X)
    np.testing.assert_allclose(got[0], wanted, rtol=1e-5)
    np.testing.assert_allclose(got[1], wanted.sum(), rtol=1e-5)
    np.testing.assert_allclose(emitted(lambda x: jnp.exp(x).sum(), X)[0], wanted.sum(), rtol=1e-5)


def test_of_several_kernels_for_a_place_the_first_that_fits_is_used():
    callback_kernel(op("sin")(any_("x")), where=lambda m: m["x"].ndim == 1, name="vectors")(doubles)
    callback_kernel(op("sin")(any_("x")), name="all")(doubles)
    callback_kernel(op("sin")(any_("x")), name="others")(doubles)
    assert considered(jnp.sin, X)[0] == ["all"]
    assert considered(jnp.sin, X[0])[0] == ["vectors"]


@pytest.mark.parametrize(
    ("pattern", "kernel", "program", "reason"),
    [
        (
            op("add")(op("sin")(any_("x")), any_()),
            lambda x, out: None,
            lambda x, w: jnp.sin(x) + w.sum(),
            "an array is read that no parameter takes, float32[]: capture it with any_('name')",
        ),
        (
            op("top_k")(any_("x")),
            lambda x, out: None,
            lambda x, w: jax.lax.top_k(x, 2),
            "a result is read that no parameter makes, int32[3, 2]: see out_<name>",
        ),
        (
            op("sin")(any_("x")),
            lambda x, out, out1: None,
            lambda x, w: jnp.sin(x),
            "there is nothing that `out1` would be",
        ),
        (
            op("add")(op("sin")(any_("x")), one_of(op("cos")(any_("y")), op("tan")(any_("y"))).named("z")),
            lambda x, y, z, out: None,
            lambda x, w: jnp.sin(x) + jnp.cos(x),
            "`z` is made by the operations that the kernel stands for",
        ),
        (
            op("convert_element_type")(any_("x")),
            lambda x, out: None,
            lambda x, w: x.astype("int4"),
            "XLA and NumPy do not hold int4 in the same way",
        ),
    ],
    ids=["not captured", "not made", "too many", "made inside", "int4"],
)
def test_a_place_that_a_kernel_cannot_serve_is_refused_with_the_reason(pattern, kernel, program, reason):
    callback_kernel(pattern, name="kernel")(kernel)
    labels, reasons, _ = considered(program, X, W)
    assert (labels, reasons) == ([], [f"kernel: {reason}"])


def test_a_condition_that_raises_is_a_reason():
    callback_kernel(op("sin")(any_("x")), where=lambda m: m["nobody"].ndim == 2, name="kernel")(doubles)
    labels, reasons, _ = considered(jnp.sin, X)
    assert (labels, reasons) == ([], ["kernel: its condition failed: KeyError: 'nobody'"])


def test_sizes_must_be_known():
    callback_kernel(op("sin")(any_("x")))(doubles)
    (size,) = jax.export.symbolic_shape("n")
    labels, reasons, _ = considered(jnp.sin, jax.ShapeDtypeStruct((size, 2), "float32"))
    assert (labels, reasons) == ([], ["doubles: sizes must be known, got float32[n, 2]"])


def test_a_region_of_no_kernel_is_no_kernels():
    callback_kernel(op("sin")(any_("x")))(doubles)
    _, _, (region,) = considered(jnp.sin, X)
    unregister("doubles")
    assert "no kernel's pattern and condition describe these operations" in str(BACKEND.supports(region))
    with pytest.raises(ValueError, match="no kernel can run"):
        BACKEND.emit(region)


@pytest.mark.parametrize(
    ("kernel", "reason"),
    [
        (lambda x, y, out: None, r"cannot have the parameter `y` there: .*captures \(w, x\), then .*\(dot\)"),
        (lambda x, out, w: None, "cannot have the parameter `w` there"),
        (lambda x, w, dot, out: None, "cannot have the parameter `dot` there"),
        (lambda x, w, out_x: None, "cannot have the parameter `out_x` there"),
        (lambda *arrays: None, r"cannot have the parameter `\*arrays` there"),
        (lambda x, w, *, out: None, "cannot have the parameter `out` there"),
        (lambda x, w, out, bias=None, dot=None: None, "cannot have the parameter `dot=None` there"),
        (lambda x, w: None, "needs a parameter for its result: call it out"),
        (min, "cannot have the parameter|cannot be read"),
    ],
)
def test_parameters_that_mean_nothing_are_refused_at_once(kernel, reason):
    pattern = gelu(op("dot_general")(any_("x"), any_("w")).named("dot"))
    with pytest.raises(ValueError, match=reason):
        callback_kernel(pattern, name="kernel")(kernel)
    assert registered() == ()


def test_parameters_with_defaults_are_the_functions_own():
    @callback_kernel(op("sin")(any_("x")))
    def kernel(x, out, block=64, *, verbose=False):
        assert (block, verbose) == (64, False)
        doubles(x, out)

    np.testing.assert_array_equal(emitted(jnp.sin, X)[0], 2 * X)


def test_other_mistakes_are_refused_with_a_remedy():
    with pytest.raises(TypeError, match=r"takes a pattern, got .*; write @callback_kernel\(op"):
        callback_kernel(doubles)
    with pytest.raises(ValueError, match="pattern 'sine' has a `where` of its own place"):
        callback_kernel(Pattern("sine", op("sin")(any_("x"))), where=lambda m: True)
    callback_kernel(op("sin")(any_("x")), name="kernel")(doubles)
    with pytest.raises(ValueError, match=r"a kernel called 'kernel' is registered already, .*doubles; give name="):
        callback_kernel(op("sin")(any_("x")), name="kernel")(lambda x, out: None)
    callback_kernel(op("cos")(any_("x")), name="kernel")(doubles)
    assert [k.pattern.pattern.ops for k in registered()] == [("cos",)]
    with pytest.raises(ValueError, match="no kernel is called 'other'; there are: kernel"):
        unregister("other")


def test_kernels_go_to_another_process(folder, tmp_path):
    cloudpickle = pytest.importorskip("cloudpickle")
    factor = np.float32(3)

    @callback_kernel(op("sin")(any_("x")), where=lambda m: m["x"].ndim == 2)
    def scale(x, out):
        np.multiply(x, factor, out=out)

    (tmp_path / "table").write_bytes(cloudpickle.dumps(BACKEND.portable()))
    program = """
        import pickle, sys, jax, jax.numpy as jnp
        from collage_jax.backends import registry
        from collage_jax.candidates import find
        from collage_jax.graph.trace import trace_function
        backend = registry.get("callback")
        assert backend.portable() == ()
        with open(sys.argv[1], "rb") as file:
            backend.adopt(pickle.load(file))
        x = jnp.ones((2, 3))
        graph = trace_function(jnp.sin, x)
        (region,) = [c.region for c in find(graph, [backend]).chosen_from if c.backend == "callback"]
        print(backend.version(), float(jax.jit(backend.emit(region))(x)[0].sum()))
    """
    code, printed, errors = python(program, str(tmp_path / "table"), **folder)
    assert code == 0, errors
    assert printed == [BACKEND.version(), "18.0"]
