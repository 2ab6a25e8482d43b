"""``collage_jax.jit`` takes what ``jax.jit`` takes and gives what it gives, whichever backend runs the products."""

from __future__ import annotations

import copy
import functools
import gc
import inspect
import pickle
import warnings
import weakref
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from api_fakes import assert_like_jit, is_placed, products, use, use_fake
from fakes import Fake

import collage_jax

X = jnp.linspace(-1, 1, 12).reshape(3, 4)
W = jnp.linspace(1, 2, 8).reshape(4, 2)


@pytest.fixture(autouse=True)
def fake(monkeypatch: pytest.MonkeyPatch) -> Fake:
    """A backend that runs every product and is the faster one."""
    return use_fake(monkeypatch)


@pytest.fixture(params=["placed", "left to XLA"])
def whatever_is_faster(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The test holds whether the backend's kernels are used or XLA is faster."""
    use(monkeypatch, Fake("fake", products), ours_s=1e-3 if request.param == "placed" else 1.0)


def layer(x, w):
    """What it says."""
    return jnp.tanh(x @ w)


def double(x, w):
    return 2 * layer(x, w)


# -- forms of decoration ---------------------------------------------------------------------------------------------


def test_decorates_bare():
    assert_like_jit(collage_jax.jit(layer)(X, W), jax.jit(layer)(X, W))


def test_decorates_with_arguments():
    decorated = collage_jax.jit(tune="op-level", budget_s=5, static_argnames="n")(lambda x, w, n: x @ w * n)
    assert_like_jit(decorated(X, W, n=2), 2 * (X @ W))


def test_keeps_name_documentation_and_signature():
    decorated = collage_jax.jit(layer)
    assert (decorated.__name__, decorated.__qualname__) == ("layer", "layer")
    assert decorated.__doc__ == layer.__doc__
    assert decorated.__module__ == layer.__module__
    assert decorated.__wrapped__ is layer
    assert inspect.signature(decorated) == inspect.signature(layer)
    assert "layer" in repr(decorated)


def test_keeps_attributes_of_the_function_but_not_over_its_own_methods():
    def fun(x):
        return x

    fun.author, fun.lower = "me", "not a method"
    decorated = collage_jax.jit(fun)
    assert decorated.author == "me"
    assert decorated.lower(X).compile()(X).shape == X.shape


def test_the_compiled_program_has_the_name_of_the_function():
    assert collage_jax.jit(layer).trace(X, W).fun_name == "layer"
    assert "jit_layer" in collage_jax.jit(layer).lower(X, W).as_text()


def test_takes_partial_functions():
    decorated = collage_jax.jit(functools.partial(lambda x, w, scale: x @ w * scale, scale=3.0))
    assert_like_jit(decorated(X, W), 3 * (X @ W))
    assert_like_jit(collage_jax.jit(functools.partial(layer, X))(W), layer(X, W))


def test_takes_lambdas_and_callable_objects():
    class Scale:
        def __init__(self):
            self.placement = "mine"

        def __call__(self, x, w):
            return x @ w * 3

    assert_like_jit(collage_jax.jit(lambda x, w: x @ w)(X, W), X @ W)
    decorated = collage_jax.jit(Scale())
    assert_like_jit(decorated(X, W), 3 * (X @ W))
    assert is_placed(decorated.placement(X, W))
    assert collage_jax.jit(jnp.add)(1, 2) == 3


class Model:
    def __init__(self, w):
        self.w = w

    @functools.partial(collage_jax.jit, static_argnums=0)
    def apply(self, x):
        """Applies."""
        return jnp.tanh(x @ self.w)

    @staticmethod
    @collage_jax.jit
    def shift(x):
        return x + 1

    @classmethod
    @functools.partial(collage_jax.jit, static_argnums=0)
    def name_length(cls, x):
        return x * len(cls.__name__)


def test_binds_methods():
    model, other = Model(W), Model(2 * W)
    assert_like_jit(model.apply(X), layer(X, W))
    assert_like_jit(other.apply(X), layer(X, 2 * W))
    assert_like_jit(model.apply(x=X), layer(X, W))
    assert_like_jit(Model.apply(model, X), layer(X, W))
    assert model.apply == model.apply
    assert model.apply != other.apply
    assert len({model.apply, model.apply, other.apply}) == 2


def test_binds_static_and_class_methods():
    assert Model.shift(1) == Model(W).shift(1) == 2
    assert Model.name_length(2) == Model(W).name_length(2) == 10


def test_a_bound_method_has_the_methods_of_a_decorated_function():
    model = Model(W)
    assert model.apply.placement(X) is Model.apply.placement(model, X)
    assert model.apply.explain(X) == Model.apply.explain(model, X)
    assert_like_jit(model.apply.lower(X).compile()(X), layer(X, W))
    assert "tanh" in str(model.apply.trace(X).jaxpr)
    assert model.apply.__doc__ == "Applies."
    assert model.apply.__name__ == "apply"
    assert list(inspect.signature(model.apply).parameters) == ["x"]
    assert model.apply.__self__ is model


def test_a_bound_method_can_be_transformed_and_copied():
    model = Model(W)
    assert_like_jit(jax.jit(model.apply)(X), layer(X, W))
    assert_like_jit(jax.vmap(model.apply)(X), layer(X, W))
    assert copy.copy(model.apply) == model.apply


def test_decorates_bound_methods():
    class Plain:
        def apply(self, x, w):
            return x @ w

    assert_like_jit(collage_jax.jit(Plain().apply)(X, W), X @ W)
    assert_like_jit(collage_jax.jit(Model(W).apply)(X), layer(X, W))


def test_an_instance_that_is_a_pytree_is_traced():
    @jax.tree_util.register_dataclass
    @dataclass
    class Tree:
        w: Any

        @collage_jax.jit
        def apply(self, x):
            return x @ self.w

    assert_like_jit(Tree(W).apply(X), X @ W)


def test_can_be_pickled_and_copied_when_the_function_can():
    decorated = collage_jax.jit(double, frozen_argnums=1)
    decorated(X, W)
    for other in (pickle.loads(pickle.dumps(decorated)), copy.deepcopy(decorated)):
        assert_like_jit(other(X, W), double(X, W))


def test_is_collected_when_nobody_holds_it():
    decorated = collage_jax.jit(lambda x, w: x @ w)
    decorated(X, W)
    gone = weakref.ref(decorated)
    del decorated
    gc.collect()
    assert gone() is None


# -- what goes in and comes out --------------------------------------------------------------------------------------


class Pair(NamedTuple):
    left: Any
    right: Any


@jax.tree_util.register_dataclass
@dataclass
class Layer:
    w: Any
    b: Any


ARGUMENTS = [
    (),
    None,
    {},
    [],
    {"w": None, "x": X},
    Pair(X, {"b": (None, X)}),
    Layer(X, None),
    [[], [X, [2.0]], {"a": ()}],
    (1, 2.5, True, 1j, np.float32(3), np.int8(4), np.arange(3)),
    np.zeros((0, 3), np.float32),
    jnp.bfloat16(2),
]


@pytest.mark.parametrize("argument", [*ARGUMENTS[:3], ARGUMENTS], ids=["tuple", "None", "dictionary", "everything"])
def test_pytrees_pass_as_they_are(argument):
    def fun(tree, w):
        return {"same": tree, "new": (X @ w, None)}

    assert_like_jit(collage_jax.jit(fun)(argument, W), jax.jit(fun)(argument, W))


@pytest.mark.usefixtures("whatever_is_faster")
def test_weak_types_are_those_of_jit():
    xs = [2, 1.5, True, 1j, np.float32(2), np.int64(3), np.arange(3), jnp.float32(1), jnp.arange(3)]

    def fun(xs, w):
        return X @ w, [(x, x * 2, x + 1.0, jnp.float32(1) * x, jnp.sum(x) * (X @ w)) for x in xs]

    assert_like_jit(collage_jax.jit(fun)(xs, W), jax.jit(fun)(xs, W))


def test_strong_and_weak_arguments_have_programs_of_their_own():
    decorated = collage_jax.jit(lambda x, w: (x * jnp.bfloat16(1), X @ w))
    assert decorated(2.0, W)[0].dtype == jnp.bfloat16
    assert decorated(np.float32(2.0), W)[0].dtype == jnp.float32


@pytest.mark.parametrize("shape", [(0, 4), (3, 4), (1, 4)])
def test_zero_size_and_unit_size_arrays(shape):
    x = jnp.ones(shape)
    assert_like_jit(collage_jax.jit(layer)(x, W), jax.jit(layer)(x, W))
    assert_like_jit(collage_jax.jit(layer)(x[:, :0], W[:0]), jax.jit(layer)(x[:, :0], W[:0]))


def test_a_function_without_operations_or_arguments():
    assert collage_jax.jit(lambda: None)() is None
    assert collage_jax.jit(lambda: 3)() == 3
    assert_like_jit(collage_jax.jit(lambda x: x)(X), X)
    assert_like_jit(collage_jax.jit(lambda x: (x, x, 1))(X), jax.jit(lambda x: (x, x, 1))(X))


def test_a_result_is_an_argument_and_a_product_besides():
    fun = lambda x, w: (x, w, x @ w, x)  # noqa: E731
    assert_like_jit(collage_jax.jit(fun)(X, W), jax.jit(fun)(X, W))


def test_closed_over_arrays_are_constants():
    scale = jnp.arange(2.0)
    fun = lambda x: jnp.tanh(x @ W) * scale  # noqa: E731
    assert_like_jit(collage_jax.jit(fun)(X), jax.jit(fun)(X))


def test_closed_over_weights_are_packed_once(monkeypatch):
    packed = []
    fake = use_fake(monkeypatch, packs=True)
    emit_frozen = fake.emit_frozen

    def counting(region, frozen):
        kernel = emit_frozen(region, frozen)

        def prepare(*arrays):
            jax.debug.callback(lambda: packed.append(1))
            return kernel.prepare(*arrays)

        return type(kernel)(prepare, kernel.run)

    monkeypatch.setattr(fake, "emit_frozen", counting)
    decorated = collage_jax.jit(lambda x: jnp.tanh(x @ W))
    decorated(X)
    jax.effects_barrier()
    before = len(packed)
    for _ in range(3):
        assert_like_jit(decorated(X), layer(X, W))
    jax.effects_barrier()
    assert len(packed) == before


def test_random_keys_go_in_and_come_out():
    fun = lambda key, w: (jax.random.uniform(key, (3, 4)) @ w, jax.random.clone(key))  # noqa: E731
    for key in (jax.random.key(3, impl="rbg"), jax.random.key(3)):
        got, wanted = collage_jax.jit(fun)(key, W), jax.jit(fun)(key, W)
        np.testing.assert_allclose(got[0], wanted[0], rtol=1e-5)
        assert got[1].dtype == key.dtype
        assert jnp.all(jax.random.key_data(got[1]) == jax.random.key_data(key))


def conv(x, w):
    return jax.lax.conv_general_dilated(x, w, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))


