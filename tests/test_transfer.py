"""Programs, arrays and backends on their way to another process."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from fakes import CHEAP, STEPS, assert_same, programs
from hypothesis import given
from hypothesis import strategies as st

import collage_jax
from collage_jax import _compat
from collage_jax.problem import problem_of
from collage_jax.worker import transfer


def traced(fun, *args):
    return jax.jit(fun, keep_unused=True).trace(*args).jaxpr


def there_and_back(thing):
    return transfer.loads(transfer.dumps(thing))


@given(st.data())
def test_a_program_computes_the_same_and_is_the_same_problem(data):
    program = data.draw(programs(steps=data.draw(st.sampled_from([CHEAP, tuple(STEPS)]))))
    before = traced(program, *program.inputs)
    after = there_and_back(before)
    leaves = jax.tree.leaves(program.inputs)
    assert_same(jax.jit(_compat.jaxpr_as_fun(after))(*leaves), jax.jit(_compat.jaxpr_as_fun(before))(*leaves))
    assert problem_of(after, ()).key == problem_of(before, ()).key


def softmax_layer(x, w):
    y = jax.nn.softmax(jax.nn.relu(x @ w))
    z, _ = jax.lax.scan(lambda c, a: (jax.nn.gelu(c) * a, None), y, jnp.ones((3,)))
    return jax.checkpoint(lambda v: jax.nn.silu(v) @ w)(z)


def test_differentiated_programs_loops_and_rules_arrive():
    x = jnp.full((4, 4), 0.3)
    for fun in (softmax_layer, jax.value_and_grad(lambda x, w: softmax_layer(x, w).sum())):
        before = traced(fun, x, x)
        after = there_and_back(before)
        assert_same(jax.jit(_compat.jaxpr_as_fun(after))(x, x), jax.jit(_compat.jaxpr_as_fun(before))(x, x))
        assert problem_of(after, (1,)).key == problem_of(before, (1,)).key


def test_a_decorated_function_inside_arrives_as_what_it_computes():
    inner = collage_jax.jit(lambda x: jnp.tanh(x @ x), tune="cached")
    x = jnp.full((3, 3), 0.5)
    inner(x)
    after = there_and_back(traced(lambda x: inner(x) + 1, x))
    np.testing.assert_allclose(_compat.jaxpr_as_fun(after)(x)[0], jnp.tanh(x @ x) + 1, rtol=1e-6)


@pytest.mark.parametrize(
    "dtype", ["float32", "bfloat16", "float16", "int8", "bool", "complex64", "float8_e4m3fn", "int4"]
)
def test_arrays_arrive(dtype):
    array = jnp.asarray([[0, 1], [1, 0]]).astype(dtype)
    got = there_and_back(array)
    assert isinstance(got, jax.Array)
    assert (got.dtype, got.shape) == (array.dtype, array.shape)
    assert np.asarray(got).tobytes() == np.asarray(array).tobytes()


def test_weak_types_and_keys_arrive():
    weak = jax.jit(lambda: 2.0)()
    assert there_and_back(weak).weak_type
    key = jax.random.key(3)
    assert jnp.array_equal(jax.random.key_data(there_and_back(key)), jax.random.key_data(key))
    assert there_and_back(jax.random.key(3, impl="rbg")).dtype == jax.random.key(3, impl="rbg").dtype


def test_constants_that_a_program_closes_over_arrive():
    table = jnp.arange(12.0).reshape(3, 4)
    after = there_and_back(traced(lambda x: x @ table, jnp.ones((2, 3))))
    np.testing.assert_allclose(_compat.jaxpr_as_fun(after)(jnp.ones((2, 3)))[0], jnp.ones((2, 3)) @ table)


def test_what_cannot_be_sent_says_so():
    with pytest.raises(transfer.NotPortable, match="lock"):
        transfer.dumps(__import__("threading").Lock())


def test_a_program_is_the_same_problem_in_another_process(tmp_path: Path):
    x = jnp.full((4, 4), 0.3)
    program = traced(softmax_layer, x, x)
    (tmp_path / "program").write_bytes(transfer.dumps(program))
    script = (
        "import sys; from collage_jax.worker import transfer; from collage_jax.problem import problem_of;"
        "print(problem_of(transfer.loads(open(sys.argv[1], 'rb').read()), (1,)).key)"
    )
    said = subprocess.run(
        [sys.executable, "-P", "-c", script, str(tmp_path / "program")], check=True, capture_output=True, text=True
    )
    assert said.stdout.strip() == problem_of(program, (1,)).key
