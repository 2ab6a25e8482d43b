"""Which kernels of a placed program are wrong by themselves, each on the operands that XLA's program gives it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import jax

from ..backends import registry
from ..costs import told
from ..graph.evaluate import Env, callable_of, read, run_node
from ..measure.compare import largest_error, tolerance
from ..placement import Placement
from ..problem import problem_of
from ..tuning.replay import plan_of
from .judging import difference


def culprits(closed_jaxpr: Any, frozen: Sequence[int], arguments: Sequence[Any], placement: Placement) -> Iterator[str]:
    """A line for each kernel at the top of the program that fails, or differs from XLA by more than it may be off."""
    problem = problem_of(closed_jaxpr, frozen)
    allowed, _ = registry.usable(None)
    backends = registry.with_reference(allowed)
    plan, _ = plan_of(placement, problem, backends)
    held, others = problem.divided(arguments)
    once, each = problem.split.once, problem.split.each
    wanted = list(dict.fromkeys(v for region, _ in plan.placed for v in (*region.entries, *region.exits)))

    def values(held: Sequence[Any], others: Sequence[Any]) -> list[Any]:
        env: Env = dict(zip(once.inputs, held, strict=True)) | dict(once.constants)
        for node in once.nodes:
            run_node(node, env)
        env.update(zip(each.inputs[len(problem.split.kept) :], others, strict=True))
        for node in each.nodes:
            run_node(node, env)
        return [read(env, v) for v in wanted]

    found = dict(zip(wanted, jax.jit(values)(held, others), strict=True))
    for region, name in plan.placed:
        operands = [found[v] for v in region.entries]
        title = f"{name} at {'+'.join(region.ops)} of {', '.join(map(repr, region.entries))}"
        try:
            got = jax.block_until_ready(jax.jit(backends[name].emit(region))(*operands))
        except Exception as error:
            yield f"{title}: {told(error)}"
            continue
        got = got if isinstance(got, (tuple, list)) else [got]
        alone = callable_of(region.nodes, region.entries, region.exits)
        again = jax.jit(alone)(*operands)
        error = largest_error(got, again)
        if error <= tolerance(region):
            continue
        if difference(got, again, partial(jax.make_jaxpr(alone), *operands), operands) is not None:
            yield f"{title}: {error:.2e} of the largest apart, {tolerance(region):.2e} allowed"
