"""The deterministic mode: the same bits in every call and process, and XLA for whatever does not promise them."""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from api_fakes import is_placed, products, use
from fakes import Fake

import collage_jax
from collage_jax import config
from collage_jax.backends import registry
from collage_jax.calls import deciding
from collage_jax.testing import case, check_backend

X = jnp.linspace(-1, 1, 12).reshape(3, 4)
W = jnp.linspace(1, 2, 16).reshape(4, 4) / 4


def layer(x, w):
    return jnp.tanh(jnp.tanh(x @ w) @ w)


def steady(name="steady", **options):
    fake = Fake(name, options.pop("wants", products), **options)
    fake.deterministic = True
    return fake


def shaky():
    return Fake("shaky", lambda g: [(i,) for i, n in enumerate(g.nodes) if n.op == "tanh"])


@pytest.fixture
def placement(monkeypatch):
    """Products on a backend that promises bits, tanh on one that does not."""
    use(monkeypatch, steady(), shaky())
    found = collage_jax.jit(layer).placement(X, W)
    assert is_placed(found, ("steady", "shaky"))
    return found


def by_argument(monkeypatch, **options):
    return collage_jax.jit(layer, deterministic=True, **options)


def by_setting(monkeypatch, **options):
    monkeypatch.setattr(config, "deterministic", True)
    return collage_jax.jit(layer, **options)


@pytest.mark.parametrize("mode", [by_argument, by_setting])
def test_nothing_is_chosen_by_times(monkeypatch, mode):
    timing = use(monkeypatch, steady())
    monkeypatch.setattr(deciding, "store", lambda: pytest.fail("the database was asked"))
    decorated = mode(monkeypatch)
    np.testing.assert_array_equal(decorated(X, W), jax.jit(layer)(X, W))
    assert "Deterministic: XLA alone is used, for nothing is chosen by times" in decorated.explain(X, W)
    assert timing.races == 0


@pytest.mark.parametrize("mode", [by_argument, by_setting])
def test_a_pinned_placement_is_used_as_far_as_its_backends_promise_bits(monkeypatch, placement, mode):
    decorated = mode(monkeypatch, placement=placement)
    assert decorated.placement(X, W).counts() == {"steady": 2, "xla": 2}
    assert "stays with XLA, not shaky: it does not promise the same bits each time" in decorated.explain(X, W)


def test_a_placement_of_the_folder_is_used(monkeypatch, placement, tmp_path):
    placement.save(tmp_path)
    monkeypatch.setattr(config, "placements", tmp_path)
    assert collage_jax.jit(layer, deterministic=True).placement(X, W).counts() == {"steady": 2, "xla": 2}


def test_a_placement_made_elsewhere_is_not_checked_on_arguments_but_left_out(monkeypatch, placement):
    elsewhere = replace(placement, environment={**placement.environment, "device": "another"})
    decorated = collage_jax.jit(layer, deterministic=True, placement=elsewhere)
    assert decorated.placement(X, W).is_xla
    assert "on another kind of machine; save it here again" in decorated.explain(X, W)


def test_a_placement_of_another_program_is_an_error(placement):
    with pytest.raises(ValueError, match="made for another program"):
        collage_jax.jit(layer, deterministic=True, placement=placement)(X[:2], W)


def test_switches_hold_in_the_deterministic_mode(placement):
    decorated = collage_jax.jit(layer, deterministic=True, placement=placement, disable_backends=["steady"])
    assert decorated.placement(X, W).is_xla
    assert "not steady: switched off by `disable_backends`" in decorated.explain(X, W)


def test_it_can_be_turned_on_and_off_between_calls(monkeypatch, placement):
    decorated = collage_jax.jit(layer)
    assert is_placed(decorated.placement(X, W), ("steady", "shaky"))
    with monkeypatch.context() as turned_on:
        turned_on.setattr(config, "deterministic", True)
        assert decorated.placement(X, W).is_xla
    assert is_placed(decorated.placement(X, W), ("steady", "shaky"))


def test_backends_say_whether_they_promise_bits(monkeypatch):
    use(monkeypatch, steady(), shaky())
    assert {b.name: b.deterministic for b in collage_jax.backends()} == {"xla": True, "steady": True, "shaky": False}


# -- what is promised, by the kernels themselves -----------------------------------------------------------------------

