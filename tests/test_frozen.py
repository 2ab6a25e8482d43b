"""Frozen arguments: packed once for the same arrays, again for others, and never wrongly."""

from __future__ import annotations

import gc
import weakref

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from api_fakes import assert_like_jit, is_placed, products, use, use_fake
from fakes import Fake

import collage_jax
from collage_jax.calls.frozen import KEPT, FrozenSets

X = jnp.linspace(-1, 1, 12).reshape(3, 4)
W = jnp.linspace(1, 2, 8).reshape(4, 2)


class Packing(Fake):
    """Takes every product, keeps frozen operands packed and counts how often it packed."""

    def __init__(self) -> None:
        super().__init__("fake", products, packs=True)
        self.packed = 0

    def emit_frozen(self, region, frozen):
        kernel = super().emit_frozen(region, frozen)

        def count(array):
            self.packed += 1
            return array

        def prepare(*arrays):
            packed = kernel.prepare(*arrays)
            return tuple(jax.pure_callback(count, jax.ShapeDtypeStruct(a.shape, a.dtype), a) for a in packed)

        return type(kernel)(prepare, kernel.run)


@pytest.fixture(autouse=True)
def packing(monkeypatch):
    packing = Packing()
    use(monkeypatch, packing)
    return packing


def layer(x, w):
    return jnp.tanh(x @ w)


def test_the_same_arrays_are_packed_once(packing):
    decorated = collage_jax.jit(layer, frozen_argnums=1)
    assert_like_jit(decorated(X, W), layer(X, W))
    assert is_placed(decorated.placement(X, W))
    before = packing.packed
    for i in range(4):
        assert_like_jit(decorated(X + i, W), layer(X + i, W))
    assert packing.packed == before


def test_other_arrays_are_packed_again(packing):
    decorated = collage_jax.jit(layer, frozen_argnums=1)
    decorated(X, W)
    for i in range(1, 4):
        before = packing.packed
        assert_like_jit(decorated(X, W * i), layer(X, W * i))
        assert packing.packed == before + 1


def test_two_models_in_turn_are_packed_once_each(packing):
    decorated = collage_jax.jit(layer, frozen_argnums=1)
    other = -W
    decorated(X, W), decorated(X, other)
    before = packing.packed
    for _ in range(3):
        assert_like_jit(decorated(X, W), layer(X, W))
        assert_like_jit(decorated(X, other), layer(X, other))
    assert packing.packed == before


def test_two_batch_sizes_in_turn_are_traced_and_packed_once_each(packing):
    traces = []

    def fun(x, w):
        traces.append(x.shape)
        return layer(x, w)

    decorated = collage_jax.jit(fun, frozen_argnums=1)
    batch = jnp.concatenate([X] * 3)
    decorated(X, W), decorated(batch, W)
    before = packing.packed
    for _ in range(3):
        assert_like_jit(decorated(X, W), layer(X, W))
        assert_like_jit(decorated(batch, W), layer(batch, W))
    assert packing.packed == before
    assert len(traces) == 2


def test_numpy_weights_that_change_in_place_are_noticed():
    w = np.array(W)
    decorated = collage_jax.jit(layer, frozen_argnums=1)
    for i in range(3):
        w[0, 0] = i
        assert_like_jit(decorated(X, w), layer(X, w))


def test_equal_numpy_weights_are_packed_once(packing):
    w = np.array(W)
    w[1, 1] = np.nan
    decorated = collage_jax.jit(layer, frozen_argnums=1)
    decorated(X, w)
    before = packing.packed
    for same in (w, w.copy(), np.asfortranarray(w), w):
        np.testing.assert_allclose(decorated(X, same), layer(X, w), rtol=1e-6)
    assert packing.packed == before


def test_a_numpy_view_of_changing_memory_is_noticed():
    memory = np.zeros((2, 4), np.float32)
    decorated = collage_jax.jit(layer, frozen_argnums=1)
    for value in (1.0, 2.0):
        memory[:] = value
        assert_like_jit(decorated(X, memory.T), layer(X, memory.T))


def test_python_scalars_are_compared_by_type_and_bits():
    decorated = collage_jax.jit(lambda x, p: (x @ p["w"], p["scale"] * 2, 1 / p["scale"]), frozen_argnums=1)
    jitted = jax.jit(lambda x, p: (x @ p["w"], p["scale"] * 2, 1 / p["scale"]))
    for scale in (1, 1.0, True, 0.0, -0.0, np.float32(1), float("nan"), 1):
        got, wanted = decorated(X, {"w": W, "scale": scale}), jitted(X, {"w": W, "scale": scale})
        assert_like_jit(got, wanted)
        np.testing.assert_array_equal(got[2], wanted[2])


