"""Keras 3 models on its JAX backend: ``predict``, ``evaluate``, ``fit`` and calls run through ``collage_jax.jit``.

Keras makes one function for each of the first three, when it is needed, by methods that subclasses may replace; here
the instance does. What a step leaves as it was is frozen: all weights at inference, those of layers that are not
trained in training. Keras gives the same arrays to every call until they change.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import jax
import numpy as np

from . import _compat
from .adapting import parted, whole
from .api import jit
from .log import LOG

#: The methods that make a function, with the step that it runs and whether results of several steps are joined.
STEPS = {
    "make_train_function": ("train", False),
    "make_test_function": ("test", False),
    "make_predict_function": ("predict", True),
}
#: Where the model keeps what runs it; its presence says that ``compile`` was called.
KEPT = "_collage_jax"


def compile(model: Any, **options: Any) -> Any:
    """Let ``collage_jax.jit`` place what ``model`` computes; ``model.compile`` may come before or after.

    ``model.predict``, ``evaluate``, ``fit``, the methods for one batch, and ``model(x)`` outside of training give the
    same numbers as before, up to rounding. With ``jit_compile=False`` or ``run_eagerly=True`` in ``model.compile``, and
    under ``keras.distribution``, Keras runs as without us, and a warning says so.

    Args:
      model: a ``keras.Model``.
      **options: ``backends``, ``tune``, ``budget_s`` and ``tolerance`` of ``collage_jax.jit``.

    Returns:
      ``model`` itself. ``uncompile`` undoes it. Neither is saved with the model.

    Raises:
      ModuleNotFoundError: without Keras.
      RuntimeError: where Keras has another backend than JAX, or no place for us.
      TypeError: for what is no model, or other options.
    """
    keras = _keras()
    if not isinstance(model, keras.Model):
        raise TypeError(f"`model` must be a keras.Model, got {type(model).__name__}; wrap layers in keras.Sequential")
    if unknown := sorted(options.keys() - {"backends", "tune", "budget_s", "tolerance"}):
        raise TypeError(
            f"options must be backends, tune, budget_s or tolerance, got {', '.join(unknown)}; "
            "what is frozen and donated is decided here"
        )
    jit(lambda: None, **options)  # for its errors
    if lacking := [name for name in (*STEPS, "_make_function", "stateless_call") if not hasattr(model, name)]:
        raise RuntimeError(
            f"collage_jax.keras needs Model.{lacking[0]}, which Keras has since 3.7, and this is {keras.__version__}; "
            "pip install -U keras, or decorate a function of `model.stateless_call`"
        )
    uncompile(model)
    placed = _Placed(options)
    setattr(model, KEPT, placed)
    for method in STEPS:
        setattr(model, method, partial(_make, model, method, placed))
    model.call = _Call(model, model.call, placed)
    _forget(model)
    return model


def uncompile(model: Any) -> Any:
    """``model`` as it was before ``compile``; nothing happens if it was not called."""
    if KEPT in vars(model):
        for name in (*STEPS, "call", KEPT):
            delattr(model, name)
        _forget(model)
    return model


def explain(model: Any) -> str:
    """What runs what, for each function that ran so far: "train", "test", "predict" and "call"; see ``Jitted.explain``.

    Raises ``ValueError`` for a model without ``compile``.
    """
    if KEPT not in vars(model):
        raise ValueError(f"`model` must have been given to collage_jax.keras.compile before, got {model!r}")
    return "\n".join(f"{name}\n{step.explain()}" for name, step in getattr(model, KEPT).steps.items())


def _keras() -> Any:
    try:
        import keras
    except ModuleNotFoundError as missing:
        raise ModuleNotFoundError(f"Keras is needed, and {missing.name} is not installed: pip install keras") from None
    if keras.backend.backend() != "jax":
        raise RuntimeError(
            f"Keras must run on JAX, and its backend is {keras.backend.backend()!r}; set the environment variable "
            "KERAS_BACKEND=jax before keras is imported"
        )
    return keras


def _forget(model: Any) -> None:
    """Functions made before are made anew when they are needed."""
    model.train_function = model.test_function = model.predict_function = None


@dataclass(frozen=True)
class _Placed:
    """What runs a model: the last step of each name. (A dictionary, Keras would track and copy.)"""

    options: Mapping[str, Any]
    steps: dict[str, _Step] = field(default_factory=dict)


def _make(model: Any, method: str, placed: _Placed, force: bool = False) -> Any:
    """In place of ``model.make_..._function``."""
    name, joins = STEPS[method]
    function = f"{name}_function"
    if getattr(model, function) is not None and not force:
        return getattr(model, function)
    if why := _left_to_keras(model):
        LOG.warning("%s of the model %s runs without collage_jax: %s", name, model.name, why)
        return getattr(type(model), method)(model, force)
    step = getattr(model, f"{name}_step")
    if name == "predict":
        step = _with_weights(step)
    placed.steps[name] = _Step(step, f"{model.name}.{name}_step", placed.options)
    setattr(model, function, model._make_function(placed.steps[name], concatenate_outputs=joins))
    return getattr(model, function)


def _left_to_keras(model: Any) -> str | None:
    """Why Keras runs a step as it would without us, if it has to."""
    import keras

    if model.run_eagerly:
        return "run_eagerly=True"
    if not model.jit_compile:
        return "jit_compile=False, so Keras runs one operation after the other; give jit_compile=True to model.compile"
    if keras.distribution.distribution() is not None:
        return "keras.distribution spreads it over devices, and XLA alone partitions programs"
    if getattr(keras.config, "is_nnx_enabled", lambda: False)():
        return "Keras keeps its variables in Flax NNX's"
    return None


def _with_weights(predict_step: Callable[..., Any]) -> Callable[..., Any]:
    """``predict_step`` with the whole state as a result, as the other steps have it."""

    def step(state: Any, data: Any) -> Any:
        outputs, others = predict_step(state, data)
        return outputs, (state[0], others)

    return step


class _Step:
    """``step(state, data) -> (outputs, state)``, placed, with what it leaves of the state frozen."""

    def __init__(self, step: Callable[..., Any], name: str, options: Mapping[str, Any]) -> None:
        self._step = step
        self._changing: dict[Any, tuple[int, ...]] = {}

        def changes(fixed: Sequence[Any], open_: Sequence[Any], data: Any, structure: Any) -> tuple[Any, list[Any]]:
            changing = self._changing[structure]
            leaves = _merged(changing, fixed, open_)
            outputs, state = step(jax.tree.unflatten(structure, leaves), data)
            return outputs, [jax.tree.leaves(state)[i] for i in changing]

        changes.__name__ = changes.__qualname__ = name
        self._jitted = jit(changes, frozen_argnums=0, donate_argnums=1, static_argnums=3, **options)

    def __call__(self, state: Any, data: Any) -> tuple[Any, Any]:
        leaves, structure = jax.tree.flatten(state)
        if structure not in self._changing:
            self._changing[structure] = self._changed_by_a_step(leaves, structure, data)
        changing = self._changing[structure]
        fixed = [leaf for i, leaf in enumerate(leaves) if i not in changing]
        open_ = [leaves[i] for i in changing]
        outputs, changed = self._jitted(fixed, open_, data, structure)
        return outputs, jax.tree.unflatten(structure, _merged(changing, fixed, changed))

    def _changed_by_a_step(self, leaves: Sequence[Any], structure: Any, data: Any) -> tuple[int, ...]:
        """The places of those leaves of the state that the step gives back as others."""
        found: list[int] = []

        def probe(leaves: Sequence[Any], data: Any) -> Any:
            outputs, state = self._step(jax.tree.unflatten(structure, leaves), data)
            after = jax.tree.leaves(state)
            if jax.tree.structure(state) != structure:
                raise ValueError("the step must give the state back with the structure that it had; see keras.Model")
            found.extend(i for i, leaf in enumerate(leaves) if after[i] is not leaf)
            return outputs

        jax.eval_shape(probe, leaves, data)
        return tuple(found)

    def explain(self) -> str:
        """A table for each signature so far."""
        return "\n".join(str(program.tuned.placement) for program in self._jitted._programs.values())


class _Call:
    """In place of ``model.call``: outside of traces and of training one step that keeps no results of others."""

    def __init__(self, model: Any, original: Callable[..., Any], placed: _Placed) -> None:
        self._model, self._original, self._placed = model, original, placed

        def step(state: Any, data: Any) -> Any:
            args, kwargs = whole(data)
            outputs, others = model.stateless_call(*state, *args, **kwargs)
            return outputs, (state[0], others)

        self._step = _Step(step, f"{model.name}.call", placed.options)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if not self._is_ours(args, kwargs):
            return self._original(*args, **kwargs)
        model = self._model
        state = [v.value for v in model.trainable_variables], [v.value for v in model.non_trainable_variables]
        if any(map(_compat.is_traced, jax.tree.leaves(state))):
            return self._original(*args, **kwargs)
        self._placed.steps["call"] = self._step
        outputs, (_, after) = self._step(state, parted((args, kwargs)))
        for variable, old, new in zip(model.non_trainable_variables, state[1], after, strict=True):
            if new is not old:
                variable.assign(new)
        return outputs

    def _is_ours(self, args: Any, kwargs: Any) -> bool:
        """True for arrays and a model that is complete, is told whether it trains, and does not convert its weights."""
        model = self._model
        return (
            model._call_has_training_arg
            and not kwargs.get("training")
            and all(isinstance(a, (jax.Array, np.ndarray)) and not _compat.is_traced(a) for a in jax.tree.leaves(args))
            and all(layer.built for layer in model._flatten_layers())
            and model.compute_dtype == model.variable_dtype
            and _left_to_keras(model) is None
        )


def _merged(changing: Sequence[int], fixed: Sequence[Any], open_: Sequence[Any]) -> list[Any]:
    """All leaves in order: those numbered ``changing`` are ``open_``."""
    held, others = iter(fixed), dict(zip(changing, open_, strict=True))
    return [others[i] if i in others else next(held) for i in range(len(fixed) + len(others))]