CONTROL_FLOW = {
    "scan": lambda x, w: jax.lax.scan(lambda c, v: (jnp.tanh(c @ w.T @ w), c @ v), x @ w, jnp.ones((3, 2, 2))),
    "while": lambda x, w: jax.lax.while_loop(
        lambda c: c[0] < 3, lambda c: (c[0] + 1, jnp.tanh(c[1] @ w @ w.T)), (0, x)
    ),
    "cond": lambda x, w: jax.lax.cond(x.sum() > 100, lambda: x @ w, lambda: jnp.tanh(x @ w) + 1),
    "switch": lambda x, w: jax.lax.switch(1, [lambda a: a @ w, lambda a: a @ w + 1, lambda a: a @ w - 1], x),
    "fori": lambda x, w: jax.lax.fori_loop(0, 2, lambda i, c: c @ w @ w.T + i, x),
    "map": lambda x, w: jax.lax.map(lambda row: row @ w, x),
    "scan in cond": lambda x, w: jax.lax.cond(
        w.sum() > 0, lambda: jax.lax.scan(lambda c, _: (c @ w @ w.T, None), x, None, length=2)[0], lambda: x
    ),
    "conv in scan": lambda x, w: jax.lax.scan(
        lambda c, _: (jax.nn.relu(conv(c, jnp.ones((3, 3, 2, 2)))), None), (x @ w)[None, :, None, :], None, length=2
    ),
    "remat": lambda x, w: jax.checkpoint(layer)(x, w),
    "custom_jvp": lambda x, w: jax.nn.relu(x @ w),
}


