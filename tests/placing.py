"""Programs placed on as many backends as take any of them, without timing."""

from __future__ import annotations

from collections import Counter

import jax

from collage_jax.backends import registry
from collage_jax.candidates import XLA, find
from collage_jax.costs import Measured
from collage_jax.lowering.build import lower
from collage_jax.lowering.plan import Plan
from collage_jax.placement import Placement
from collage_jax.problem import problem_of
from collage_jax.search.op_level import choose
from collage_jax.tuning.stages import environment
from collage_jax.tuning.summary import placed_regions

#: Graph runtimes take whole subgraphs, and would leave nothing to the others.
BACKENDS = [b for b in registry.usable(None)[0] if b.kind == "kernel-library" and b.name != "callback"]


def placed(fun, *args):
    """The results of ``fun``, as much of it as can be on other backends; how many convolutions each has, and XLA.

    The fewer operations of the program a backend runs, the sooner it gets them.
    """
    problem = problem_of(jax.make_jaxpr(fun)(*args), ())
    each = problem.split.each
    options = find(each, BACKENDS)
    can_run = Counter(c.backend for c in options.chosen_from)
    cost = {name: 1e6 if name == XLA else 1.0 + count for name, count in can_run.items()}
    costs = {(c.key, c.backend): Measured(cost[c.backend]) for c in options.chosen_from}
    plan = Plan.of(each, {each: choose(options, costs).placed})
    lowered = lower(plan, problem.split, {b.name: b for b in (*BACKENDS, registry.reference())})
    prepared = lowered.prepare()
    convs = Counter(name for region, name in plan.placed for op in region.ops if op == "conv_general_dilated")
    left = sum(node.op == "conv_general_dilated" for node in each.nodes) - convs.total()
    return jax.jit(lowered.run)(prepared, *args), convs, left


def on_kernels(problem, kernels):
    """The program placed on as many of ``kernels`` as take any of it."""
    each, kept = problem.split.each, problem.split.kept
    options = {each: find(each, kernels, kept)}
    costs = {(c.key, c.backend): Measured(1e3 if c.backend == XLA else 1.0) for c in options[each].chosen_from}
    plan = Plan.of(each, {each: choose(options[each], costs).placed})
    rows = placed_regions(plan, problem.graphs, kept, options, costs)
    made_in = environment(registry.with_reference(kernels))
    return Placement(rows, program=problem.key, environment=made_in)
