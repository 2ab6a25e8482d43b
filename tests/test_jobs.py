"""Jobs of several devices and processes: one placement for all, and gradients as one device has them."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

COMMON = """
import functools, sys
import jax, jax.numpy as jnp, numpy as np, pytest
from jax.sharding import Mesh, NamedSharding, PartitionSpec as P
from api_fakes import products, use, use_fake
from fakes import Fake, raises_at_run
import collage_jax

def loss(w, x):
    return (jnp.tanh(x @ w) ** 2).mean()

def step(gradient, mesh):
    def local(w, x):
        value, change = gradient(w, x)
        # JAX has summed the gradient over the devices already, since all of them hold the same weights.
        return w - 0.1 * change / jax.lax.axis_size("d"), jax.lax.pmean(value, "d")
    return jax.jit(jax.shard_map(local, mesh=mesh, in_specs=(P(), P("d")), out_specs=(P(), P())))

w = np.linspace(1, 2, 8, dtype=np.float32).reshape(4, 2)
x = np.linspace(-1, 1, 32, dtype=np.float32).reshape(8, 4)
"""

DEVICES = """
use_fake(pytest.MonkeyPatch(), change=functools.partial(raises_at_run, after=10**9))
mesh = Mesh(np.array(jax.devices()), ("d",))
plain = jax.value_and_grad(loss)
for gradient in (collage_jax.jit(plain), jax.value_and_grad(collage_jax.jit(loss))):
    ours, theirs = step(gradient, mesh), step(plain, mesh)
    spread = jax.device_put(x, NamedSharding(mesh, P("d")))
    assert "ffi_python" in ours.lower(w, spread).as_text()
    state, wanted = w, w
    for _ in range(3):
        (state, value), (wanted, wanted_value) = ours(state, spread), theirs(wanted, spread)
    np.testing.assert_allclose(state, wanted, rtol=1e-5)
    np.testing.assert_allclose(value, wanted_value, rtol=1e-5)
    single = w
    for _ in range(3):
        single = single - 0.1 * jax.grad(loss)(single, x)
    np.testing.assert_allclose(state, single, rtol=1e-5)

@collage_jax.jit
def whole_step(w, x):
    value, change = plain(w, x)
    return w - 0.1 * jax.lax.pmean(change, "d") / jax.lax.axis_size("d"), jax.lax.pmean(value, "d")

mapped = jax.jit(jax.shard_map(whole_step, mesh=mesh, in_specs=(P(), P("d")), out_specs=(P(), P())))
assert "ffi_python" in mapped.lower(w, spread).as_text()
np.testing.assert_allclose(mapped(w, spread)[0], theirs(w, spread)[0], rtol=1e-5)
unchecked = jax.jit(jax.shard_map(collage_jax.jit(lambda w, x: jax.lax.psum(x @ w, "d")), mesh=mesh,
                                  in_specs=(P(), P("d")), out_specs=P(), check_vma=False))
assert "ffi_python" in unchecked.lower(w, spread).as_text()
np.testing.assert_allclose(unchecked(w, spread), (x @ w).reshape(4, 2, 2).sum(0), rtol=1e-5)
# What JAX's rules of differentiation say holds inside of shard_map too, and so do loops and batches.
def ruled(x):
    return jax.nn.relu(x) * 3 + x * jax.lax.stop_gradient(x)

def looped(x):
    return jax.lax.fori_loop(0, 3, lambda i, c: c * 2.0, jnp.sin(x))

def until(x):
    return jax.lax.while_loop(lambda c: c[0] < 3, lambda c: (c[0] + 1, c[1] * 2.0), (0, jnp.sin(x)))[1]

def filled(x):
    return jnp.tanh(jnp.where(x > 0, x, jnp.zeros_like(x)))

def shifted(x):
    return jax.lax.ppermute(jnp.sin(x), "d", [(0, 1), (1, 2), (2, 3), (3, 0)])

def drawn(x):
    return x + jax.random.normal(jax.random.key(0), x.shape)

numbers = jnp.asarray([[0.0, 0.0], [1.0, -1.0], [2.0, 0.5], [-3.0, 0.0]])
def mapped_like(fun, plain, **options):
    over = functools.partial(jax.shard_map, mesh=mesh, in_specs=P("d"), out_specs=P("d"), **options)
    np.testing.assert_allclose(jax.jit(over(fun))(numbers), jax.jit(over(plain))(numbers), rtol=1e-5)