@pytest.mark.parametrize("name", CONTROL_FLOW)
def test_bodies_of_control_flow(name):
    fun = CONTROL_FLOW[name]
    assert_like_jit(collage_jax.jit(fun)(X, W), jax.jit(fun)(X, W))


# -- static and donated arguments ------------------------------------------------------------------------------------


@pytest.mark.parametrize("roles", [{"static_argnums": 2}, {"static_argnames": ["power"]}], ids=str)
def test_static_arguments_by_position_and_by_name(roles):
    seen = []

    def fun(x, w, power, *, bias=0.0):
        seen.append(power)
        return (x @ w) ** power + bias

    decorated = collage_jax.jit(fun, **roles)
    for power in (2, 3, 2):
        assert_like_jit(decorated(X, W, power), (X @ W) ** power)
    assert_like_jit(decorated(X, W, power=3), (X @ W) ** 3)
    assert all(isinstance(power, int) for power in seen)


def test_negative_static_numbers_count_from_the_end():
    decorated = collage_jax.jit(lambda x, w, power: (x @ w) ** power, static_argnums=-1)
    assert_like_jit(decorated(X, W, 2), (X @ W) ** 2)
    assert_like_jit(decorated(X, W, 3), (X @ W) ** 3)


def test_equal_static_arguments_of_different_types_are_different():
    def fun(x, w, flag):
        return x @ w * 2 if flag is True else x @ w + 1 if isinstance(flag, float) else x @ w

    decorated, jitted = collage_jax.jit(fun, static_argnums=2), jax.jit(fun, static_argnums=2)
    for flag in (1, True, 1.0, 1):
        assert_like_jit(decorated(X, W, flag), jitted(X, W, flag))


