"""Gradients of softmax and norms: found in training steps however they are written, and run by the row kernels."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jax import lax

import collage_jax
from collage_jax.backends import own_kernels
from collage_jax.backends.rowwise import BACKEND
from collage_jax.backends.rowwise.kernel import STEP
from collage_jax.graph.evaluate import callable_of, evaluate
from collage_jax.graph.region import Region
from collage_jax.graph.trace import trace_function
from collage_jax.measure.compare import largest_error, tolerance
from collage_jax.patterns.recognise import recognise
from collage_jax.patterns.row_gradients import with_row_gradients
from collage_jax.problem import problem_of

native = own_kernels.load(STEP)
needs_kernels = pytest.mark.skipif(not native, reason=getattr(native, "reason", ""))


def layer_norm(x, scale=None, shift=None, epsilon=1e-5, unbiased=False, outside=False):
    centred = x - jnp.mean(x, -1, keepdims=True)
    variance = jnp.sum(jnp.square(centred), -1, keepdims=True) / (x.shape[-1] - int(unbiased))
    y = centred / (jnp.sqrt(variance) + epsilon if outside else jnp.sqrt(variance + epsilon))
    y = y if scale is None else y * scale
    return y if shift is None else y + shift


def papers(x, scale, shift):
    centred = x - jnp.mean(x, -1, keepdims=True)
    variance = jnp.sum(jnp.square(centred), -1, keepdims=True) / (x.shape[-1] - 1)
    return scale * centred / (jnp.sqrt(variance) + 1e-6) + shift


def as_flax_has_it(x, scale, shift):
    mean, square = jnp.mean(x, -1), jnp.mean(lax.square(x), -1)
    variance = jnp.maximum(0.0, square - lax.square(mean))
    factor = lax.rsqrt(lax.expand_dims(variance, (x.ndim - 1,)) + 1e-6) * scale
    return (x - lax.expand_dims(mean, (x.ndim - 1,))) * factor + shift


def by_variance(x, scale, shift):
    return (x - x.mean(-1, keepdims=True)) * lax.rsqrt(x.var(-1, keepdims=True) + 1e-5) * scale + shift


def rms_norm(x, scale, shift):
    return x * lax.rsqrt(jnp.mean(jnp.square(x), -1, keepdims=True) + 1e-6) * scale + 0 * shift.sum()


NORMS = {
    "own": layer_norm,
    "unbiased": lambda *args: layer_norm(*args, unbiased=True),
    "outside": lambda *args: layer_norm(*args, unbiased=True, outside=True),
    "the paper's": papers,
    "flax": as_flax_has_it,
    "by variance": by_variance,
    "rms": rms_norm,
}


def softmax_by_hand(x):
    powers = jnp.exp(x - lax.stop_gradient(x.max(-1, keepdims=True)))
    return powers / powers.sum(-1, keepdims=True)


SOFTMAXES = {"jax": jax.nn.softmax, "by hand": softmax_by_hand}


def normal(*shape, seed=0):
    return jnp.asarray(np.random.default_rng([seed, *shape]).standard_normal(shape), jnp.float32)


def found(fun, *args):
    """The graph of ``fun`` with gradients of rows found; it computes the same and makes each value once."""
    graph = recognise(with_row_gradients(trace_function(fun, *args)))
    wanted = jax.tree.leaves(jax.jit(fun)(*args))
    for a, b in zip(evaluate(graph, *jax.tree.leaves(args)), wanted, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=2e-5)
    made = [v for node in graph.nodes for part in node.primitives for v in part.outputs]
    assert len(made) == len(set(made))
    return graph


def ops(graph, word="gradient"):
    return sorted(node.op for node in graph.nodes if word in node.op)


def step(norm, around=lambda x, y: jnp.tanh(y), argnums=(0, 1, 2)):
    """A training step on what ``around`` makes of x and its norm."""

    def loss(x, scale, shift):
        x = jnp.sin(x)
        return jnp.sum(around(x, norm(x, scale, shift)) ** 2)

    return jax.value_and_grad(loss, argnums)


X, SCALE, SHIFT = normal(3, 5, 40), normal(40, seed=1), normal(40, seed=2)


@pytest.mark.parametrize("norm", NORMS.values(), ids=NORMS)
def test_norms_and_their_gradients_are_one_operation_each(norm):
    graph = found(step(norm), X, SCALE, SHIFT)
    kind = "rms_norm" if norm is rms_norm else "layer_norm"
    assert ops(graph, "norm") == [kind, f"{kind}_gradient", f"{kind}_scale_gradient"]


@pytest.mark.parametrize("norm", NORMS.values(), ids=NORMS)
def test_beside_a_residual_connection_the_gradient_is_some_terms_of_a_sum(norm):
    def around(x, y):
        return jnp.cos(x) + jnp.tanh(y) + jnp.exp(0.1 * x)

    kind = "rms_norm" if norm is rms_norm else "layer_norm"
    assert ops(found(step(norm, around), X, SCALE, SHIFT)) == [f"{kind}_gradient", f"{kind}_scale_gradient"]


def test_of_two_norms_of_one_array_each_has_its_gradient():
    def loss(x, scale, shift):
        x = jnp.sin(x)
        y = jnp.tanh(layer_norm(x, scale, shift)) + jnp.cos(layer_norm(x, shift, scale)) * x
        return jnp.sum(y**2)

    graph = found(jax.grad(loss), X, SCALE, SHIFT)
    assert ops(graph) == ["layer_norm_gradient"] * 2


@pytest.mark.parametrize(
    ("argnums", "wanted"),
    [
        (0, ["layer_norm_gradient"]),
        (1, ["layer_norm_scale_gradient"]),
        ((0, 1), ["layer_norm_gradient", "layer_norm_scale_gradient"]),
        ((1, 2), ["layer_norm_scale_gradient"]),
        (2, []),
    ],
)
def test_only_the_gradients_that_are_asked_for_need_to_be_there(argnums, wanted):
    graph = found(step(layer_norm, argnums=argnums), X, SCALE, SHIFT)
    assert ops(graph) == wanted
    assert ops(graph, "layer_norm")[:1] == ["layer_norm"]


@pytest.mark.parametrize("softmax", SOFTMAXES.values(), ids=SOFTMAXES)
def test_softmax_and_its_gradient_are_one_operation_each(softmax):
    graph = found(jax.grad(lambda x: jnp.sum(jnp.tanh(softmax(jnp.sin(x)) * 3) ** 2)), X)
    assert ops(graph, "softmax") == ["softmax", "softmax_gradient"]
    forward, gradient = (next(n for n in graph.nodes if n.op == op) for op in ("softmax", "softmax_gradient"))
    assert gradient.inputs[0] is forward.out


def test_what_is_added_may_be_the_norm_s_own_difference_from_the_mean():
    """Of so many columns that it could be a shift."""

    def loss(x, scale):
        centred = x - jnp.mean(x, axis=0, keepdims=True)
        y = centred * lax.rsqrt(jnp.mean(centred * centred, axis=0, keepdims=True) + 1e-5) + centred
        return jnp.sum(jnp.cos(y) * scale)

    assert not ops(found(jax.grad(loss), normal(17), normal(17, seed=1)))  # which compares the numbers, too


def test_what_is_spread_anew_for_each_reader_has_no_gradient_of_its_own():
    def fun(x):
        spread = jnp.broadcast_to(x, (1, 2))
        centred = spread - jnp.mean(spread, -1, keepdims=True)
        return centred * lax.rsqrt(jnp.mean(jnp.square(centred), -1, keepdims=True) + 1e-5) + centred

    assert not ops(found(fun, jnp.float32(1)))


def test_the_gradient_of_a_row_of_one_element_is_a_number():
    def loss(x, scale):
        normalised = (x - jnp.mean(x, axis=0, keepdims=True)) * lax.rsqrt(jnp.var(x, axis=0, keepdims=True) + 1e-5)
        return jnp.sum(jax.vmap(lambda _: normalised * scale + scale)(jnp.ones(1)))

    found(jax.value_and_grad(loss, 1), normal(1), normal(1, seed=1))  # which compares the numbers


def test_attention_in_layers():
    def block(x, w):
        q, k, v = (x @ each for each in w)
        y = x + jax.nn.softmax(q @ k.mT / 4) @ v
        return layer_norm(y)

    def loss(w, x):
        for each in w:
            x = block(x, each)
        return jnp.sum(x * jnp.cos(x))

    weights = [tuple(normal(16, 16, seed=3 * i + j) / 4 for j in range(3)) for i in range(3)]
    graph = found(jax.grad(loss), weights, normal(2, 8, 16))
    assert ops(graph) == ["layer_norm_gradient"] * 3 + ["softmax_gradient"] * 3


@pytest.mark.parametrize(
    "fun",
    [
        jax.grad(lambda x, scale, shift: jnp.sum(jax.nn.softmax(x, 0) ** 2)),
        jax.grad(lambda x, scale, shift: jnp.sum(jax.nn.log_softmax(x) ** 2)),
        step(lambda x, scale, shift: (x - x.mean(0)) * lax.rsqrt(x.var(0) + 1e-5) * scale + shift),
        lambda *args: jax.jvp(lambda x: layer_norm(x, *args[1:]), args[:1], args[:1]),  # the same, in other operations
        lambda x, scale, shift: layer_norm(x, scale, shift),
    ],
    ids=["another axis", "logarithm", "columns", "forward mode", "no gradient"],
)
def test_what_is_no_gradient_of_rows(fun):
    assert not ops(found(fun, X[0], SCALE, SHIFT))


def test_numbers_of_other_widths_stay_as_they_are():
    graph = with_row_gradients(trace_function(step(layer_norm), *(a.astype(jnp.bfloat16) for a in (X, SCALE, SHIFT))))
    assert not ops(graph)


def test_a_norm_that_is_differentiated_twice_is_right():
    def loss(x):
        return jnp.sum(jnp.tanh(layer_norm(x)) ** 2)

    found(jax.grad(lambda x: jnp.sum(jax.grad(loss)(x) ** 2)), X)


# The kernels


def regions(fun, *args):
    graph = problem_of(jax.jit(fun).trace(*args).jaxpr, ()).split.each
    for proposal in BACKEND.propose(graph):
        region = Region.of(graph, proposal.nodes)
        assert proposal.refused is None and BACKEND.supports(region) is None
        if "gradient" in proposal.label:
            yield proposal.label, region


def check(region, seed=0):
    arrays = [normal(*v.shape, seed=seed + i) for i, v in enumerate(region.entries)]
    wanted = jax.jit(callable_of(region.nodes, region.entries, region.exits))(*arrays)
    assert largest_error(jax.jit(BACKEND.emit(region))(*arrays), wanted) <= tolerance(region), region


before = st.lists(st.integers(1, 9), max_size=2).map(tuple)


@needs_kernels
@given(before, st.integers(8, 300), st.sampled_from([*NORMS.values()]), st.integers(0, 9))
def test_gradients_of_norms(before, columns, norm, seed):
    x, scale, shift = normal(2, *before, columns), normal(columns), normal(columns)
    labels = []
    for label, region in regions(step(norm, lambda x, y: jnp.tanh(y) + jnp.exp(0.1 * x)), x, scale, shift):
        check(region, seed)
        labels.append(label.split("norm_")[1])
    assert labels == ["scale_gradient", "gradient", "gradient+sum"] or labels == [
        "gradient",
        "gradient+sum",
        "scale_gradient",
    ]


@needs_kernels
@given(before, st.integers(2, 300), st.sampled_from([None, lambda x: x / 4, lambda x: x * -0.3]), st.integers(0, 9))
def test_gradients_of_softmax(before, columns, scaled, seed):
    def loss(x):
        x = jnp.sin(x)
        return jnp.sum(jnp.tanh(jax.nn.softmax(scaled(x) if scaled else x)) ** 2) + jnp.sum(x**3)

    found = dict(regions(jax.grad(loss), normal(2, *before, columns)))
    for region in found.values():
        check(region, seed)
    more = "+scale" if scaled else ""
    assert list(found) == [
        "softmax_gradient",
        *(["softmax_gradient+scale"] if scaled else []),
        f"softmax_gradient{more}+sum",
    ]


@needs_kernels
@pytest.mark.parametrize("special", [np.nan, np.inf, 0.0])
def test_special_numbers_come_out_where_jax_has_them(special):
    """Of a row of equal numbers the deviation is 0, and has no gradient."""
    x = normal(9, 33).at[3, 20].set(special).at[5].set(special)
    for epsilon, outside in ((1e-5, False), (1e-5, True), (0.0, False)):
        fun = step(partial(layer_norm, epsilon=epsilon, outside=outside))
        for _, region in regions(fun, x, SCALE[:33], SHIFT[:33]):
            arrays = [x if v.shape == x.shape else SCALE[:33] for v in region.entries]
            (wanted,) = jax.jit(callable_of(region.nodes, region.entries, region.exits))(*arrays)
            (got,) = jax.jit(BACKEND.emit(region))(*arrays)
            np.testing.assert_array_equal(np.isfinite(got), np.isfinite(wanted))
            np.testing.assert_allclose(got[np.isfinite(got)], wanted[np.isfinite(wanted)], rtol=1e-3, atol=1e-4)


@needs_kernels
def test_a_training_step_runs_on_them():
    placed = collage_jax.jit(step(papers), backends=["rowwise"])
    wanted = jax.tree.leaves(jax.jit(step(papers))(X, SCALE, SHIFT))
    for a, b in zip(jax.tree.leaves(placed(X, SCALE, SHIFT)), wanted, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
    labels = {"layer_norm", "layer_norm_gradient", "layer_norm_scale_gradient"}
    assert labels <= {op for region in placed.placement(X, SCALE, SHIFT).regions for op in region.ops}
