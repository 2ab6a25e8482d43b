"""Convolutions as products of matrices, which stand for XLA where XLA is slow, against XLA's convolutions."""

from __future__ import annotations

import functools
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from api_fakes import use_fake
from fakes import Fake, wrong_numbers
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from jax import lax

import collage_jax
from collage_jax.backends.xla import BACKEND
from collage_jax.candidates import find
from collage_jax.costs import CostKey, Failed, Measured
from collage_jax.database import Database
from collage_jax.graph.products import by_products, laborious_s
from collage_jax.graph.trace import trace_function
from collage_jax.measure import reference
from collage_jax.measure.regions import measure


def normal(*shape, seed=0, dtype=jnp.float32):
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape), dtype)


def convolution_of(fun, *args):
    graph = trace_function(fun, *args)
    (node,) = (n for n in graph.nodes if n.op == "conv_general_dilated")
    return node


@st.composite
def convolutions(draw):
    spatial = draw(st.integers(1, 3))

    def each(smallest, largest):
        return [draw(st.integers(smallest, largest)) for _ in range(spatial)]

    groups, of_batch = draw(st.sampled_from([(1, 1), (1, 1), (2, 1), (3, 1), (1, 2), (1, 3)]))
    size, kernel = each(1, 5), each(1, 4)
    axes = "HWD"[:spatial]
    numbers = draw(
        st.sampled_from(
            [
                (f"N{axes}C", f"{axes}IO", f"N{axes}C"),
                (f"NC{axes}", f"OI{axes}", f"NC{axes}"),
                (f"C{axes}N", f"I{axes}O", f"{axes}NC"),
            ]
        )
    )
    per_group = draw(st.integers(1, 3))
    of_lhs = {"N": of_batch * draw(st.integers(1, 2)), "C": groups * per_group, **dict(zip(axes, size, strict=True))}
    of_rhs = {"O": groups * of_batch * draw(st.integers(1, 3)), "I": per_group, **dict(zip(axes, kernel, strict=True))}
    options = {
        "window_strides": each(1, 2),
        "padding": [(draw(st.integers(-1, 3)), draw(st.integers(-1, 3))) for _ in range(spatial)],
        "lhs_dilation": each(1, 3),
        "rhs_dilation": each(1, 2),
        "dimension_numbers": numbers,
        "feature_group_count": groups,
        "batch_group_count": of_batch,
    }
    return [of_lhs[a] for a in numbers[0]], [of_rhs[a] for a in numbers[1]], options


@settings(deadline=None, max_examples=2 * settings.default.max_examples)
@given(convolutions(), st.sampled_from([jnp.float32, jnp.bfloat16]))
def test_products_are_the_convolution(drawn, dtype):
    x_shape, w_shape, options = drawn
    x, w = normal(*x_shape, dtype=dtype), normal(*w_shape, seed=1, dtype=dtype)
    conv = functools.partial(lax.conv_general_dilated, **options)
    try:
        wanted = jax.jit(conv)(x, w)
    except (ValueError, TypeError):
        assume(False)
    assume(wanted.size)
    got = jax.jit(by_products(convolution_of(conv, x, w)))(x, w)
    assert (got.shape, got.dtype) == (wanted.shape, wanted.dtype)
    wanted = np.float64(wanted)
    bound = 2e-5 if dtype == jnp.float32 else 2e-2
    np.testing.assert_allclose(np.float64(got), wanted, rtol=0, atol=bound * np.abs(wanted).max() + 1e-30)