def test_static_arguments_with_default_values():
    decorated = collage_jax.jit(lambda x, w, power=2: (x @ w) ** power, static_argnames="power")
    assert_like_jit(decorated(X, W), (X @ W) ** 2)


@pytest.mark.parametrize("roles", [{"donate_argnums": 0}, {"donate_argnames": "x"}], ids=str)
@pytest.mark.usefixtures("whatever_is_faster")
def test_donated_arguments_are_gone_exactly_when_they_are_with_jit(roles):
    square = jnp.eye(4) + 1

    def fun(x, w):
        return x @ w

    decorated, jitted = collage_jax.jit(fun, **roles), jax.jit(fun, **roles)
    for call in ({}, {"x": None}):
        for _ in range(2):
            ours, theirs = jnp.ones((4, 4)), jnp.ones((4, 4))
            if call:
                got, wanted = decorated(x=ours, w=square), jitted(x=theirs, w=square)
            else:
                got, wanted = decorated(ours, square), jitted(theirs, square)
            assert_like_jit(got, wanted)
            assert ours.is_deleted() == theirs.is_deleted()
    assert not square.is_deleted()


def test_donated_arguments_have_their_values_when_they_are_used():
    decorated = collage_jax.jit(lambda state, w: state @ w, donate_argnums=0)
    state, wanted = jnp.eye(4), np.eye(4)
    for _ in range(4):
        state, wanted = decorated(state, 2 * jnp.eye(4)), wanted * 2
    np.testing.assert_allclose(state, wanted)


