"""Each of JAX's transformations before, after and around both sides of the decorator: its numbers, with our kernels."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from api_fakes import assert_like_jit, use_fake
from fakes import raises_at_run
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P

import collage_jax

X = jnp.linspace(-1, 1, 12).reshape(3, 4)
W = jnp.linspace(-0.5, 0.75, 16).reshape(4, 4)  # so small that tanh, step by step, has a derivative worth comparing

#: What our kernels leave in a compiled program; nothing else in these functions calls out of XLA.
CALL = "ffi_python"


@pytest.fixture(autouse=True)
def fake(monkeypatch):
    # JAX cannot differentiate these calls out of XLA: a derivative that has them was placed itself.
    return use_fake(monkeypatch, change=functools.partial(raises_at_run, after=10**9))


def layer(x, w):
    return jnp.tanh(x @ w)


def _scalar(f):
    return lambda x, w: (f(x, w) ** 2).sum()


def _with_rule(f):
    @jax.custom_vjp
    def g(x, w):
        return f(x, w)

    g.defvjp(lambda x, w: (f(x, w), (x, w)), lambda kept, t: (t @ kept[1].T, kept[0].T @ t))
    return g


def _ruled(f):
    return lambda x, w: jax.grad(_scalar(_with_rule(f)), 1)(x, w)


def _one_device(f):
    mesh = Mesh(np.array(jax.devices()[:1]), ("d",))
    return jax.shard_map(f, mesh=mesh, in_specs=(P("d"), P()), out_specs=P("d"))


def _scan_with_unused(f, x, w):
    def body(c, _):
        _with_rule(jnp.multiply)(c, c)  # has no forward mode, and jax.jit drops it
        return jnp.sin(c), None

    return f(jax.lax.scan(body, x, None, length=2)[0], w)


TRANSFORMATIONS = {
    "grad": lambda f: jax.grad(_scalar(f), (0, 1)),
    "value_and_grad": lambda f: jax.value_and_grad(_scalar(f), 1),
    "jvp": lambda f: lambda x, w: jax.jvp(f, (x, w), (x, 2 * w)),
    "jvp of one argument": lambda f: lambda x, w: jax.jvp(lambda x: f(x, w), (x,), (x,)),
    "vjp": lambda f: lambda x, w: jax.vjp(f, x, w)[1](x),
    "linearize": lambda f: lambda x, w: jax.linearize(f, x, w)[1](x, w),
    "jacfwd": jax.jacfwd,
    "jacrev": jax.jacrev,
    "hessian": lambda f: jax.hessian(_scalar(f)),
    "vmap": lambda f: lambda x, w: jax.vmap(f, (0, None), 1)(jnp.stack([x, 2 * x]), w),
    "vmap of weights": lambda f: lambda x, w: jax.vmap(f, (None, 2))(x, jnp.stack([w, 2 * w], 2)),
    "vmap of grad": lambda f: lambda x, w: jax.vmap(jax.grad(_scalar(f)), (0, None))(jnp.stack([x, 2 * x]), w),
    "grad of vmap": lambda f: lambda x, w: jax.grad(_scalar(lambda x, w: jax.vmap(f, (0, None))(x[None], w)), 1)(x, w),
    "jit": jax.jit,
    "scan": lambda f: lambda x, w: jax.lax.scan(lambda c, _: (f(c, w), c.sum()), x, None, length=3),
    "grad of scan": lambda f: jax.grad(
        lambda x, w: jax.lax.scan(lambda c, _: (f(c, w), None), x, None, length=3)[0].sum(), 1
    ),
    "while_loop": lambda f: (
        lambda x, w: jax.lax.while_loop(lambda c: c[0] < 2, lambda c: (c[0] + 1, f(c[1], w)), (0, x))[1]
    ),
    "cond": lambda f: lambda x, w: jax.lax.cond(x.sum() > 100, lambda x, w: x, f, x, w),
    "grad of cond": lambda f: jax.grad(
        lambda x, w: jax.lax.cond(x.sum() > 100, lambda x, w: x, f, x, w).sum(), 1
    ),
    "checkpoint": lambda f: jax.grad(_scalar(jax.checkpoint(f)), 1),
    "checkpoint with a policy": lambda f: jax.grad(
        _scalar(jax.checkpoint(f, policy=jax.checkpoint_policies.dots_saveable)), 1
    ),
    "custom_vjp": _ruled,
    "jvp of scan with an unused rule": lambda f: lambda x, w: jax.jvp(lambda x: _scan_with_unused(f, x, w), (x,), (x,)),
    "shard_map": _one_device,
    "grad of shard_map": lambda f: jax.grad(_scalar(_one_device(f)), 1),
    "pmap": lambda f: lambda x, w: jax.pmap(f, in_axes=(0, None), devices=jax.devices()[:1])(x[None], w)[0],
}  # fmt: skip

SIDES = {
    "before": lambda around: collage_jax.jit(around(layer)),
    "after": lambda around: around(collage_jax.jit(layer)),
    "nested": lambda around: collage_jax.jit(around(collage_jax.jit(layer))),
}

#: What each device does is placed where it is decorated itself.
UNPLACED = {("shard_map", "before"), ("grad of shard_map", "before"), ("pmap", "before")}


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("name", TRANSFORMATIONS)
def test_numbers_of_jit_from_our_kernels(name, side):
    around = TRANSFORMATIONS[name]
    function = SIDES[side](around)
    assert_like_jit(function(X, W), jax.jit(around(layer))(X, W))
    assert (CALL in jax.jit(function).lower(X, W).as_text()) == ((name, side) not in UNPLACED)


def test_the_second_derivative_of_a_convolution_holds_our_kernels():
    def convolve(x, k):
        return jnp.tanh(jax.lax.conv_general_dilated(x, k, (2, 2), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")))

    x, k = jnp.linspace(-1, 1, 50).reshape(1, 5, 5, 2), jnp.linspace(-1, 1, 54).reshape(3, 3, 2, 3)

    def second(f):
        return jax.grad(lambda k: (jax.grad(lambda k: (f(x, k) ** 2).sum())(k) ** 2).sum())

    placed = second(collage_jax.jit(convolve))
    assert_like_jit(jax.jit(placed)(k), jax.jit(second(convolve))(k))
    assert jax.jit(placed).lower(k).as_text().count(CALL) >= 4


def test_what_no_batch_reaches_has_no_copy_for_each_element():
    f = collage_jax.jit(lambda x, w: (layer(x, w), layer(w, w), jnp.ones(3)))

    def results(f):
        return jax.vmap(f, (0, None), (0, None, None))(jnp.stack([X, 2 * X]), W)

    assert_like_jit(results(f), results(jax.jit(lambda x, w: (layer(x, w), layer(w, w), jnp.ones(3)))))
    with pytest.raises(ValueError, match="out_axes"):
        jax.vmap(f, (0, None), (None, None, None))(jnp.stack([X, 2 * X]), W)
    shapes = [v.aval.shape for eqn in jax.make_jaxpr(lambda: results(f))().eqns for v in eqn.outvars]
    assert W.shape in shapes
    assert (2, *W.shape) not in shapes


def test_eager_calls_of_a_derivative_trace_once(fake):
    traces = []

    @collage_jax.jit
    def f(x, w):
        traces.append(x)
        return layer(x, w)

    gradient = jax.grad(_scalar(f), 1)
    first = gradient(X, W)
    seen = len(traces), fake.emits
    for _ in range(3):
        assert_like_jit(gradient(X, W), first)
    assert (len(traces), fake.emits) == seen


def test_weights_closed_over_in_a_trace_are_packed_once(monkeypatch):
    fake = use_fake(monkeypatch, packs=True)
    f = collage_jax.jit(lambda w, x: layer(x, w), frozen_argnums=0)
    outer = jax.jit(lambda x: f(W, x) + 1)
    assert_like_jit(outer(X), layer(X, W) + 1)
    assert fake.packed_emits
    assert_like_jit(jax.grad(lambda x: f(W, x).sum())(X), jax.grad(lambda x: layer(x, W).sum())(X))
    assert_like_jit(jax.grad(lambda w: f(w, X).sum())(W), jax.grad(lambda w: layer(X, w).sum())(W))
    assert_like_jit(f(W, X), layer(X, W))


def test_a_function_that_closes_over_the_trace_is_that_of_jit():
    def outer(x, w):
        return collage_jax.jit(lambda x: layer(x, w))(x).sum()

    assert_like_jit(jax.grad(outer, 1)(X, W), jax.grad(lambda x, w: layer(x, w).sum(), 1)(X, W))


def test_integers_and_unused_results_have_no_derivative():
    @collage_jax.jit
    def f(x, w, n):
        y = layer(x, w) * n
        return y, n + 1, jnp.argmax(y)

    def loss(w, f):
        y, _, best = f(X, w, 3)
        return y.sum() + best

    plain = f.__wrapped__
    assert_like_jit(jax.grad(loss)(W, f), jax.grad(loss)(W, jax.jit(plain)))
    changes = jax.jvp(lambda w: f(X, w, 3), (W,), (W,))
    assert_like_jit(changes[0], jax.jvp(lambda w: jax.jit(plain)(X, w, 3), (W,), (W,))[0])
    assert changes[1][1].dtype == jax.dtypes.float0