def test_a_gradient_of_many_taps_is_computed_result_by_result():
    x, w = normal(2, 20, 20, 4), normal(3, 3, 2, 6, seed=1)
    numbers = ("NHWC", "HWIO", "NHWC")
    conv = functools.partial(lax.conv_general_dilated, window_strides=(1, 1), padding="SAME", dimension_numbers=numbers)

    def gradient(x, g):
        return jax.vjp(lambda w: conv(x, w, feature_group_count=2), w)[1](g)[0]

    g = normal(2, 20, 20, 6, seed=2)
    node = convolution_of(gradient, x, g)
    assert laborious_s(node) > 0
    graph = trace_function(gradient, x, g)
    from collage_jax.graph.evaluate import evaluate

    (got,) = jax.jit(lambda *xs: evaluate(graph, *xs, instead=by_products))(x, g)
    wanted = jax.jit(gradient)(x, g)
    np.testing.assert_allclose(got, wanted, rtol=0, atol=2e-5 * float(jnp.abs(wanted).max()))


def test_what_eigen_runs_is_not_laborious_and_integers_stay():
    x, w = normal(1, 8, 8, 4), normal(3, 3, 4, 4, seed=1)
    conv = functools.partial(lax.conv_general_dilated, window_strides=(1, 1), padding="SAME")
    numbers = {"dimension_numbers": ("NHWC", "HWIO", "NHWC")}
    assert laborious_s(convolution_of(lambda x, w: conv(x, w, **numbers), x, w)) == 0
    whole = [a.astype(jnp.int32) for a in (x, w)]
    assert by_products(convolution_of(lambda x, w: conv(x, w, **numbers), *whole)) is None


# Measuring with products in XLA's place


def grouped(x, w):
    numbers = ("NHWC", "HWIO", "NHWC")
    return jnp.tanh(lax.conv_general_dilated(x, w, (1, 1), "SAME", dimension_numbers=numbers, feature_group_count=2))


X, W = normal(1, 8, 8, 4), normal(3, 3, 2, 4, seed=1)


class Untouchable(type(BACKEND)):
    """XLA where it must not run."""

    def emit(self, region):
        raise AssertionError("XLA was to be compiled")


def costs_of(*fakes, xla=BACKEND):
    graph = trace_function(grouped, X, W)
    backends = {b.name: b for b in (*fakes, xla)}
    store, until = Database(None), time.perf_counter() + 60

    def key_of(candidate):
        return CostKey(candidate.key, candidate.backend, "1", "jaxlib", "cpu", "")

    whole = lambda graph: [range(len(graph.nodes))]  # noqa: E731
    for fake in fakes:
        fake.wants = whole
    found = measure(find(graph, fakes).chosen_from, backends, store, key_of, until)
    return next(costs for group, costs in found if len(next(iter(group.values())).region.nodes) == len(graph.nodes))


@pytest.fixture
def laborious(monkeypatch):
    monkeypatch.setattr(reference, "LABORIOUS_S", 1e-12)


def test_kernels_are_compared_with_the_products(laborious):
    costs = costs_of(Fake("right"), Fake("wrong", change=wrong_numbers))
    assert isinstance(costs["right"], Measured)
    assert costs["right"].error < 1e-5
    assert isinstance(costs["wrong"], Failed)
    assert "differs" in costs["wrong"].reason
    assert costs["xla"].runs > 0


def test_what_is_too_laborious_does_not_run(laborious, monkeypatch):
    monkeypatch.setattr(reference, "TOO_LABORIOUS_S", 1e-12)
    costs = costs_of(Fake("right"), Fake("wrong", change=wrong_numbers), xla=Untouchable())
    assert isinstance(costs["right"], Measured)
    assert isinstance(costs["wrong"], Failed)
    assert costs["xla"].runs == 0
    assert costs["xla"].note == reference.ESTIMATED


@pytest.mark.parametrize("change", [lambda kernel: kernel, wrong_numbers])
def test_a_program_that_would_take_minutes_is_compared_with_its_products(laborious, monkeypatch, change):
    use_fake(monkeypatch, change=lambda kernel: kernel)
    monkeypatch.setattr(reference, "WHOLE_S", 1e-12)
    decorated = collage_jax.jit(grouped)
    np.testing.assert_allclose(decorated(X, W), jax.jit(grouped)(X, W), atol=1e-5)
    assert "jax.jit itself was not run" in decorated.explain(X, W)
