"""What stands in for ``eqx.filter_jit`` and ``nnx.jit``: the same results and changes, kernels placed, clear errors."""

from __future__ import annotations

import gc
import importlib
import weakref
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from api_fakes import is_placed, use_fake

import collage_jax
from collage_jax.calls import frozen

X = np.random.default_rng(0).standard_normal((4, 8)).astype(np.float32)


# Equinox


@pytest.fixture
def eqx():
    return pytest.importorskip("equinox", reason="equinox is not installed")


@pytest.fixture
def filter_jit(eqx, monkeypatch):
    use_fake(monkeypatch)
    from collage_jax.equinox import filter_jit

    return filter_jit


def apply(model, x):
    return jax.vmap(model)(x)


def perceptron(eqx, seed=0):
    """With functions among its leaves: the activations."""
    return eqx.nn.MLP(8, 3, 16, 2, key=jax.random.key(seed))


def test_a_frozen_module_with_functions_among_its_leaves_is_placed(eqx, filter_jit):
    model, other = perceptron(eqx), perceptron(eqx, 1)
    predict = filter_jit(apply, frozen_argnums=0)
    for used in (model, other, model):
        np.testing.assert_allclose(predict(used, X), eqx.filter_jit(apply)(used, X), rtol=1e-5, atol=1e-6)
    assert is_placed(predict.placement(model, X))
    assert "fake" in predict.explain(model, jax.ShapeDtypeStruct(X.shape, X.dtype))
    assert len(predict._jitted._programs) == 1


def test_a_replaced_weight_of_a_frozen_module_is_noticed(eqx, filter_jit):
    model = perceptron(eqx)
    predict = filter_jit(apply, frozen_argnums=0)
    before = predict(model, X)
    changed = eqx.tree_at(lambda m: m.layers[-1].bias, model, replace_fn=lambda b: b + 1)
    np.testing.assert_allclose(predict(changed, X), before + 1, rtol=1e-5, atol=1e-6)


def test_static_leaves_decide_the_program(filter_jit):
    @filter_jit
    def power(x, settings):
        return x @ x.T * settings["times"], settings["name"]

    for times, name in ((1, "a"), (1.0, "a"), (True, "a"), (2, "b")):
        got, label = power(X, {"times": times, "name": name})
        np.testing.assert_allclose(got, X @ X.T * times, rtol=1e-5, atol=1e-6)
        assert label == name
    assert len(power._jitted._programs) == 4


def test_a_step_that_returns_a_module_keeps_its_functions(eqx, filter_jit):
    @filter_jit
    def step(model, x):
        gradients = eqx.filter_grad(lambda m: jnp.sum(apply(m, x) ** 2))(model)
        return eqx.apply_updates(model, jax.tree.map(lambda g: -0.1 * g, gradients))

    model = perceptron(eqx)
    after = step(step(model, X), X)
    assert after.activation is model.activation
    assert jax.tree.structure(after) == jax.tree.structure(model)


def test_methods_are_bound(eqx, filter_jit):
    class Scaled(eqx.Module):
        weight: jax.Array
        name: str

        @filter_jit
        def __call__(self, x):
            return x @ self.weight

    scaled = Scaled(jnp.ones((8, 2)), "ones")
    np.testing.assert_allclose(scaled(X), X @ np.ones((8, 2)), rtol=1e-5)
    assert is_placed(Scaled.__call__.placement(scaled, X))


def test_filter_jit_says_what_is_wrong(filter_jit):
    with pytest.raises(TypeError, match="no `static_argnums`, got 1; all that is no array is static already"):
        filter_jit(apply, static_argnums=1)
    with pytest.raises(TypeError, match="must have a hash, got a set inside of a dict; make it an array, a tuple"):
        filter_jit(lambda x, s: x)(X, {"s": {1, 2}})
    with pytest.raises(TypeError, match="`fun` must be callable, got int"):
        filter_jit(3)


