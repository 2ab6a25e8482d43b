"""Timing kernels where they stand: as steps of the whole program.

Alone a region finds its operands in cache and the threads of its library asleep; inside a program it is the other way
round. So kernels whose times alone are near to each other are timed as steps of programs that differ in little else.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import jax
import numpy as np

from ..candidates import XLA, Candidates
from ..costs import Cost, Measured
from ..graph.ir import Node
from ..lowering.build import Lowered, compiled_prepare, step_times
from ..lowering.plan import Plan

#: Kernels up to this many times slower alone than the best are tried inside.
NEAR = 1.3
ROUNDS = 12
SECONDS = 3.0


def variants(plan: Plan, options: Candidates, costs: Mapping[tuple[str, str], Cost]) -> list[Plan]:
    """``plan``, which is made of ``options``, and as many more as give each of its regions each kernel near alone."""
    measured: dict[tuple[int, ...], dict[str, float]] = defaultdict(dict)
    for candidate in options.chosen_from:
        cost = costs.get((candidate.key, candidate.backend))
        if candidate.backend != XLA and isinstance(cost, Measured):
            measured[candidate.region.indices][candidate.backend] = cost.median_us
    contenders: list[tuple[str, ...]] = []
    for region, own in plan.placed:
        times = measured[region.indices]
        near = sorted(name for name, us in times.items() if name != own and us <= NEAR * min(times.values()))
        contenders.append((own, *near))
    return [
        replace(plan, placed=tuple((r, n[turn % len(n)]) for (r, _), n in zip(plan.placed, contenders, strict=True)))
        for turn in range(max(map(len, contenders), default=0))
    ]


def timed(
    plans: Sequence[Plan],
    options: Candidates,
    build: Callable[[Plan], Lowered],
    frozen: Sequence[Any],
    others: Sequence[Any],
    deadline: float,
) -> dict[tuple[str, str], float]:
    """Microseconds inside ``plans`` of what runs there as a step, by keys of ``options`` and backends.

    ``build`` lowers a plan to a program that gives the times of its steps; ``frozen`` and ``others`` are its arguments.
    Past ``deadline`` none but the first is built, nor is where that has no steps that can be timed, as on a GPU. Equal
    regions count as one, by the mean of their medians.
    """
    keys = {candidate.region.indices: candidate.key for candidate in options.chosen_from}
    calls: list[Callable[[], Mapping[int, Any]]] = []
    for plan in plans:
        if calls and time.perf_counter() > deadline:
            break
        call = _ready(build(plan), frozen, others)
        if not calls and not call():
            return {}
        calls.append(call)
    samples: dict[tuple[str, str], dict[tuple[int, int], list[float]]] = defaultdict(lambda: defaultdict(list))
    begin = time.perf_counter()
    for i in range(ROUNDS):
        for which, call in list(enumerate(calls))[:: 1 if i % 2 == 0 else -1]:
            for number, took in call().items():
                region, name = plans[which].placed[number]
                samples[keys[region.indices], name][which, number].append(float(took))
        if time.perf_counter() > min(deadline, begin + SECONDS):
            break
    return {kind: float(np.mean([np.median(s) for s in by_place.values()])) for kind, by_place in samples.items()}


def where_they_stand(
    options: Candidates, costs: Mapping[tuple[str, str], Cost], inside_us: Mapping[tuple[str, str], float]
) -> dict[tuple[str, str], Cost]:
    """``costs`` as they would be inside. XLA's stay as they are.

    What was not timed there changes as what was changes that runs some of the same operations, on the same backend
    where there is such; else as all do.
    """
    changes = {
        kind: (us, alone.median_us)
        for kind, us in inside_us.items()
        if isinstance(alone := costs.get(kind), Measured) and alone.median_us > 0
    }
    at: dict[Node, dict[tuple[str, str], None]] = defaultdict(dict)
    for candidate in options.chosen_from:
        if (candidate.key, candidate.backend) in changes:
            for node in candidate.region.nodes:
                at[node][candidate.key, candidate.backend] = None
    found = dict(costs)
    for candidate in options.chosen_from:
        kind = candidate.key, candidate.backend
        cost = costs.get(kind)
        if candidate.backend == XLA or not isinstance(cost, Measured) or found[kind] is not cost:
            continue
        beside = {other for node in candidate.region.nodes for other in at[node]}
        like = [c for other, c in changes.items() if other in beside and other[1] == candidate.backend]
        like = like or [c for other, c in changes.items() if other in beside] or list(changes.values())
        ratio = sum(us for us, _ in like) / sum(alone for _, alone in like) if like else 1.0
        found[kind] = replace(cost, median_us=inside_us.get(kind, cost.median_us * ratio))
    return found


def _ready(lowered: Lowered, frozen: Sequence[Any], others: Sequence[Any]) -> Callable[[], Mapping[int, Any]]:
    prepared = compiled_prepare(lowered)(*frozen)
    compiled = jax.jit(lowered.run, keep_unused=True)

    def call() -> Mapping[int, Any]:
        _, times = jax.block_until_ready(compiled(prepared, *others))
        return step_times(times)

    call()
    return call
