"""Choosing between the kernels for a region where it stands: inside the whole program.

Alone a region finds its operands in cache and the threads of its library asleep; inside a program it is the other way
round. Kernels that are close alone are therefore timed as steps of a program that differs in nothing else.
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
from ..lowering import APART, Lowered
from ..plan import Plan

#: Kernels up to this many times slower alone than the best are tried inside.
NEAR = 1.3
ROUNDS = 12
SECONDS = 3.0
#: Another kernel takes a region if it is faster inside by more than this.
MARGIN = 0.01

#: For each region of a plan a name that equal regions share, and the backends in question, the plan's own first.
Rivals = Sequence[tuple[str, tuple[str, ...]]]


def rivals(plan: Plan, options: Candidates, costs: Mapping[tuple[str, str], Cost]) -> Rivals:
    """The kernels near to each other alone for each placed region of ``plan``, which is made of ``options``."""
    measured: dict[tuple[int, ...], dict[str, float]] = defaultdict(dict)
    keys: dict[tuple[int, ...], str] = {}
    for candidate in options.chosen_from:
        cost = costs.get((candidate.key, candidate.backend))
        if candidate.backend != XLA and isinstance(cost, Measured):
            measured[candidate.region.indices][candidate.backend] = cost.median_us
            keys[candidate.region.indices] = candidate.key
    found: list[tuple[str, tuple[str, ...]]] = []
    for region, own in plan.placed:
        times = measured[region.indices]
        near = sorted(name for name, us in times.items() if name != own and us <= NEAR * min(times.values()))
        found.append((keys[region.indices], (own, *near)))
    return found


def refined(
    plan: Plan,
    contenders: Rivals,
    build: Callable[[Plan], Lowered],
    frozen: Sequence[Any],
    others: Sequence[Any],
    deadline: float,
) -> Plan:
    """``plan`` with each placed region on the one of its ``contenders`` that is fastest inside the program.

    ``build`` lowers a plan to a program that gives the times of its steps; ``frozen`` and ``others`` are its arguments.
    The result is ``plan`` itself if there is nothing to choose.
    """
    count = max((len(names) for _, names in contenders), default=0)
    if count < 2 or len(plan.placed) < 2:  # a lone call is no step
        return plan
    variants = [_variant(plan, contenders, turn) for turn in range(count)]
    calls = [_ready(build(variant), frozen, others) for variant in variants]
    samples: dict[tuple[str, str], dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
    begin = time.perf_counter()
    for i in range(ROUNDS):
        for variant, call in list(zip(variants, calls, strict=True))[:: 1 if i % 2 == 0 else -1]:
            for number, took in call().items():
                samples[contenders[number][0], variant.placed[number][1]][number].append(float(took))
        if time.perf_counter() > min(deadline, begin + SECONDS):
            break
    medians = {kind: float(np.mean([np.median(s) for s in by_place.values()])) for kind, by_place in samples.items()}
    return replace(plan, placed=tuple(_best(p, c, medians) for p, c in zip(plan.placed, contenders, strict=True)))


def _variant(plan: Plan, contenders: Rivals, turn: int) -> Plan:
    placed = (
        (region, names[turn % len(names)]) for (region, _), (_, names) in zip(plan.placed, contenders, strict=True)
    )
    return replace(plan, placed=tuple(placed))


def _ready(lowered: Lowered, frozen: Sequence[Any], others: Sequence[Any]) -> Callable[[], Mapping[int, Any]]:
    prepared = jax.jit(lowered.prepare)(*frozen)
    compiled = jax.jit(lowered.run, keep_unused=True)

    def call() -> Mapping[int, Any]:
        _, times = jax.block_until_ready(compiled(prepared, *others))
        return {
            number: us
            for numbers, took in jax.device_get(times).items()
            for number, us in zip(numbers, took, strict=True)
            if number != APART
        }

    call()
    return call


def _best(placed: tuple[Any, str], contender: tuple[str, tuple[str, ...]], medians: Mapping[Any, float]) -> Any:
    region, own = placed
    key, names = contender
    timed = {name: medians[key, name] for name in names if (key, name) in medians}
    if own not in timed:  # it does not run as a step
        return placed
    fastest = min(timed, key=timed.__getitem__)
    return (region, fastest) if timed[fastest] < (1 - MARGIN) * timed[own] else placed