def test_a_frozen_module_is_exported_with_its_arrays_and_what_is_static(eqx, filter_jit):
    @filter_jit(frozen_argnums=0)
    def scaled(model, x, how, *, by):
        return {"y": apply(model, x["x"]) * {"twice": 2, "thrice": 3}[how] + by}

    model = perceptron(eqx)
    exported = collage_jax.export(scaled, model, {"x": X}, "thrice", kwargs={"by": X[0, :3]})
    assert is_placed(exported.placements[0]) and exported.manifest.name == "scaled"
    got = collage_jax.load(exported.serialize())({"x": X}, by=X[1, :3])
    np.testing.assert_allclose(got["y"], 3 * apply(model, X) + X[1, :3], rtol=1e-5, atol=1e-6)


def test_what_equinox_has_and_a_file_cannot_hold_is_refused(eqx, filter_jit):
    model, linear = perceptron(eqx), eqx.nn.Linear(8, 3, key=jax.random.key(0))
    said = r"argument 0 of an exported function must be of arrays alone .* beside arrays; freeze it"
    with pytest.raises(TypeError, match=said):
        collage_jax.export(filter_jit(apply), model, X)
    with pytest.raises(TypeError, match=r"argument 0, which each call passes, .* got equinox.*Linear; freeze it"):
        collage_jax.export(filter_jit(apply), linear, X)
    with pytest.raises(TypeError, match=r"the result of an exported function .* got equinox\.\S*Linear; return its"):
        collage_jax.export(filter_jit(lambda m, x: m, frozen_argnums=0), linear, X)
    with pytest.raises(TypeError, match=r"has its options, got backends besides"):
        collage_jax.export(filter_jit(apply), linear, X, backends=["fake"])


# Flax NNX


@pytest.fixture
def nnx(monkeypatch):
    pytest.importorskip("flax", reason="flax is not installed")
    use_fake(monkeypatch)
    importlib.import_module("collage_jax.nnx")
    from flax import nnx

    return nnx


def network(nnx, seed=0):
    return nnx.Sequential(
        nnx.Linear(8, 16, rngs=nnx.Rngs(seed)),
        nnx.BatchNorm(16, rngs=nnx.Rngs(seed)),
        nnx.Dropout(0.5, rngs=nnx.Rngs(seed)),
        jax.nn.relu,
        nnx.Linear(16, 3, rngs=nnx.Rngs(seed)),
    )


def state(nnx, *modules):
    return [np.asarray(jax.random.key_data(a) if jnp.issubdtype(a.dtype, jax.dtypes.prng_key) else a)
            for module in modules for a in jax.tree.leaves(nnx.state(module))]  # fmt: skip


def test_a_frozen_module_is_placed_and_its_changes_are_noticed(nnx):
    model = network(nnx)
    model.eval()
    predict = collage_jax.nnx.jit(lambda model, x: model(x), frozen_argnums=0)
    own = nnx.jit(lambda model, x: model(x))
    for change in (0.0, 1.0, 0.0):
        model.layers[-1].bias[...] += change
        np.testing.assert_allclose(predict(model, X), own(model, X), rtol=1e-5, atol=1e-6)
    assert is_placed(predict.placement(model, X))
    assert len(predict._jitted._programs) == 1


def test_a_module_is_frozen_for_collage_jax_jit_too(nnx):
    model = network(nnx)
    model.eval()
    predict = collage_jax.jit(lambda model, x: model(x), frozen_argnums=0)
    np.testing.assert_allclose(predict(model, X), model(X), rtol=1e-5, atol=1e-6)
    graph, weights = nnx.split(model)
    split = collage_jax.jit(lambda weights, x: nnx.merge(graph, weights)(x), frozen_argnums=0)
    np.testing.assert_allclose(split(weights, X), model(X), rtol=1e-5, atol=1e-6)
    assert is_placed(split.placement(weights, X))


