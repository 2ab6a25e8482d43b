"""What was found once is used again: costs by other signatures, compiled programs by other processes."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import collage_jax
from collage_jax.backends import registry

#: Graph runtimes are left out: a deeper program is a larger subgraph to them, and is tried as a whole.
BACKENDS = [
    backend
    for backend in registry.usable(None)[0]
    if backend.kind == "kernel-library"
    and not backend.is_bridge
    and backend.name not in ("conv_as_dots", "pool_gradient")  # for gradients alone
]
NAMES = [backend.name for backend in BACKENDS]

#: A network in which each backend that is here runs something, whatever the times are: as steps and alone.
PROGRAM = textwrap.dedent("""
    from collections import defaultdict
    import jax, jax.numpy as jnp, numpy as np
    from collage_jax.backends import registry
    from collage_jax.candidates import XLA, find
    from collage_jax.costs import Measured
    from collage_jax.graph.split import split
    from collage_jax.graph.trace import trace_function
    from collage_jax.lowering.build import lower
    from collage_jax.patterns.recognise import recognise
    from collage_jax.lowering.plan import Plan
    from collage_jax.search.op_level import Charges, choose

    hits = []
    jax.monitoring.register_event_listener(lambda event, **_: hits.append(event.endswith("/cache_hits")))
    backends = [backend for backend in registry.usable(None)[0] if backend.kind == "kernel-library"]

    def network(x, dense, grouped, pointwise, mask, head):
        def conv(x, w, groups=1):
            dims = ("NHWC", "HWIO", "NHWC")
            return jax.lax.conv_general_dilated(
                x, w, (1, 1), "SAME", dimension_numbers=dims, feature_group_count=groups
            )
        x = jax.nn.relu(conv(jax.nn.relu(conv(x, dense)), grouped, 8))
        x = jnp.cumsum(jax.nn.relu(conv(x, pointwise)), 1)
        x = (x * jnp.tanh(conv(x, mask).sum(-1, keepdims=True))).reshape(2, 72, 32)
        x = jax.nn.softmax(x @ x.mT * 0.01) @ x
        return jax.nn.softmax(x.mean(1) @ head)

    shapes = (1, 12, 12, 32), (3, 3, 32, 32), (3, 3, 4, 32), (1, 1, 32, 32), (3, 3, 32, 4), (32, 16)
    args = [jnp.asarray(np.random.default_rng(i).standard_normal(s) * 0.2, jnp.float32) for i, s in enumerate(shapes)]
    graph = recognise(trace_function(network, *args))
    parts = split(graph, graph.inputs[1:])
    options = find(parts.each, backends, parts.kept)
    # The less a backend can run, the sooner it gets it.
    can_run = defaultdict(set)
    for c in options.chosen_from:
        can_run[c.backend].update(c.region.nodes)
    us = {name: 1000.0 if name == XLA else float(len(nodes)) for name, nodes in can_run.items()}
    costs = {(c.key, c.backend): Measured(us[c.backend]) for c in options.chosen_from}
    plan = Plan(parts.each, choose(options, costs, Charges(0.0)).placed)
    lowered = lower(plan, parts, {b.name: b for b in (*backends, registry.reference())})
    prepared = jax.jit(lowered.prepare)(*args[1:])
    (got,) = jax.jit(lowered.run)(prepared, args[0])
    error = np.abs(got - network(*args)).max()
    print(sorted({name for _, name in plan.placed}), np.asarray(got).tobytes().hex(), bool(error < 1e-5), sum(hits) > 1)
""")


@pytest.mark.skipif(not BACKENDS, reason="there is no backend but XLA here")
def test_another_process_runs_a_placed_program_from_the_compilation_cache(compilation_cache):
    command = [sys.executable, "-P", "-c", PROGRAM]
    printed = []
    for _ in range(2):
        done = subprocess.run(command, env=compilation_cache, capture_output=True, text=True, timeout=300, check=False)
        assert done.returncode == 0, done.stderr
        printed.append(done.stdout.rsplit(maxsplit=2))
    (made, is_right, first_hit), (found, is_right_again, second_hit) = printed
    assert (is_right, is_right_again) == ("True", "True")
    assert made == found
    assert (first_hit, second_hit) == ("False", "True")
    assert all(f"'{backend.name}'" in made for backend in BACKENDS), made


@pytest.mark.skipif(not BACKENDS, reason="there is no backend but XLA here")
def test_another_signature_with_the_same_layers_measures_nothing():
    def layers(weights, x):
        for w in weights:
            x = jnp.tanh(x @ w)
        return x

    rng = np.random.default_rng(0)
    w, x = (jnp.asarray(rng.standard_normal((48, 48)), jnp.float32) for _ in range(2))
    first = collage_jax.jit(layers, budget_s=60, backends=NAMES).placement([w] * 2, x)
    deeper = collage_jax.jit(layers, budget_s=60, backends=NAMES).placement([w] * 5, x)
    assert first.distinct_measured > 0
    assert deeper.distinct_measured == 0


def test_another_precision_has_costs_of_its_own():
    def product(x):
        return jnp.tanh(x @ x)

    x = jnp.ones((40, 40))
    collage_jax.jit(product).placement(x)
    with jax.default_matmul_precision("highest"):
        other = collage_jax.jit(product).placement(x)
    assert other.distinct_measured > 0 or not BACKENDS
