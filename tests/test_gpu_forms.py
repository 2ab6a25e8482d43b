"""Forms of backends, which are timed beside them where something can be timed."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import collage_jax
from collage_jax import target
from collage_jax.backends import registry
from collage_jax.calls import deciding
from collage_jax.gpu.device import known
from collage_jax.patterns import Pattern, any_, op
from collage_jax.problem import problem_of

X = jnp.linspace(-1, 1, 12)


class Formed(collage_jax.Backend):
    """Hyperbolic tangents, in the forms that a test wants."""

    name = "formed"
    patterns = (Pattern("tanh", op("tanh")(any_("x"))),)

    def __init__(self, forms):
        self.given = forms

    def forms(self):
        return self.given()

    def emit(self, region):
        return lambda x: jnp.sinh(x) / jnp.cosh(x)


class Form(Formed):
    def __init__(self, name):
        super().__init__(tuple)
        self.name = name


def test_a_backend_comes_with_its_forms(registered):
    registered(Formed(lambda: [Form("formed@1"), Form("formed@2")]))
    good, reasons = registry.usable(["formed"])
    assert [backend.name for backend in good] == ["formed", "formed@1", "formed@2"] and not reasons
    with target.aiming_at(known("sm_90")):  # where nothing can be timed
        assert not [b for b in registry.usable(None)[0] if "@" in b.name]


def test_a_form_that_is_named_is_used_alone(registered):
    registered(Formed(lambda: [Form("formed@1"), Form("formed@2")]))
    names = lambda asked: [backend.name for backend in registry.usable(asked)[0]]  # noqa: E731
    assert names(["formed@2"]) == ["formed@2"]
    assert names(["formed@2", "formed"]) == ["formed@2", "formed", "formed@1"]
    with target.aiming_at(known("sm_90")):
        assert [b.name for b in registry.usable(["cublas@1", "cudnn@2"])[0]] in (
            ["cublas@1", "cudnn@2"], ["cublas@1"], ["cudnn@2"], [],
        )  # fmt: skip
    decorated = collage_jax.jit(lambda x: jnp.tanh(x) + 1, backends=["formed@1"])
    np.testing.assert_allclose(decorated(X), np.tanh(X) + 1, rtol=1e-6)
    others = {name for region in decorated.placement(X).regions for name in (region.backend, *region.alternatives)}
    assert others <= {"xla", "formed@1"} and "formed@1" in others


def test_a_form_that_there_is_not_is_an_error_that_names_those_there_are(registered):
    registered(Formed(lambda: [Form("formed@1"), Form("formed@2")]))
    for name, message in {
        "formed@3": "no form of 'formed' is called 'formed@3'; its forms: formed@1, formed@2",
        "xla@1": "no form of 'xla' is called 'xla@1'; its forms: none",
        "cublas@0": "its forms: cublas@1, cublas@2",
        "nobody@1": "no backend is called 'nobody@1'",
    }.items():
        with pytest.raises(ValueError, match=message):
            collage_jax.jit(jnp.tanh, backends=[name])


def test_a_form_of_a_backend_whose_forms_fail_is_an_error(registered):
    registered(Formed(lambda: 1 / 0))
    with pytest.raises(ValueError, match="'formed@1' cannot be had: `forms` of 'formed' failed: ZeroDivisionError"):
        collage_jax.jit(jnp.tanh, backends=["formed@1"])


@pytest.mark.parametrize(
    ("forms", "reason"),
    [
        (lambda: 1 / 0, "`forms` failed: ZeroDivisionError"),
        (lambda: None, "`forms` failed: TypeError"),
        (lambda: ["formed@1"], "must be a collage_jax.Backend, got str"),
        (lambda: [Form("xla")], "a form of 'formed' is called 'xla'; write 'formed@1'"),
    ],
    ids=["raises", "none", "no backends", "another's name"],
)
def test_forms_that_are_none_cost_the_backend_alone(forms, reason, registered):
    registered(Formed(forms))
    decorated = collage_jax.jit(lambda x: jnp.tanh(x) + 1, backends=["formed"])
    np.testing.assert_allclose(decorated(X), np.tanh(X) + 1, rtol=1e-6)
    assert reason in decorated.placement(X).unavailable["formed"]


def test_a_function_that_no_built_in_form_wants_takes_no_worker():
    problem = problem_of(jax.jit(lambda x: x + 1).trace(X).jaxpr, ())
    cublas = registry.get("cublas")
    forms = [cublas, *cublas.forms()]
    assert len(forms) > 1 and all(registry.is_builtin(form.name) for form in forms)
    assert not registry.is_builtin("cublas@0") and not registry.is_builtin("formed@1")
    with target.aiming_at(known("sm_90")):
        assert not deciding._is_wanted(problem, forms)
