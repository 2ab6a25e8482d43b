"""JAX's transformations around a decorated function, and decorated functions within each other."""

from __future__ import annotations

import jax
import jax.export
import jax.numpy as jnp
import pytest
from api_fakes import assert_like_jit, is_placed, use_fake
from jax.experimental import checkify

import collage_jax
from collage_jax.graph.canonical import parameter_text
from collage_jax.sites import primitive
from collage_jax.sites.site import Site

X = jnp.linspace(-1, 1, 12).reshape(3, 4)
W = jnp.linspace(1, 2, 8).reshape(4, 2)


@pytest.fixture(autouse=True)
def fake(monkeypatch):
    return use_fake(monkeypatch)


def layer(x, w):
    return jnp.tanh(x @ w)


AROUND = {
    "jit": jax.jit,
    "value_and_grad in jit": lambda f: jax.jit(jax.value_and_grad(lambda x, w: f(x, w).sum())),
    "vmap": lambda f: jax.vmap(f, (0, None)),
    "jvp": lambda f: lambda x, w: jax.jvp(f, (x, w), (x, 2 * w)),
    "vjp": lambda f: lambda x, w: jax.vjp(f, x, w)[1](jnp.ones((3, 2))),
    "linearize": lambda f: lambda x, w: jax.linearize(f, x, w)[1](x, w),
    "hessian": lambda f: jax.hessian(lambda x, w: f(x[:1], w).sum()),
    "checkpoint": lambda f: jax.grad(lambda x, w: jax.checkpoint(f)(x, w).sum()),
    "scan": lambda f: lambda x, w: jax.lax.scan(lambda c, row: (c, f(row[None], c)), w, x),
    "cond": lambda f: lambda x, w: jax.lax.cond(x.sum() > 100, f, lambda x, w: f(x, w) + 1, x, w),
    "while": lambda f: lambda x, w: jax.lax.fori_loop(0, 2, lambda i, c: f(c, w) @ w.T, x),
    "make_jaxpr": lambda f: lambda x, w: str(jax.make_jaxpr(f)(x, w).out_avals),
    "eval_shape": lambda f: lambda x, w: str(jax.eval_shape(f, x, w)),
    "custom_vjp": lambda f: lambda x, w: jax.grad(lambda x: _custom(f)(x, w).sum())(x),
    "compile-time evaluation": lambda f: jax.jit(lambda x, w: _at_compile_time(f) + x @ w),
    "collage_jax.jit": collage_jax.jit,
    "collage_jax.jit of more": lambda f: collage_jax.jit(lambda x, w: f(x, w) @ w.T),
}


def _custom(f):
    @jax.custom_vjp
    def g(x, w):
        return f(x, w)

    g.defvjp(lambda x, w: (f(x, w), w), lambda w, t: (t @ w.T, jnp.zeros_like(w)))
    return g


def _at_compile_time(f):
    with jax.ensure_compile_time_eval():
        return f(X, W)


@pytest.mark.parametrize("name", AROUND)
def test_a_transformation_around_it_gives_what_it_gives_around_jit(name):
    decorated = collage_jax.jit(layer)
    around = AROUND[name]
    got, wanted = around(decorated)(X, W), around(jax.jit(layer))(X, W)
    if isinstance(wanted, str):
        assert got == wanted
    else:
        assert_like_jit(got, wanted)


def test_a_transformation_may_be_the_first_to_use_it_or_not():
    decorated = collage_jax.jit(layer)
    grad = jax.grad(lambda x: decorated(x, W).sum())
    wanted = jax.grad(lambda x: layer(x, W).sum())(X)
    assert_like_jit(grad(X), wanted)
    assert_like_jit(decorated(X, W), layer(X, W))
    assert_like_jit(grad(X), wanted)


def test_a_whole_training_step_is_placed():
    @collage_jax.jit
    def step(w, x):
        loss, gradient = jax.value_and_grad(lambda w: (layer(x, w) ** 2).mean())(w)
        return w - 0.1 * gradient, loss

    def plain(w, x):
        loss, gradient = jax.value_and_grad(lambda w: (layer(x, w) ** 2).mean())(w)
        return w - 0.1 * gradient, loss

    assert_like_jit(step(W, X), jax.jit(plain)(W, X))
    assert step.placement(W, X).counts()["fake"] == 2


def test_an_inner_decorated_function_is_placed_with_the_outer_one(fake):
    inner = collage_jax.jit(layer)
    outer = collage_jax.jit(lambda x, w: inner(x, w) + 1)
    assert_like_jit(outer(X, W), layer(X, W) + 1)
    assert is_placed(outer.placement(X, W))
    assert "tanh" in str(outer.trace(X, W).jaxpr)


def test_looking_inside_of_a_trace_gives_the_plain_program():
    decorated = collage_jax.jit(layer)

    def outer(x, w):
        assert decorated.lower(jax.ShapeDtypeStruct(X.shape, X.dtype), W).out_info.shape == (3, 2)
        return decorated(x, w)

    assert_like_jit(jax.jit(outer)(X, W), layer(X, W))


def test_nan_checks_name_the_user():
    with jax.debug_nans(True), pytest.raises(FloatingPointError):
        collage_jax.jit(lambda x, w: jnp.log(x @ w))(-abs(X), abs(W)).block_until_ready()


def test_what_is_exported_is_the_original():
    original = jax.make_jaxpr(lambda x: (x + 1,))(X)
    site = Site(original, lambda _: None, "next", lambda x: [x - 1])
    placed = jax.jit(lambda x: primitive.bind([x], site)[0])
    assert_like_jit(placed(X), X - 1)
    assert_like_jit(jax.export.export(placed)(X).call(X), X + 1)
    assert "subtract" in placed.lower(X).as_text()
    assert "subtract" not in placed.trace(X).lower(lowering_platforms=("tpu",)).as_text()


def test_a_placed_function_can_be_exported():
    decorated = collage_jax.jit(layer)
    assert is_placed(decorated.placement(X, W))
    assert_like_jit(jax.export.export(decorated)(X, W).call(X, W), layer(X, W))


def test_checkify_finds_errors_in_the_original():
    def root(x, w):
        return jnp.log(x @ w)

    decorated = collage_jax.jit(root)
    assert is_placed(decorated.placement(X, W))
    for fun in (decorated, jax.jit(decorated)):
        error, _ = checkify.checkify(fun, errors=checkify.float_checks)(X, W)
        assert "nan generated by primitive: log" in (error.get() or "")


def test_a_loop_without_known_end_is_not_run_on_drawn_numbers():
    square = jnp.eye(4)

    def until(n, x):
        return jax.lax.while_loop(lambda c: c[0] != n, lambda c: (c[0] + 1, c[1] @ square), (4, x))[1]

    assert_like_jit(jax.jit(collage_jax.jit(until))(10, X), X)


@pytest.mark.parametrize("key", [jax.random.PRNGKey(0), jax.random.key(0)], ids=["legacy", "typed"])
def test_programs_with_random_numbers_are_the_same_in_any_process(key):
    def noisy(key, x):
        return jnp.tanh(x @ W) + jax.random.normal(key, (3, 2))

    decorated = collage_jax.jit(noisy)
    assert_like_jit(decorated(key, X), jax.jit(noisy)(key, X))
    assert_like_jit(jax.jit(lambda x: decorated(key, x))(X), jax.jit(noisy)(key, X))
    assert " at 0x" not in parameter_text(jax.make_jaxpr(lambda: jax.random.key(3))().eqns[0].params["impl"])