def test_the_same_leaves_in_another_tree_are_another_set():
    decorated = collage_jax.jit(lambda x, p: x @ p["a"] - x @ p["b"], frozen_argnums=1)
    a, b = W, 2 * W
    assert_like_jit(decorated(X, {"a": a, "b": b}), X @ a - X @ b)
    assert_like_jit(decorated(X, {"b": a, "a": b}), X @ b - X @ a)
    by_type = lambda x, p: x @ jax.tree.leaves(p)[0] * (2 if isinstance(p, list) else 1)  # noqa: E731
    flexible = collage_jax.jit(by_type, frozen_argnums=1)
    assert_like_jit(flexible(X, (W, None)), X @ W)
    assert_like_jit(flexible(X, [W]), X @ W * 2)
    assert_like_jit(flexible(X, (W, None)), X @ W)


def test_frozen_arguments_may_be_given_by_name(packing):
    decorated = collage_jax.jit(layer, frozen_argnums=1)
    assert_like_jit(decorated(X, w=W), layer(X, W))
    before = packing.packed
    assert_like_jit(decorated(x=X, w=W), layer(X, W))
    assert_like_jit(decorated(X, W), layer(X, W))
    assert packing.packed == before
    assert decorated.placement(X, w=W) is decorated.placement(X, W)
    assert_like_jit(decorated.lower(X, w=W).compile()(X, w=W), layer(X, W))


@pytest.mark.parametrize("number", [0, 1, -1, (0, 1), [1], np.int64(1), (1, 1)], ids=str)
def test_any_argument_may_be_frozen(number):
    decorated = collage_jax.jit(layer, frozen_argnums=number)
    for x, w in ((X, W), (X, W), (2 * X, W), (X, 2 * W), (X, W)):
        assert_like_jit(decorated(x, w), layer(x, w))


def test_a_frozen_first_argument_beside_static_and_donated_ones():
    def fun(params, power, state, x):
        return state + 1, (x @ params["w"]) ** power

    options = {"frozen_argnums": 0, "static_argnums": 1, "donate_argnums": 2}
    decorated = collage_jax.jit(fun, **options)
    params = {"w": W}
    for power in (1, 2, 1):
        state = jnp.ones((3, 4))
        new, y = decorated(params, power, state, X)
        assert_like_jit((new, y), (jnp.ones((3, 4)) + 1, (X @ W) ** power))
        assert state.is_deleted()
    state = jnp.ones((3, 4))
    assert_like_jit(decorated(params, x=X, power=2, state=state)[1], (X @ W) ** 2)
    assert state.is_deleted()
    assert not W.is_deleted()


def test_a_negative_static_number_beside_a_frozen_argument():
    decorated = collage_jax.jit(lambda x, w, power: (x @ w) ** power, frozen_argnums=1, static_argnums=-1)
    for power in (2, 3, 2):
        assert_like_jit(decorated(X, W, power), (X @ W) ** power)


def test_static_names_before_a_frozen_argument():
    decorated = collage_jax.jit(lambda power, x, w: (x @ w) ** power, frozen_argnums=2, static_argnames="power")
    assert_like_jit(decorated(2, X, W), (X @ W) ** 2)
    assert_like_jit(decorated(power=3, x=X, w=W), (X @ W) ** 3)


def test_a_function_with_any_number_of_arguments():
    decorated = collage_jax.jit(lambda *xs: xs[0] @ xs[1] + sum(xs[2:]), frozen_argnums=1)
    assert_like_jit(decorated(X, W), X @ W)
    assert_like_jit(decorated(X, W, 1.0, 2.0), X @ W + 3)


def test_everything_frozen_gives_kept_results():
    decorated = collage_jax.jit(layer, frozen_argnums=(0, 1))
    for _ in range(2):
        assert_like_jit(decorated(X, W), layer(X, W))


def test_a_frozen_argument_that_is_not_used_or_is_returned():
    for fun in (lambda x, w: x + 1, lambda x, w: (w, x @ w, w * 2), lambda x, w: w, lambda x, w: None):
        decorated = collage_jax.jit(fun, frozen_argnums=1)
        for _ in range(2):
            assert_like_jit(decorated(X, W), jax.jit(fun)(X, W))


