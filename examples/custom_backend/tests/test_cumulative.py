"""The contract of collage_jax for this backend, and what is particular to it."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from collage_jax_cumulative import Cumulative  # pyright: ignore[reportMissingImports]
from collage_jax_cumulative.loops import OPERATIONS, running  # pyright: ignore[reportMissingImports]
from jax import lax

import collage_jax
from collage_jax.testing import arguments, backend_contract, case


def integral_image(image: jax.Array) -> jax.Array:
    return jnp.cumsum(jnp.cumsum(image, 0), 1)


TestCumulative = backend_contract(
    Cumulative(),
    [
        case(integral_image, jax.ShapeDtypeStruct((9, 17, 5), jnp.float32)),
        case(
            lambda x: lax.cummax(x, 1), arguments=arguments("a b c", dtypes=("float32", "bfloat16", "int8")), name="max"
        ),
        case(
            lambda x: lax.cummin(x, 0, reverse=True), arguments=arguments("n", dtypes=("float16", "int32")), name="min"
        ),
    ],
    effort="quick",
    strict=True,
)


@pytest.mark.parametrize("shape", [(1,), (40,), (1, 7), (2, 9, 4, 3)])
@pytest.mark.parametrize("operation", OPERATIONS)
def test_any_axis_in_either_direction(operation, shape):
    x = jnp.asarray(np.random.default_rng(0).integers(-9, 9, shape), jnp.int32)
    ways = [(axis, reverse) for axis in range(x.ndim) for reverse in (False, True)]
    wanted = jax.jit(lambda x: [getattr(lax, operation)(x, *way) for way in ways])(x)
    got = jax.jit(lambda x: [running(operation, x, *way) for way in ways])(x)
    for way, a, b in zip(ways, got, wanted, strict=True):
        assert jnp.array_equal(a, b), way


@pytest.mark.parametrize(
    ("fun", "dtype", "reason"),
    [
        (lambda x: jnp.cumsum(x, 0), jnp.bfloat16, "sums in bfloat16"),
        (lambda x: jnp.cumsum(x, 0), jnp.complex64, "integers and real numbers"),
        (lambda x: lax.cummax(x[:0], 0), jnp.float32, "the array is empty"),
    ],
)
def test_a_refusal_says_why(fun, dtype, reason):
    placed = collage_jax.jit(fun, backends=["cumulative"], tune="op-level")
    placement = placed.placement(jax.ShapeDtypeStruct((4, 3), dtype))
    assert any(reason in refusal.reason for refusal in placement.refusals)


def test_it_is_found_without_being_imported():
    (info,) = [info for info in collage_jax.backends() if info.name == "cumulative"]
    assert info.available and info.version