def test_placement_and_lower_consume_nothing():
    decorated = collage_jax.jit(lambda x, w: x @ w, donate_argnums=0)
    x, w = jnp.eye(4), jnp.eye(4)
    decorated.placement(x, w)
    decorated.explain(x, w)
    decorated.lower(x, w)
    assert not x.is_deleted()
    assert not w.is_deleted()


def test_numpy_arguments_are_left_alone():
    x, w = np.ones((3, 4), np.float32), np.ones((4, 2), np.float32)
    collage_jax.jit(layer)(x, w)
    assert (x == 1).all()
    assert (w == 1).all()


# -- tracing and tuning happen once ----------------------------------------------------------------------------------


def counted(fun):
    calls = []

    @functools.wraps(fun)
    def wrapper(*args, **kwargs):
        calls.append(1)
        return fun(*args, **kwargs)

    return wrapper, calls


@pytest.mark.usefixtures("whatever_is_faster")
def test_each_signature_is_traced_once():
    fun, calls = counted(layer)
    decorated = collage_jax.jit(fun)
    for _ in range(3):
        decorated(X, W)
    assert len(calls) == 1
    for _ in range(2):
        decorated(X[:2], W)
        decorated(X, W)
    assert len(calls) == 2
    decorated.placement(X, W)
    decorated.explain(X[:2], W)
    assert len(calls) == 2


def test_each_signature_is_tuned_once(monkeypatch):
    timing = use(monkeypatch, Fake("fake", products))
    decorated = collage_jax.jit(layer)
    for _ in range(2):
        decorated(X, W)
        decorated.placement(X, W)
        decorated.explain(jax.ShapeDtypeStruct(X.shape, X.dtype), W)
    assert timing.races == 1
    decorated(X[:2], W)
    assert timing.races == 2
    assert decorated.placement(X, W) is decorated.placement(X, W)
    assert decorated.placement(X, W) is not decorated.placement(X[:2], W)


@pytest.mark.parametrize("frozen", [(), 1], ids=["open", "frozen"])
@pytest.mark.usefixtures("whatever_is_faster")
def test_a_warm_call_does_not_leave_the_fast_path_of_jit(frozen):
    """Not even though the first call of its signature was made again after tuning."""
    decorated = collage_jax.jit(layer, frozen_argnums=frozen)
    for _ in range(3):
        decorated(X, W)
        decorated(X[:2], W)
    fresh = jax.jit(lambda x, w: layer(x, w))
    fewer = X[:2]
    jax.config.update("jax_no_tracing", True)  # what is not served from the fast path raises
    try:
        with pytest.raises(RuntimeError, match="no_tracing"):
            fresh(X, W)
        decorated(X, W)
        decorated(fewer, W)
    finally:
        jax.config.update("jax_no_tracing", False)


def test_clear_cache_forgets_programs():
    fun, calls = counted(layer)
    decorated = collage_jax.jit(fun)
    decorated(X, W)
    decorated.clear_cache()
    assert_like_jit(decorated(X, W), layer(X, W))
    assert len(calls) == 2


@pytest.mark.usefixtures("whatever_is_faster")
def test_settings_of_jax_have_programs_of_their_own():
    fun, calls = counted(layer)
    decorated, jitted = collage_jax.jit(fun), jax.jit(layer)
    x, w = np.ones((3, 4)), np.ones((4, 2))
    for _ in range(2):
        assert decorated(x, w).dtype == jnp.float32
        with jax.enable_x64(True):
            assert_like_jit(decorated(x, w), jitted(x, w))
            assert decorated(x, w).dtype == jnp.float64
        with jax.default_matmul_precision("highest"):
            assert_like_jit(decorated(x, w), jitted(x, w))
            assert "HIGHEST" in decorated.lower(x, w).as_text()
    assert len(calls) <= 4


