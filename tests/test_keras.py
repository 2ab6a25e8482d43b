"""`collage_jax.keras.compile`: Keras' own numbers, callbacks and files; weights frozen until they change; undone."""

from __future__ import annotations

import logging
import subprocess
import sys
import types

import jax
import numpy as np
import pytest
from api_fakes import is_placed, use_fake

import collage_jax.keras

keras = pytest.importorskip("keras", reason="keras is not installed")
if keras.backend.backend() != "jax":
    pytest.skip("Keras runs on another backend than JAX", allow_module_level=True)

# NumPy's about Keras' variables, which Keras itself causes.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

X = np.random.default_rng(0).random((12, 8), np.float32)
Y = np.arange(12, dtype=np.int32) % 3


@pytest.fixture(autouse=True)
def fake(monkeypatch):
    return use_fake(monkeypatch)


def network(seed=0, trained=True):
    keras.utils.set_random_seed(seed)
    inputs = keras.Input((8,))
    hidden = keras.layers.Dense(16, activation="relu")
    hidden.trainable = trained
    x = keras.layers.Dropout(0.0)(keras.layers.BatchNormalization(momentum=0.9)(hidden(inputs)))
    return keras.Model(inputs, keras.layers.Dense(3)(x))


def compiled(model, **options):
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer=keras.optimizers.SGD(0.1, momentum=0.9), loss=loss, metrics=["accuracy"], **options)
    return model


def placements(model):
    steps = model._collage_jax.steps
    return {name: [p.tuned.placement for p in step._jitted._programs.values()] for name, step in steps.items()}


def close(got, wanted):
    np.testing.assert_allclose(np.asarray(got), np.asarray(wanted), rtol=1e-4, atol=1e-5)


def test_predictions_are_keras_own_with_weights_packed_once():
    plain, model = network(), collage_jax.keras.compile(network())
    for _ in range(3):
        close(model.predict(X, batch_size=4, verbose=0), plain.predict(X, batch_size=4, verbose=0))
        close(model.predict_on_batch(X[:4]), plain.predict_on_batch(X[:4]))
        close(model(X[:4]), plain(X[:4]))
    for name in ("predict", "call"):
        sets = model._collage_jax.steps[name]._jitted._frozen_sets._sets
        assert len(sets) == 1 and len(sets[0].kept) == 8
        assert all(map(is_placed, placements(model)[name]))


def test_changed_weights_are_noticed():
    plain, model = network(), collage_jax.keras.compile(network())
    model.predict(X, verbose=0)
    for change in (
        lambda m: m.set_weights([w + 0.5 for w in m.get_weights()]),
        lambda m: m.layers[-1].bias.assign([1, 2, 3]),
    ):
        change(plain)
        change(model)
        close(model.predict(X, verbose=0), plain.predict(X, verbose=0))
        close(model(X), plain(X))


