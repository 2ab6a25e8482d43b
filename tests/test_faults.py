"""Backends that break the rules of their contract: each is out with a reason that says which, and nothing else is."""

from __future__ import annotations

import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from bad_backends import Bad

import collage_jax
from collage_jax import Measured, Unsupported
from collage_jax.patterns import any_, op

X = jnp.full((8, 8), 0.1)
LARGE = jnp.linspace(-1, 1, 600 * 600, dtype=jnp.float32).reshape(600, 600)


def layer(x, w):
    return jnp.tanh(x @ w) @ w


class Unreadable(Exception):
    def __str__(self):
        raise RuntimeError("no text")


def raising(error):
    def method(*_):
        raise error

    return method


def spoilt(**members):
    """An instance of a backend for matrix products with other members."""
    return type("Spoilt", (Bad,), {"name": "spoilt", **members})()


BROKEN = {
    "a version that is none": ({"version": lambda self: 7}, "`version` must return a text, got 7"),
    "no version": ({"version": lambda self: None}, "`version` must return a text"),
    "available by a text": ({"available": lambda self: "yes"}, "`available` must return None or Unsupported"),
    "available by an exit": ({"available": raising(SystemExit(1))}, "SystemExit"),
    "proposals by an exit": ({"propose": raising(SystemExit(1))}, "SystemExit"),
    "an emit that exits": ({"emit": raising(SystemExit(1))}, "SystemExit"),
    "a reason that is none": ({"supports": lambda self, region: Unsupported(42)}, "takes a text, got 42"),
    "an unreadable error in supports": ({"supports": raising(Unreadable())}, "its text cannot be had"),
    "an unreadable error in emit": ({"emit": raising(Unreadable())}, "its text cannot be had"),
    "a cost that is no number": ({"cost": lambda self, region: Measured(float("nan"))}, "`cost` must return"),
    "a negative cost": ({"cost": lambda self, region: Measured(-5.0)}, "`cost` must return"),
    "a cost in words": ({"cost": lambda self, region: "fast"}, "`cost` must return"),
}

RESULTS = {
    "a dictionary": (lambda x, w: {"y": x @ w}, "a dict"),
    "nothing": (lambda x, w: None, "a NoneType"),
    "nothing in a tuple": (lambda x, w: (None,), "a NoneType"),
    "no results": (lambda x, w: (), "returns nothing"),
    "two results": (lambda x, w: (x @ w, x @ w), "returns float32"),
    "another shape": (lambda x, w: (x @ w)[:-1], "returns float32"),
    "another dtype": (lambda x, w: (x @ w).astype(jnp.bfloat16), "returns bfloat16"),
    "an operand": (lambda x, w: x, "differs from XLA"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_member_that_breaks_the_contract_is_named(name, registered):
    members, reason = BROKEN[name]
    registered(spoilt(**members))
    decorated = collage_jax.jit(layer, backends=["spoilt"])
    np.testing.assert_array_equal(decorated(X, X), jax.jit(layer)(X, X))
    assert reason in decorated.explain(X, X).replace("\n", " ")


@pytest.mark.parametrize("x", [X, LARGE], ids=["small", "large"])
@pytest.mark.parametrize("name", RESULTS)
def test_results_of_another_form_are_named_and_warn_nobody(name, x, registered):
    run, reason = RESULTS[name]
    registered(spoilt(emit=lambda self, region: run))
    decorated = collage_jax.jit(lambda x, w: jnp.tanh(x @ w), backends=["spoilt"])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        got = decorated(x, x)
    np.testing.assert_array_equal(got, jax.jit(lambda x, w: jnp.tanh(x @ w))(x, x))
    assert reason in decorated.explain(x, x)


def test_patterns_that_are_none_cannot_be_registered():
    with pytest.raises(TypeError, match=r"Spoilt\.patterns must be a list of Patterns, got None"):
        collage_jax.register_backend(spoilt(patterns=None))


def test_a_backend_that_is_chosen_nowhere_is_told_of(registered):
    class Fused(Bad):
        name = "fused"
        patterns = (collage_jax.patterns.Pattern("fused", op("tanh")(op("dot_general")(any_("x"), any_("w")))),)

        def emit(self, region):
            raise RuntimeError("emit went wrong")

    registered(Fused())
    explained = collage_jax.jit(lambda x, w: jnp.tanh(x @ w), backends=["fused"]).explain(X, X)
    assert "fused: dot_general+tanh: compile: RuntimeError: emit went wrong" in explained.replace("\n", " ")


class Scaled(Bad):
    """Right if ``factor`` is 1."""

    name = "scaled"

    def __init__(self, factor):
        self.factor = factor

    def emit(self, region):
        return lambda x, w: self.factor * (x @ w)


def test_another_instance_is_checked_anew(worker, registered):
    collage_jax.register_backend(Scaled(1.0))
    first = Scaled(1.0).version()
    collage_jax.jit(layer, backends=["scaled"]).placement(X, X)
    collage_jax.unregister_backend("scaled")
    other = Scaled(2.0)
    registered(other)
    assert other.version() != first
    decorated = collage_jax.jit(layer, backends=["scaled"])
    np.testing.assert_array_equal(decorated(X, X), jax.jit(layer)(X, X))
    assert "differs from XLA" in decorated.explain(X, X)


def test_a_python_kernel_that_took_the_place_of_another_is_checked_anew(worker):
    def ordered(x, out):
        out[...] = np.sort(x, -1)

    def sevens(x, out):
        out[...] = 7

    def fun(x):
        return jnp.sort(x, -1)

    x = jax.random.normal(jax.random.key(0), (64, 64))
    for function, reason in ((ordered, ""), (sevens, "differs from XLA")):
        collage_jax.callback_kernel(op("sort")(any_("x")))(function)
        try:
            decorated = collage_jax.jit(fun, backends=["callback"])
            np.testing.assert_array_equal(decorated(x), jax.jit(fun)(x))
            assert reason in decorated.explain(x)
        finally:
            collage_jax.unregister_callback_kernel(function.__name__)


def test_a_fault_of_the_caller_s_does_not_spoil_the_worker(worker, monkeypatch):
    """Whatever leaves a job half done ends its worker, which would take the next job for the rest of that one."""
    collage_jax.jit(layer).placement(X, X)
    first, store = worker._process, collage_jax.calls.deciding.store()
    with monkeypatch.context() as patch:
        patch.setattr(type(store), "get_many", raising(ZeroDivisionError("in the middle")))
        with pytest.raises(ZeroDivisionError):
            collage_jax.jit(lambda x, w: layer(x, w) + 1)(X, X)
    assert worker._process is None
    assert not first.is_alive
    placement = collage_jax.jit(lambda x, w: layer(x, w) + 2).placement(X, X)
    assert "failed" not in " ".join(placement.notes)
    assert placement.program