@pytest.mark.usefixtures("whatever_is_faster")
def test_an_interpreted_call_runs_the_function_itself():
    for frozen in ((), 1):
        seen = []

        def fun(x, w, seen=seen):
            seen.append(isinstance(x, jax.core.Tracer))
            return x @ w

        decorated = collage_jax.jit(fun, frozen_argnums=frozen)
        for _ in range(2):
            with jax.disable_jit():
                assert_like_jit(decorated(X, W), X @ W)
            assert_like_jit(decorated(X, W), X @ W)
        assert seen == [False, True, False]


# -- looking without calling -----------------------------------------------------------------------------------------


def test_shapes_are_enough_to_look():
    decorated = collage_jax.jit(layer)
    shapes = jax.ShapeDtypeStruct((3, 4), "float32"), jax.ShapeDtypeStruct((4, 2), "float32")
    placement = decorated.placement(*shapes)
    assert "fake" in decorated.explain(*shapes)
    assert_like_jit(decorated.lower(*shapes).compile()(X, W), layer(X, W))
    assert decorated.placement(X, W) is placement


def test_shapes_of_weak_types_keep_them():
    weak = jax.ShapeDtypeStruct((), "float32", weak_type=True)
    decorated = collage_jax.jit(lambda x, w: (x * jnp.bfloat16(1), X @ w))
    decorated.placement(weak, W)
    assert decorated.lower(weak, W).out_info[0].dtype == jnp.bfloat16


@pytest.mark.usefixtures("whatever_is_faster")
def test_lower_and_trace_show_the_placed_program():
    decorated = collage_jax.jit(layer)
    traced, lowered = decorated.trace(X, W), decorated.lower(X, W)
    assert traced.out_info.shape == lowered.out_info.shape == (3, 2)
    assert_like_jit(lowered.compile()(X, W), layer(X, W))
    assert_like_jit(traced.lower().compile()(X, W), layer(X, W))


def test_tune_off_is_plain_jit(fake):
    decorated = collage_jax.jit(layer, tune="off")
    assert_like_jit(decorated(X, W), layer(X, W))
    assert_like_jit(decorated.lower(X, W).compile()(X, W), layer(X, W))
    assert decorated.placement(X, W).is_xla
    assert 'tune="off"' in decorated.explain(X, W)
    assert fake.emits == 0


@pytest.mark.parametrize("options", [{"backends": ["xla"]}, {"backends": []}, {"backends": ()}], ids=str)
def test_without_allowed_backends_xla_runs_everything(options, fake):
    decorated = collage_jax.jit(layer, **options)
    assert_like_jit(decorated(X, W), layer(X, W))
    assert decorated.placement(X, W).is_xla
    assert fake.emits == 0


@pytest.mark.parametrize(
    "options", [{"budget_s": 0}, {"budget_s": 1e-9}, {"tune": "op-level"}, {"tune": "cached"}], ids=str
)
@pytest.mark.parametrize("frozen", [(), 1], ids=["open", "frozen"])
def test_every_way_of_tuning_is_right(options, frozen):
    decorated = collage_jax.jit(layer, frozen_argnums=frozen, **options)
    for _ in range(2):
        assert_like_jit(decorated(X, W), layer(X, W))


def test_cached_times_nothing_and_knows_what_was_measured_before(monkeypatch):
    timing = use(monkeypatch, Fake("fake", products))
    assert collage_jax.jit(layer, tune="cached").placement(X, W).is_xla
    assert timing.races == 0
    collage_jax.jit(layer)(X, W)
    assert timing.races == 1
    assert is_placed(collage_jax.jit(layer, tune="cached").placement(X, W))
    assert timing.races == 1


# -- functions that do something besides -----------------------------------------------------------------------------