def test_a_frozen_module_is_exported_with_its_weights(nnx):
    class Net(nnx.Module):
        def __init__(self):
            self.inside = network(nnx)

        @partial(collage_jax.nnx.jit, frozen_argnums=0)
        def scores(self, x):
            return self.inside(x)

    model = Net()
    model.eval()
    exported = collage_jax.export(model.scores, X, also=[(X[:2],)])
    assert is_placed(exported.placements[0]) and exported.manifest.name == "scores"
    wanted = model.inside(X)
    model.inside.layers[-1].bias[...] += 1  # the file has what it was made with
    loaded = collage_jax.load(exported.serialize())
    np.testing.assert_allclose(loaded(X), wanted, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(loaded(X[:2]), wanted[:2], rtol=1e-5, atol=1e-6)


def test_what_flax_has_and_a_file_cannot_hold_is_refused(nnx):
    model = network(nnx)
    model.eval()
    predict = collage_jax.nnx.jit(lambda model, x: model(x), frozen_argnums=0)
    for passing in (collage_jax.nnx.jit(lambda model, x: model(x)), lambda model, x: model(x)):
        with pytest.raises(TypeError, match=r"argument 0, which each call passes, .* got flax.*Sequential; freeze"):
            collage_jax.export(passing, model, X)
    with pytest.raises(TypeError, match=r"argument `rngs`, which each call passes, .* got flax\.\S*Rngs; freeze it"):
        collage_jax.export(lambda x, rngs: x, X, kwargs={"rngs": {"dropout": nnx.Rngs(0)}})
    with pytest.raises(TypeError, match=r"frozen arguments that come later .* got flax.*Sequential; leave bake"):
        collage_jax.export(predict, model, X, bake_frozen=False)
    with pytest.raises(TypeError, match=r"the result of an exported function .* got flax\.\S*State; return its arrays"):
        collage_jax.export(lambda model, x: nnx.state(model), model, X, frozen_argnums=0)
    model.train()
    with pytest.raises(ValueError, match=r"argument 0 is frozen, and the function changes it.*call its `eval\(\)`"):
        collage_jax.export(predict, model, X)


def held(nnx):
    """A module with one of each thing that may hold others, and its state."""

    class Holder(nnx.Module):
        def __init__(self):
            self.linear = nnx.Linear(8, 3, rngs=nnx.Rngs(0))
            self.drop = nnx.Dropout(0.5, deterministic=True, rngs=nnx.Rngs(0))
            self.layers = nnx.List([nnx.Linear(3, 3, rngs=nnx.Rngs(1))])
            self.data = nnx.data({"list": [jnp.ones(3)], "pair": (jnp.ones(2), None)})
            self.scale = 2.0

    module = Holder()
    return module, nnx.state(module)


CHANGES = {
    "a value": lambda nnx, module, state: module.linear.kernel.set_raw_value(module.linear.kernel.get_raw_value() + 1),
    "a value by its place": lambda nnx, module, state: module.layers[0].bias.__setitem__(0, 1.0),
    "metadata": lambda nnx, module, state: module.linear.bias.set_metadata("note", 1),
    "an attribute": lambda nnx, module, state: setattr(module, "scale", 3.0),
    "how it behaves": lambda nnx, module, state: module.train(),
    "an attribute more": lambda nnx, module, state: setattr(module, "shift", 1.0),
    "an attribute less": lambda nnx, module, state: delattr(module, "scale"),
    "another module": lambda nnx, module, state: setattr(module, "linear", nnx.Linear(8, 3, rngs=nnx.Rngs(2))),
    "two in turn": lambda nnx, module, state: setattr(module, "layers", nnx.List([module.linear])),
    "a module more": lambda nnx, module, state: module.layers.append(module.linear),
    "in a list": lambda nnx, module, state: module.data["list"].__setitem__(0, jnp.zeros(3)),
    "a longer list": lambda nnx, module, state: module.data["list"].append(jnp.zeros(3)),
    "in a dictionary": lambda nnx, module, state: module.data.update(pair=(jnp.zeros(2), None)),
    "a value of the state": lambda nnx, module, state: state["linear"]["bias"].set_raw_value(jnp.ones(3)),
    "a variable of the state": lambda nnx, module, state: state["linear"].update(bias=nnx.Param(jnp.ones(3))),
    "less of the state": lambda nnx, module, state: state.__delitem__("linear"),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_modules_that_come_again_are_not_flattened_and_every_change_is_noticed(nnx, monkeypatch, change):
    sets, arguments = frozen.FrozenSets(), [*held(nnx), X.sum()]
    first = sets.find(arguments)
    assert sets.find(arguments) is first
    with monkeypatch.context() as patch:
        patch.setattr(jax.tree, "flatten", None)
        assert sets.find(arguments) is first and sets.find([*arguments]) is first
    change(nnx, *arguments[:2])
    leaves, structure = jax.tree.flatten(arguments)
    assert not first.holds(leaves, structure)
    changed = sets.find(arguments)
    assert changed is not first and changed.holds(leaves, structure)
    assert [sets.find(arguments) for _ in range(3)] == [changed] * 3


def test_two_modules_in_turn_are_not_flattened_either(nnx, monkeypatch):
    sets, (one, other) = frozen.FrozenSets(), (network(nnx), network(nnx, 1))
    known = [(sets.find([one]), sets.find([other])) for _ in range(3)][-1]
    monkeypatch.setattr(jax.tree, "flatten", None)
    assert [(sets.find([one]), sets.find([other])) for _ in range(2)] == [known] * 2


def test_what_changes_unseen_inside_of_a_module_is_noticed(nnx):
    @jax.tree_util.register_pytree_node_class
    class Box:
        def __init__(self, inside):
            self.inside = inside

        def tree_flatten(self):
            return (self.inside,), None

        @classmethod
        def tree_unflatten(cls, _, children):
            return cls(*children)

    class Holder(nnx.Module):
        def __init__(self, inside):
            self.weight = nnx.Param(jnp.ones(3))
            self.inside = nnx.data(inside)

    numbers, box = np.ones(3), Box(jnp.ones(3))
    for holder in (Holder(numbers), Holder(box)):
        sets = frozen.FrozenSets()
        assert len({sets.find([holder]) for _ in range(4)}) == 1
        numbers[0], box.inside = 2, jnp.zeros(3)
        assert not sets._sets[0].holds(*jax.tree.flatten([holder]))
        assert sets.find([holder]).holds(*jax.tree.flatten([holder]))
        numbers[0] = 1


def test_a_module_that_came_again_is_let_go_of_with_the_rest(nnx):
    predict = collage_jax.nnx.jit(lambda model, x: model(x), frozen_argnums=0)
    model = network(nnx)
    model.eval()
    results = [predict(model, X) for _ in range(4)]
    model.layers[-1].bias[...] += 1
    np.testing.assert_allclose(predict(model, X), results[-1] + 1, rtol=1e-5, atol=1e-6)
    gone = weakref.ref(model)
    del model
    predict.clear_cache()
    gc.collect()
    assert gone() is None


def test_training_changes_weights_statistics_and_random_numbers_in_place(nnx):
    optax = pytest.importorskip("optax", reason="optax is not installed")

    def step(model, optimizer, x):
        loss, gradients = nnx.value_and_grad(lambda m: jnp.mean(m(x) ** 2))(model)
        optimizer.update(model, gradients)
        return loss

    results = []
    for jit in (nnx.jit, collage_jax.nnx.jit):
        model = network(nnx)
        optimizer = nnx.Optimizer(model, optax.adam(0.01), wrt=nnx.Param)
        decorated = jit(step)
        results.append(([float(decorated(model, optimizer, X)) for _ in range(3)], state(nnx, model, optimizer)))
    (losses, ours), (wanted, theirs) = results
    np.testing.assert_allclose(losses, wanted, rtol=1e-4)
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4)


def test_variables_reached_in_several_ways_stay_one(nnx):
    class Tied(nnx.Module):
        def __init__(self):
            self.inwards = nnx.Param(jnp.ones((8, 8)))
            self.outwards = self.inwards

    @collage_jax.nnx.jit
    def double(tied, variable, x):
        tied.inwards[...] = tied.inwards[...] * 2
        return x @ tied.outwards[...] + x @ variable[...]

    tied = Tied()
    np.testing.assert_allclose(double(tied, tied.inwards, X), 4 * X @ np.ones((8, 8)), rtol=1e-5)
    assert tied.outwards is tied.inwards and float(tied.inwards[0, 0]) == 2
    np.testing.assert_allclose(double(tied, nnx.Param(jnp.zeros((8, 8))), X), 4 * X @ np.ones((8, 8)), rtol=1e-5)


def test_static_and_donated_arguments(nnx):
    model = nnx.Linear(8, 8, rngs=nnx.Rngs(0))

    @collage_jax.nnx.jit(static_argnames="times", donate_argnums=0)
    def scale(model, x, times):
        model.kernel[...] = model.kernel[...] * times
        return model(x)

    for times in (2, 3):
        wanted = nnx.Linear(8, 8, rngs=nnx.Rngs(0))
        wanted.kernel[...] = model.kernel[...] * times
        np.testing.assert_allclose(scale(model, X, times=times), wanted(X), rtol=1e-5, atol=1e-6)


def test_nnx_jit_says_what_is_wrong(nnx):
    class Growing(nnx.Module):
        def __init__(self):
            self.weight = nnx.Param(jnp.ones((8, 8)))

        def __call__(self, x):
            self.seen = nnx.Intermediate(x)
            return x @ self.weight[...]

    with pytest.raises(ValueError, match=r"argument 0 must keep its variables and attributes.*use `nnx.jit`"):
        collage_jax.nnx.jit(lambda model, x: model(x))(Growing(), X)
    with pytest.raises(ValueError, match=r"argument 0 is frozen, and the function changes it.*call its `eval\(\)`"):
        collage_jax.nnx.jit(lambda model, x: model(x), frozen_argnums=0)(network(nnx), X)


# Flax Linen and Haiku need nothing of ours


def test_variables_of_a_linen_model_are_frozen(monkeypatch):
    nn = pytest.importorskip("flax.linen", reason="flax is not installed")
    use_fake(monkeypatch)

    class Net(nn.Module):
        @nn.compact
        def __call__(self, x, train: bool = False):
            x = nn.BatchNorm(use_running_average=not train)(nn.Dense(16)(x))
            return nn.Dense(3)(nn.Dropout(0.5, deterministic=not train)(x))

    model = Net()
    variables = model.init(jax.random.key(0), X)
    predict = collage_jax.jit(model.apply, frozen_argnums=0, static_argnames=("train", "mutable"))
    np.testing.assert_allclose(predict(variables, X), model.apply(variables, X), rtol=1e-5, atol=1e-6)
    assert is_placed(predict.placement(variables, X))
    options = {"train": True, "mutable": ("batch_stats",), "rngs": {"dropout": jax.random.key(1)}}
    got, wanted = predict(variables, X, **options), jax.jit(lambda v, x: model.apply(v, x, **options))(variables, X)
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(wanted), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


def test_random_keys_may_be_frozen_and_change():
    def fun(key, w, x):
        return x @ w + jax.random.normal(key, (4, 2))

    w = jnp.ones((8, 2))
    decorated = collage_jax.jit(fun, frozen_argnums=(0, 1), budget_s=1)
    for seed in (0, 1, 0):
        key = jax.random.key(seed)
        np.testing.assert_allclose(decorated(key, w, X), fun(key, w, X), rtol=1e-5, atol=1e-5)