@pytest.mark.parametrize("steps", [pytest.param(1, marks=pytest.mark.slow), 2])
def test_fit_and_evaluate_are_keras_own(steps):
    seen = []

    class Seen(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            seen.append((batch, float(logs["loss"])))

    results = []
    for model in (network(), collage_jax.keras.compile(network())):
        compiled(model, steps_per_execution=steps)
        schedule = keras.callbacks.LearningRateScheduler(lambda epoch: 0.1 / (epoch + 1))
        options = {"batch_size": 3, "epochs": 2, "shuffle": False, "verbose": 0, "validation_data": (X, Y)}
        history = model.fit(X, Y, callbacks=[schedule, Seen()], **options).history
        results.append((history, model.evaluate(X, Y, verbose=0, return_dict=True), model.get_weights()))
    (wanted, evaluated, weights), (got, ours, our_weights) = results
    for name, values in wanted.items():
        close(got[name], values)
    for name, value in evaluated.items():
        close(ours[name], value)
    for a, b in zip(our_weights, weights, strict=True):
        close(a, b)
    half = len(seen) // 2
    close(seen[half:], seen[:half])
    assert {name for name, found in placements(model).items() if all(map(is_placed, found))} == {"train", "test"}
    assert "fake" in collage_jax.keras.explain(model)


def test_layers_that_are_not_trained_are_frozen_in_training():
    plain, model = compiled(network(trained=False)), collage_jax.keras.compile(compiled(network(trained=False)))
    for _ in range(2):
        close(model.train_on_batch(X, Y), plain.train_on_batch(X, Y))
    step = model._collage_jax.steps["train"]._jitted
    assert {(8, 16), (16,)} <= {np.shape(leaf) for leaf in step._frozen_sets._sets[0].kept}


def test_a_step_of_the_users_own_is_the_one_that_runs():
    class Doubling(keras.Model):
        def __init__(self):
            super().__init__()
            self.dense = keras.layers.Dense(3)

        def call(self, x):
            return self.dense(x)

        def predict_step(self, state, data):
            outputs, state = super().predict_step(state, data)
            return 2 * outputs, state

    model = collage_jax.keras.compile(Doubling())
    got = model.predict(X, verbose=0)
    close(got, 2 * model(X))
    assert all(map(is_placed, placements(model)["predict"]))
    assert "call" not in placements(model)  # whether it trains, it is not told


def test_saved_models_know_nothing_of_us(tmp_path):
    model = collage_jax.keras.compile(compiled(network()))
    model.train_on_batch(X, Y)
    wanted = model.predict(X, verbose=0)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert not hasattr(loaded, "_collage_jax")
    close(loaded.predict(X, verbose=0), wanted)
    model.save_weights(tmp_path / "model.weights.h5")
    other = collage_jax.keras.compile(network(seed=1))
    other.predict(X, verbose=0)
    other.load_weights(tmp_path / "model.weights.h5")
    close(other.predict(X, verbose=0), wanted)


def test_it_can_be_undone_and_done_again():
    model = network()
    wanted = model.predict(X, verbose=0)
    before = set(vars(model))
    for _ in range(2):
        assert collage_jax.keras.compile(model, tune="cached") is model
        model.predict(X, verbose=0)
        assert collage_jax.keras.uncompile(model) is model
        close(model.predict(X, verbose=0), wanted)
    assert set(vars(model)) == before
    assert collage_jax.keras.uncompile(model) is model
    with pytest.raises(ValueError, match=r"must have been given to collage_jax\.keras\.compile before"):
        collage_jax.keras.explain(model)


@pytest.mark.parametrize(
    ("options", "why"),
    [({"jit_compile": False}, "jit_compile=False, so Keras runs"), ({"run_eagerly": True}, "eagerly")],
)
def test_what_is_not_compiled_stays_with_keras_and_a_warning_says_so(options, why, caplog):
    plain, model = compiled(network(), **options), collage_jax.keras.compile(compiled(network(), **options))
    with caplog.at_level(logging.WARNING, "collage_jax"):
        close(model.predict(X, verbose=0), plain.predict(X, verbose=0))
    assert why in caplog.text and not model._collage_jax.steps
    close(model(X), plain(X))


def test_a_model_inside_of_another_and_of_a_transformation():
    inner = collage_jax.keras.compile(network())
    inputs = keras.Input((8,))
    outer = keras.Model(inputs, inner(inputs) * 2)
    close(outer.predict(X, verbose=0), 2 * inner.predict(X, verbose=0))
    weights = [v.value for v in inner.trainable_variables], [v.value for v in inner.non_trainable_variables]
    close(jax.jit(lambda w: inner.stateless_call(*w, X)[0])(weights), inner(X))
    zeros = jax.tree.map(lambda w: 0 * w, weights)
    close(inner.stateless_call(*zeros, X)[0], np.zeros((12, 3)))
    gradient = jax.grad(lambda w: inner.stateless_call(w, weights[1], X)[0].sum())(weights[0])
    assert all(np.isfinite(g).all() for g in gradient)


def test_compile_says_what_is_wrong():
    with pytest.raises(TypeError, match=r"`model` must be a keras.Model, got Dense; wrap layers in keras.Sequential"):
        collage_jax.keras.compile(keras.layers.Dense(3))
    with pytest.raises(TypeError, match="options must be backends, tune, budget_s or tolerance, got frozen_argnums"):
        collage_jax.keras.compile(network(), frozen_argnums=0)
    with pytest.raises(ValueError, match="`tune` must be one of"):
        collage_jax.keras.compile(network(), tune="loud")


def test_versions_without_our_place_are_named(monkeypatch):
    monkeypatch.delattr("keras.src.backend.jax.trainer.JAXTrainer._make_function")
    with pytest.raises(RuntimeError, match=r"needs Model._make_function, which Keras has since 3.7, and this is \d"):
        collage_jax.keras.compile(network())


def test_keras_may_be_missing_or_run_on_another_backend(monkeypatch):
    other = types.SimpleNamespace(backend=types.SimpleNamespace(backend=lambda: "numpy"))
    monkeypatch.setitem(sys.modules, "keras", other)
    with pytest.raises(RuntimeError, match=r"must run on JAX, and its backend is 'numpy'; set .* KERAS_BACKEND=jax"):
        collage_jax.keras.compile(object())
    monkeypatch.setitem(sys.modules, "keras", None)
    with pytest.raises(ModuleNotFoundError, match="Keras is needed, and keras is not installed: pip install keras"):
        collage_jax.keras.compile(object())


def test_keras_is_imported_only_when_it_is_needed():
    code = "import sys, collage_jax.keras; assert 'keras' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
