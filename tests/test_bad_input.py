"""What does not fit is refused with the rule, the value and the remedy."""

from __future__ import annotations

import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from api_fakes import use_fake

import collage_jax
from collage_jax import config
from collage_jax.config import Config
from collage_jax.ffi import native

X = jnp.ones((3, 4))
W = jnp.ones((4, 2))


@pytest.fixture(autouse=True)
def fake(monkeypatch):
    return use_fake(monkeypatch)


def product(x, w):
    return x @ w


def power(x, w, n):
    return (x @ w) ** n


DECORATIONS = [
    (lambda: collage_jax.jit(3), TypeError, "`fun` must be callable, got int; pass the function itself"),
    (lambda: collage_jax.jit(product(X, W)), TypeError, "`fun` must be callable, got ArrayImpl"),
    (lambda: collage_jax.jit("f"), TypeError, "must be callable, got str"),
    ({"backends": "fake"}, TypeError, "`backends` must be a sequence of names, got the string 'fake'; write ['fake']"),
    ({"backends": ["onednm"]}, ValueError, "no backend is called 'onednm'; known: fake, xla"),
    ({"backends": [3]}, TypeError, "`backends` must hold names, got 3; see collage_jax.backends()"),
    ({"backends": 3}, TypeError, "`backends` must be a sequence of names, got 3; omit it"),
    ({"budget_s": -1}, ValueError, "`budget_s` must be >= 0 seconds and finite, got -1; omit it for 60"),
    ({"budget_s": float("nan")}, ValueError, "`budget_s` must be >= 0 seconds and finite, got nan; omit it for 60"),
    ({"budget_s": float("inf")}, ValueError, "`budget_s` must be >= 0 seconds and finite, got inf; omit it for 60"),
    ({"budget_s": "60"}, TypeError, "`budget_s` must be a number of seconds, got str; omit it for 60"),
    ({"budget_s": True}, TypeError, "`budget_s` must be a number of seconds, got bool; omit it for 60"),
    (
        {"tune": "fast"},
        ValueError,
        "`tune` must be one of 'two-level', 'op-level', 'cached', 'again', 'off', got 'fast'",
    ),
    ({"tune": True}, ValueError, "`tune` must be one of 'two-level', 'op-level', 'cached', 'again', 'off', got True"),
    (
        {"tune": ["off"]},
        ValueError,
        "`tune` must be one of 'two-level', 'op-level', 'cached', 'again', 'off', got ['off']",
    ),
    ({"tolerance": -1}, ValueError, "`tolerance` must be a number >= 0, got -1; omit it for the default of each dtype"),
    ({"tolerance": float("nan")}, ValueError, "`tolerance` must be a number >= 0, got nan; omit it"),
    ({"tolerance": "1e-3"}, TypeError, "`tolerance` must be a number, got '1e-3'; omit it"),
    ({"tolerance": True}, TypeError, "`tolerance` must be a number, got True; omit it"),
    (
        {"frozen_argnums": 2},
        ValueError,
        "`frozen_argnums` must name one of the 2 positional arguments (x, w), got 2; count",
    ),
    ({"frozen_argnums": -3}, ValueError, "must name one of the 2 positional arguments (x, w), got -3; count from 0"),
    ({"frozen_argnums": True}, TypeError, "`frozen_argnums` must hold integers, got True; give positions of arguments"),
    ({"frozen_argnums": "w"}, TypeError, "`frozen_argnums` must hold integers, got 'w'; give positions of arguments"),
    (
        {"frozen_argnums": [0, 1.0]},
        TypeError,
        "`frozen_argnums` must hold integers, got 1.0; give positions of arguments",
    ),
    ({"frozen_argnums": None}, TypeError, "`frozen_argnums` must hold integers, got None; give positions of arguments"),
    (
        {"frozen_argnums": 1, "static_argnums": 1},
        ValueError,
        "argument 1 cannot be both frozen and static: `frozen_argnums`=(1,), static arguments (1,); take it out of one",
    ),
    ({"frozen_argnums": 1, "static_argnums": -1}, ValueError, "argument 1 cannot be both frozen and static"),
    ({"frozen_argnums": -1, "static_argnames": "w"}, ValueError, "argument 1 cannot be both frozen and static"),
    ({"frozen_argnums": (0, 1), "donate_argnums": (0,)}, ValueError, "argument 0 cannot be both frozen and donated"),
    ({"frozen_argnums": 1, "donate_argnames": "w"}, ValueError, "argument 1 cannot be both frozen and donated"),
    ({"static_argnums": 2}, ValueError, "static_argnums"),
    ({"static_argnames": "nothing"}, ValueError, "nothing"),
    ({"donate_argnums": 5}, ValueError, "donate_argnums"),
]


@pytest.mark.parametrize(("decoration", "kind", "message"), DECORATIONS, ids=lambda p: p if isinstance(p, str) else "")
def test_a_wrong_decoration_is_refused_at_once(decoration, kind, message):
    with pytest.raises(kind, match=re.escape(message)):
        decoration() if callable(decoration) else collage_jax.jit(product, **decoration)


def test_a_frozen_argument_counted_from_the_end_of_any_number_is_refused():
    with pytest.raises(
        ValueError, match=re.escape("`frozen_argnums` must be >= 0 for a function with *args, got -1; count")
    ):
        collage_jax.jit(lambda *xs: xs, frozen_argnums=-1)