@pytest.mark.usefixtures("whatever_is_faster")
def test_side_effects_happen_as_often_as_with_jit():
    def make():
        seen = []

        def fun(x, w):
            y = x @ w
            jax.debug.callback(lambda v: seen.append(("debug", float(v))), y.sum())
            counter = jax.ShapeDtypeStruct((), np.int32)
            number = jax.experimental.io_callback(lambda: np.int32(len(seen)), counter, ordered=True)
            return y + 0 * number

        return fun, seen

    (ours, our_log), (theirs, their_log) = make(), make()
    decorated, jitted = collage_jax.jit(ours), jax.jit(theirs)
    for i in range(3):
        assert_like_jit(decorated(X + i, W), jitted(X + i, W))
        jax.effects_barrier()
        assert our_log == their_log
    assert "side effects" in decorated.explain(X, W)
    jax.effects_barrier()
    assert our_log == their_log


def test_prints_in_loops_happen_as_often_as_with_jit(capfd):
    def fun(x, w):
        return jax.lax.fori_loop(0, 2, lambda i, c: (jax.debug.print("{}", i), c @ w @ w.T)[1], x)

    decorated = collage_jax.jit(fun)
    decorated(X, W)
    decorated(X, W)
    jax.effects_barrier()
    assert capfd.readouterr().out.split() == ["0", "1", "0", "1"]


@pytest.mark.usefixtures("whatever_is_faster")
def test_errors_of_the_function_are_the_users_own():
    def fun(x, w):
        raise KeyError("mine")

    decorated = collage_jax.jit(fun)
    for _ in range(2):
        with pytest.raises(KeyError, match="mine") as caught:
            decorated(X, W)
        assert caught.value.__cause__ is None
        assert "_Untuned" not in repr(caught.value.__context__)


def test_a_call_that_failed_leaves_nothing_behind():
    broken = True

    def fun(x, w):
        if broken:
            raise RuntimeError("not yet")
        return x @ w

    decorated = collage_jax.jit(fun)
    with pytest.raises(RuntimeError, match="not yet"):
        decorated(X, W)
    broken = False
    assert_like_jit(decorated(X, W), X @ W)


def test_shapes_that_do_not_fit_fail_as_with_jit():
    with pytest.raises(TypeError, match="contracting dimension"):
        collage_jax.jit(jnp.matmul)(X, X)


def test_callbacks_without_effects_run_on_the_host():
    def fun(x, w):
        return jax.pure_callback(lambda v: v * 2, jax.ShapeDtypeStruct((3, 2), jnp.float32), x @ w)

    assert_like_jit(collage_jax.jit(fun)(X, W), 2 * (X @ W))


def test_no_warning_is_given_that_jit_does_not_give():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        collage_jax.jit(layer)(X, W)


@jax.tree_util.register_pytree_node_class
class Strict:
    """A pytree that holds arrays and nothing else."""

    def __init__(self, array):
        assert isinstance(array, jax.Array)
        self.array = array

    def tree_flatten(self):
        return (self.array,), None

    @classmethod
    def tree_unflatten(cls, _, children):
        return cls(*children)


def test_results_may_be_pytrees_that_take_arrays_alone():
    got = collage_jax.jit(lambda x, w: Strict(x @ w))(X, W)
    assert_like_jit(got.array, X @ W)


def test_eval_shape_is_that_of_jit():
    class Model:
        @collage_jax.jit
        def apply(self, x):
            return x @ W

    jax.tree_util.register_static(Model)
    assert collage_jax.jit(lambda x, w: x @ w).eval_shape(X, W) == jax.eval_shape(lambda x, w: x @ w, X, W)
    assert Model().apply.eval_shape(X) == jax.eval_shape(lambda x: x @ W, X)


def test_results_may_be_of_less_than_a_byte():
    def narrow(x, w):
        return (x @ w).astype(jnp.float4_e2m1fn)

    assert_like_jit(collage_jax.jit(narrow)(X, W).astype(jnp.float32), jax.jit(narrow)(X, W).astype(jnp.float32))