def test_a_mesh_of_explicit_axes_in_what_is_made_of_frozen_arrays(monkeypatch):
    """JAX then gives every result of that program a type with the mesh, and other arrays are refused beside it."""
    use(monkeypatch, Packing())
    nowhere = jax.sharding.PartitionSpec(None, None)

    def fun(w, x, update):
        on_mesh = jax.sharding.NamedSharding(jax.make_mesh((1,), ("i",)), nowhere)
        both = [jax.sharding.reshard(jnp.sin(a), on_mesh) for a in (w, update)]  # one of them frozen
        plain = jnp.cos(w), update
        moved = [jax.lax.dynamic_update_slice(*pair, (0, 0)) for pair in (both, plain)]
        return *moved, (x @ jnp.sin(w)) @ update.T

    arguments = W, X, W[:1]
    wanted = jax.jit(fun)(*arguments)
    decorated = collage_jax.jit(fun, frozen_argnums=0)
    for _ in range(2):
        assert_like_jit(decorated(*arguments), wanted)
    assert not decorated.placement(*arguments).is_xla


def test_frozen_weights_left_to_xla(monkeypatch):
    use(monkeypatch, Packing(), ours_s=1.0)
    decorated = collage_jax.jit(layer, frozen_argnums=1)
    for x, w in ((X, W), (X, 2 * W), (X[:2], W), (X, W)):
        assert_like_jit(decorated(x, w), layer(x, w))
    assert decorated.placement(X, W).is_xla


def test_transformations_around_a_function_with_frozen_arguments():
    decorated = collage_jax.jit(layer, frozen_argnums=1)
    decorated(X, W)
    for outer in (
        jax.jit,
        lambda f: jax.vmap(f, (None, 1), 1),
        lambda f: jax.grad(lambda x, w: f(x, w).sum(), (0, 1)),
        lambda f: lambda x, w: jax.jvp(f, (x, w), (x, w)),
        lambda f: lambda x, w: jax.lax.scan(lambda c, v: (c, f(v[None], c)), w, x),
        lambda f: collage_jax.jit(lambda x, w: f(x, w) + 1),
    ):
        assert_like_jit(outer(decorated)(X, W), outer(jax.jit(layer))(X, W))


def test_settings_of_jax_change_the_program_not_the_result():
    decorated = collage_jax.jit(layer, frozen_argnums=1)
    w = np.asarray(W)
    for _ in range(2):
        assert decorated(X, w).dtype == jnp.float32
        with jax.enable_x64(True):
            x = np.ones((3, 4))
            assert_like_jit(decorated(x, w), jax.jit(layer)(x, w))
        with jax.default_matmul_precision("highest"):
            assert_like_jit(decorated(X, w), layer(X, w))


def test_sets_that_are_not_used_any_more_are_dropped():
    decorated = collage_jax.jit(layer, frozen_argnums=1)
    gone = []
    for i in range(KEPT + 2):
        w = jnp.ones((4, 2)) * i
        gone.append(weakref.ref(w))
        decorated(X, w)
    del w
    gc.collect()
    assert [ref() is None for ref in gone] == [True, True] + [False] * KEPT
    decorated.clear_cache()
    gc.collect()
    assert all(ref() is None for ref in gone)
    assert_like_jit(decorated(X, W), layer(X, W))


def test_calls_with_frozen_arguments_do_not_tune_again(monkeypatch):
    timing = use(monkeypatch, Packing())
    decorated = collage_jax.jit(layer, frozen_argnums=1)
    for i in range(3):
        decorated(X, W * i)
    assert timing.races == 1


def test_a_leaf_that_can_change_unseen_is_never_the_same():
    class Box:
        def __init__(self, value):
            self.value = value

    sets, box = FrozenSets(), Box(1)
    assert sets.find([box]) is not sets.find([box])
    assert sets.find([W, 2.0, None]) is sets.find([W, 2.0, None])
    assert sets.find([W, 2.0]) is not sets.find([W, 2])


def test_packing_that_fails_leaves_the_product_to_xla(monkeypatch):
    fake = use_fake(monkeypatch, packs=True)
    monkeypatch.setattr(fake, "emit_frozen", lambda region, frozen: 1 / 0)
    decorated = collage_jax.jit(layer, frozen_argnums=1)
    for _ in range(2):
        assert_like_jit(decorated(X, W), layer(X, W))
    assert decorated.placement(X, W).is_xla


def test_arguments_on_another_platform_than_the_default_are_xlas(monkeypatch):
    """On the CPU of a process with a GPU, say: the kernels are for the GPU."""
    decorated = collage_jax.jit(layer, frozen_argnums=1)
    decorated(X, W)
    plain, calls = decorated._plain, []
    monkeypatch.setattr(decorated, "_plain", lambda *arguments: calls.append(arguments) or plain(*arguments))
    monkeypatch.setattr("collage_jax._compat.is_for_here", lambda context: False)
    jax.clear_caches()
    for x, w in ((X + 1, W), (X + 2, W), (X, 2 * W)):
        assert_like_jit(decorated(x, w), layer(x, w))
    assert len(calls) == 3