KERNELS = """
import json, os, sys
if sys.argv[1] == "alone":
    os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])
import jax, jax.numpy as jnp
from jax import lax
from collage_jax.backends import registry
from collage_jax.candidates import find
from collage_jax.measure.inputs import draw
from collage_jax.problem import problem_of
from collage_jax.testing.kernels import bits, compiled, forms, run

DIMS = ("NHWC", "HWIO", "NHWC")


def conv(groups=1):
    return lambda x, w: lax.conv_general_dilated(
        x, w, (1, 1), "SAME", dimension_numbers=DIMS, feature_group_count=groups
    )


def attention(q, k, v):
    return jnp.einsum("bhqk,bkhd->bqhd", jax.nn.softmax(jnp.einsum("bqhd,bkhd->bhqk", q, k) / 8), v)


def norm(x, scale, offset):
    centred = x - x.mean(-1, keepdims=True)
    return centred * lax.rsqrt((centred**2).mean(-1, keepdims=True) + 1e-5) * scale + offset


def pool(x):
    return lax.reduce_window(x, -jnp.inf, lax.max, (1, 3, 3, 1), (1, 2, 2, 1), "SAME")


def weights_gradient(x, w, y):
    return jax.vjp(lambda w: conv()(x, w), w)[1](y)[0]


PROGRAMS = {
    "long sums": (jnp.matmul, (64, 8192), (8192, 64)),
    "one row": (jnp.matmul, (1, 4096), (4096, 1000)),
    "sums over a batch": (lambda x, y: x.T @ y, (4096, 64), (4096, 64)),
    "3x3": (conv(), (1, 28, 28, 64), (3, 3, 64, 64)),
    "depthwise": (conv(64), (2, 28, 28, 64), (5, 5, 1, 64)),
    "few channels": (conv(), (1, 32, 32, 64), (3, 3, 64, 3)),
    "weights": (weights_gradient, (4, 28, 28, 32), (3, 3, 32, 32), (4, 28, 28, 32)),
    "attention": (attention, *[(1, 256, 4, 64)] * 3),
    "softmax": (jax.nn.softmax, (2, 50000)),
    "norm": (norm, (64, 768), (768,), (768,)),
    "pooling": (lambda x, y: jax.vjp(pool, x)[1](y)[0], (2, 28, 28, 64), (2, 14, 14, 64)),
}
found = {}
for backend in registry.usable(None)[0]:
    for name, (function, *shapes) in PROGRAMS.items() if backend.deterministic else ():
        traced = jax.jit(function).trace(*(jax.ShapeDtypeStruct(s, jnp.float32) for s in shapes))
        for candidate in find(problem_of(traced.jaxpr, ()).split.each, [backend]).chosen_from:
            if candidate.backend == backend.name:
                entries = candidate.region.entries
                kernel, arrays = compiled(backend.emit(candidate.region), forms(entries)), draw(entries)
                made = {bits(run(kernel, arrays)) for _ in range(3)}
                where = f"{backend.name} {backend.version()}", name, "+".join(candidate.region.ops)
                found[" | ".join(where)] = made.pop() if len(made) == 1 else "others each time"
json.dump(found, sys.stdout)
"""


OWN = frozenset({"sgemm", "grouped", "winograd", "narrow_conv", "fused_attention", "rowwise", "pool_gradient"})


@functools.cache
def bits_of_kernels(how):
    command = [sys.executable, "-P", "-c", KERNELS, how]
    environment = os.environ | {"COLLAGE_JAX_DETERMINISTIC": "off"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.slow
def test_kernels_of_deterministic_backends_give_the_same_bits_in_calls_processes_and_threads():
    if not any(
        b.available and b.deterministic and b.name not in ("xla", "conv_as_dots") for b in collage_jax.backends()
    ):
        pytest.skip("no native backend was built")
    here, again = bits_of_kernels("all"), bits_of_kernels("all again")
    assert here
    assert "others each time" not in here.values()
    assert here == again
    if hasattr(os, "sched_setaffinity"):
        alone = bits_of_kernels("alone")
        assert "others each time" not in alone.values()
        # Backends name the number of threads in their version; where they do not, it must not matter.
        assert {name: alone.get(name, made) for name, made in here.items()} == here


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system cannot confine a process to a processor")
@pytest.mark.slow
def test_our_own_kernels_give_the_same_bits_on_any_number_of_threads():
    if not OWN.intersection(b.name for b in registry.usable(None)[0]):
        pytest.skip("the extension with our own kernels was not built, or runs on no processor like this")
    one, all_ = ({_unversioned(k): v for k, v in bits_of_kernels(how).items()} for how in ("alone", "all"))
    ours = {name for name in all_ if name.split()[0] in OWN}
    assert ours
    assert {name: one[name] for name in ours} == {name: all_[name] for name in ours}


def _unversioned(name):
    backend, *rest = name.split(" | ")
    return " | ".join((backend.split()[0], *rest))


# -- the contract of backends ------------------------------------------------------------------------------------------


class DependsOnProcessors(collage_jax.Backend):
    """Promises what it does not keep: what it gives depends on how many processors there are."""

    name = "depends_on_processors"
    deterministic = True
    patterns = ()

    def propose(self, graph):
        return [collage_jax.Proposal((node,), "sin") for node in graph.nodes if node.op == "sin"]

    def supports(self, region):
        return None if region.ops == ("sin",) else collage_jax.Unsupported("sin alone")

    def emit(self, region):
        nudge = len(os.sched_getaffinity(0)) * 2e-7
        return lambda x: jnp.sin(x) * (1 + nudge)


@pytest.mark.skipif(
    not hasattr(os, "sched_setaffinity") or len(os.sched_getaffinity(0)) < 2, reason="there is one processor"
)
@pytest.mark.slow
def test_the_contract_finds_a_promise_that_is_not_kept():
    with pytest.raises(collage_jax.testing.ContractViolation, match="same bits on one processor as on all"):
        check_backend(DependsOnProcessors(), [case(jnp.sin, jnp.linspace(0, 1, 64))], effort="quick")