for fun in (ruled, looped, until, filled, shifted, drawn):
    for options in ({}, {"check_vma": False}):
        ours = collage_jax.jit(fun)
        mapped_like(ours, fun, **options)
        if fun not in (until, shifted):
            mapped_like(jax.grad(lambda x: ours(x).sum()), jax.grad(lambda x: fun(x).sum()), **options)
            mapped_like(jax.vmap(ours), jax.vmap(fun), **options)
mapped_like(
    jax.grad(lambda x: collage_jax.jit(jax.checkpoint(filled))(x).sum()), jax.grad(lambda x: filled(x).sum()))
two = Mesh(np.array(jax.devices()).reshape(2, 2), ("a", "b"))
def both(w, x):
    y = jnp.tanh(x @ w)
    return jax.lax.psum(y.sum(0) * jax.lax.psum(w, "a").sum(0), ("a", "b"))
specs = dict(mesh=two, in_specs=(P(None, None), P(("a", "b"))), out_specs=P())
np.testing.assert_allclose(
    jax.jit(jax.shard_map(collage_jax.jit(both), **specs))(w, x), jax.jit(jax.shard_map(both, **specs))(w, x),
    rtol=1e-5)
print("all is well")
"""

PROCESSES = """
number = int(sys.argv[2])
jax.config.update("jax_cpu_collectives_implementation", "gloo")
jax.distributed.initialize(sys.argv[1], num_processes=2, process_id=number)
# By the second process's own times, XLA would be the faster one.
fake = Fake("fake", products, functools.partial(raises_at_run, after=10**9))
use(pytest.MonkeyPatch(), fake, ours_s=1e-3 if number == 0 else 1.0)
gradient = collage_jax.jit(jax.value_and_grad(loss))
mesh = Mesh(np.array(jax.devices()), ("d",))
spread = jax.make_array_from_callback(x.shape, NamedSharding(mesh, P("d")), lambda index: x[index])
ours = step(gradient, mesh)
assert "ffi_python" in ours.lower(w, spread).as_text()
state = w
for _ in range(3):
    state, value = ours(state, spread)
single = w
for _ in range(3):
    single = single - 0.1 * jax.grad(loss)(single, x)
np.testing.assert_allclose(state, single, rtol=1e-5)
placement = gradient.placement(w, x)
assert (number == 1) == any("first process" in note for note in placement.notes), placement.notes
print(sorted((region.backend, region.ops) for region in placement.regions))
# What the first process does not ask for is XLA's, after some patience.
from collage_jax.calls import processes
processes.PATIENCE_S = 0.1
if number == 1:
    alone = collage_jax.jit(lambda x: jnp.tanh(x @ w), budget_s=0)
    assert "decided nothing" in alone.explain(x)
    np.testing.assert_allclose(alone(x), np.tanh(x @ np.asarray(w)), rtol=1e-5)
print("all is well")
"""


def start(program: str, *arguments: str, devices: int) -> subprocess.Popen[str]:
    tests = str(Path(__file__).parent)
    environment = os.environ | {
        "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}",
        "JAX_PLATFORMS": "cpu",
        "PYTHONPATH": os.pathsep.join([tests, str(Path(tests).parent), os.environ.get("PYTHONPATH", "")]),
    }
    command = [sys.executable, "-P", "-c", COMMON + program, *arguments]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finish(*running: subprocess.Popen[str]) -> list[list[str]]:
    found = []
    try:
        for process in running:
            output, errors = process.communicate(timeout=180)
            assert process.returncode == 0, errors[-3000:]
            found.append(output.splitlines())
    finally:
        for process in running:
            process.kill()
    assert all(lines[-1] == "all is well" for lines in found)
    return found


def test_a_training_step_on_four_devices():
    finish(start(DEVICES, devices=4))


def test_processes_of_one_job_share_a_placement_though_their_times_differ():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    first, second = finish(*(start(PROCESSES, address, str(number), devices=2) for number in range(2)))
    assert first[-2] == second[-2]
    assert "fake" in first[-2]
