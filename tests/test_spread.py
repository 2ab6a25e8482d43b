"""Arguments spread over several devices: XLA alone partitions such calls, whatever was placed for one device."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

PROGRAM = """
import functools
import jax, jax.numpy as jnp, numpy as np, pytest
from jax.sharding import Mesh, NamedSharding, PartitionSpec as P
from api_fakes import use_fake
from fakes import raises_at_run
import collage_jax

# Like a library's kernels, these calls out of XLA cannot be partitioned.
fake = use_fake(pytest.MonkeyPatch(), packs=True, change=functools.partial(raises_at_run, after=10**9))
mesh = Mesh(np.array(jax.devices()), ("d",))
x = jnp.linspace(-1, 1, 32).reshape(8, 4)
w = jnp.linspace(1, 2, 8).reshape(4, 2)
rows, whole = NamedSharding(mesh, P("d")), NamedSharding(mesh, P())
spread_x, spread_w = jax.device_put(x, rows), jax.device_put(w, whole)

def layer(x, w):
    return jnp.tanh(x @ w)

def check(got, wanted):
    np.testing.assert_allclose(got, wanted, rtol=1e-6)
    assert got.sharding.is_equivalent_to(wanted.sharding, 2), (got.sharding, wanted.sharding)

jitted = jax.jit(layer)
for frozen in ((), 1, 0):
    for order in ((0, 1, 2, 3), (2, 0, 3, 1)):
        calls = [(x, w), (spread_x, w), (spread_x, spread_w), (x, spread_w)]
        decorated = collage_jax.jit(layer, frozen_argnums=frozen)
        for i in order * 2:
            check(decorated(*calls[i]), jitted(*calls[i]))
        assert "fake" in decorated.placement(x, w).counts()
        assert "spread over several devices" in decorated.explain(spread_x, w)
        check(decorated.lower(spread_x, w).compile()(spread_x, w), jitted(spread_x, w))

constant = jnp.asarray(w)
decorated = collage_jax.jit(lambda x: jnp.tanh(x @ constant))
check(decorated(x), jitted(x, w))
check(decorated(spread_x), jitted(spread_x, w))
decorated = collage_jax.jit(lambda x: jnp.tanh(x @ spread_w))
np.testing.assert_allclose(decorated(x), layer(x, w), rtol=1e-6)

donating = collage_jax.jit(lambda s, w: s @ w, donate_argnums=0)
for make in (lambda: jnp.ones((8, 4)), lambda: jax.device_put(jnp.ones((8, 4)), rows)):
    state, square = make(), jnp.eye(4)
    np.testing.assert_allclose(donating(state, square), np.ones((8, 4)))
    assert state.is_deleted()

elsewhere = jax.device_put(x, jax.devices()[2])
decorated = collage_jax.jit(layer)
check(decorated(elsewhere, w), jitted(elsewhere, w))
check(decorated(x, w), jitted(x, w))

explicit = jax.make_mesh((4,), ("d",), axis_types=(jax.sharding.AxisType.Explicit,))
decorated = collage_jax.jit(layer)
decorated(x, w)
with jax.set_mesh(explicit):
    sharded = jax.device_put(x, NamedSharding(explicit, P("d")))
    check(decorated(sharded, w), jitted(sharded, w))
    assert jax.typeof(decorated(sharded, w)) == jax.typeof(jitted(sharded, w))
    check(decorated(x, w), jitted(x, w))

shard_mapped = jax.shard_map(collage_jax.jit(layer), mesh=mesh, in_specs=(P("d"), P()), out_specs=P("d"))
check(shard_mapped(spread_x, w), jitted(spread_x, w))
check(collage_jax.jit(shard_mapped)(spread_x, w), jitted(spread_x, w))
print("all is well")
"""


def test_calls_with_spread_arguments_are_those_of_jit():
    tests = str(Path(__file__).parent)
    environment = os.environ | {
        "XLA_FLAGS": "--xla_force_host_platform_device_count=4",
        "JAX_PLATFORMS": "cpu",
        "PYTHONPATH": os.pathsep.join([tests, str(Path(tests).parent), os.environ.get("PYTHONPATH", "")]),
    }
    run = subprocess.run(
        [sys.executable, "-P", "-c", PROGRAM], env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert run.returncode == 0, run.stderr[-3000:]
    assert run.stdout.endswith("all is well\n")