@pytest.mark.parametrize("call", [(X,), ()], ids=["too few", "none"])
def test_a_frozen_argument_that_is_not_passed_is_missed(call):
    decorated = collage_jax.jit(lambda x, w=W: x @ w, frozen_argnums=1)
    message = re.escape(f"`frozen_argnums` names argument 1, the call has {len(call)} positional ones; pass the frozen")
    for method in (decorated, decorated.placement, decorated.explain, decorated.lower, decorated.trace):
        with pytest.raises(TypeError, match=message):
            method(*call)


@pytest.mark.parametrize("frozen", [(), 1], ids=["open", "frozen"])
def test_unhashable_static_arguments_are_refused_everywhere(frozen):
    decorated = collage_jax.jit(power, static_argnums=2, frozen_argnums=frozen)
    for method in (decorated, decorated.placement, decorated.explain):
        with pytest.raises(ValueError, match=r"(?i)static arguments .*hash"):
            method(X, W, [2])
    with pytest.raises(ValueError, match="must be hashable: unhashable type: 'list'; give a tuple for a list"):
        decorated.placement(X, W, [2])


def test_results_that_are_not_arrays_are_refused_as_by_jit():
    for fun in (lambda x: "text", lambda x: {"a": object()}):
        with pytest.raises(TypeError, match="not a valid JAX type"):
            jax.jit(fun)(X)
        for method in (collage_jax.jit(fun), collage_jax.jit(fun).placement):
            with pytest.raises(TypeError, match="not a valid JAX type"):
                method(X)


@pytest.mark.parametrize("frozen", [(), 1], ids=["open", "frozen"])
@pytest.mark.parametrize(
    "argument", ["text", object(), np.array(["text"]), {1, 2}], ids=["str", "object", "array of str", "set"]
)
def test_arguments_that_are_not_arrays_are_refused_as_by_jit(argument, frozen):
    decorated = collage_jax.jit(product, frozen_argnums=frozen)
    with pytest.raises(TypeError):
        jax.jit(product)(X, argument)
    for method in (decorated, decorated.placement):
        with pytest.raises(TypeError, match=r"(?i)not a valid JAX (array )?type|cannot interpret|Error interpreting"):
            method(X, argument)


def test_wrong_numbers_of_arguments_are_refused_as_by_python():
    with pytest.raises(TypeError, match="missing 1 required positional argument: 'w'"):
        collage_jax.jit(product)(X)
    with pytest.raises(TypeError, match="unexpected keyword argument"):
        collage_jax.jit(product)(X, W, y=1)


def test_defaults_are_checked_like_arguments():
    for name, value, message in (
        ("tune", "fast", "`tune` must be one of"),
        ("backends", "fake", "got the string 'fake'"),
        ("budget_s", -1, "`budget_s` must be >= 0"),
    ):
        with pytest.raises((TypeError, ValueError), match=re.escape(message)):
            setattr(config, name, value)


def test_defaults_hold_for_functions_decorated_later(monkeypatch, fake):
    monkeypatch.setattr(config, "backends", ("xla",))
    assert collage_jax.jit(product).placement(X, W).is_xla
    assert not collage_jax.jit(product, backends=["fake"]).placement(X, W).is_xla
    monkeypatch.setattr(config, "tune", "off")
    assert 'tune="off"' in collage_jax.jit(product).explain(X, W)


def test_the_environment_sets_defaults_and_is_checked(monkeypatch):
    monkeypatch.setenv("COLLAGE_JAX_TUNE", "off")
    monkeypatch.setenv("COLLAGE_JAX_BACKENDS", "xla, fake,")
    monkeypatch.setenv("COLLAGE_JAX_BUDGET_S", "2.5")
    read = Config()
    assert (read.tune, read.backends, read.budget_s) == ("off", ("xla", "fake"), 2.5)
    monkeypatch.setenv("COLLAGE_JAX_BUDGET_S", "soon")
    message = "COLLAGE_JAX_BUDGET_S must be a number of seconds, got 'soon'; unset it for 60"
    with pytest.raises(ValueError, match=message):
        Config()


def test_an_empty_environment_variable_is_none(monkeypatch):
    for name in ("TUNE", "BACKENDS", "BUDGET_S"):
        monkeypatch.setenv(f"COLLAGE_JAX_{name}", "")
    read = Config()
    assert (read.tune, read.backends, read.budget_s) == ("two-level", None, 60.0)


def test_a_bad_default_is_traced_to_where_it_was_set(monkeypatch):
    monkeypatch.setattr(collage_jax.config, "backends", ("foo",))
    with pytest.raises(ValueError, match="COLLAGE_JAX_BACKENDS"):
        collage_jax.jit(lambda x: x)


def test_a_setting_that_does_not_exist_cannot_be_set():
    with pytest.raises(AttributeError, match="'budgets'; there are tune, backends, budget_s"):
        collage_jax.config.budgets = 1


def test_a_source_tree_is_told_of_where_extensions_are_missing():
    folder = Path(collage_jax.__file__).parent
    assert native.hint().startswith(f" ({folder} is a source tree") == (folder.parent / "setup.py").exists()
