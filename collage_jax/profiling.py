"""Where the time of a placed program goes: each region inside the whole, beside what the machine could do."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .backends import registry
from .backends.base import Backend
from .calls.deciding import Call
from .candidates import XLA
from .costs import FAULTS, Measured
from .graph.region import Region
from .graph.trace import trace_function
from .graph.work import operations, repeats, traffic
from .lowering.build import compiled_prepare, lower, step_times
from .lowering.plan import Plan
from .placement import PlacedRegion, Placement
from .problem import Problem, problem_of
from .report.profile import table
from .tuning.replay import plan_of
from .tuning.stages import Settings

ROUNDS = 15
SECONDS = 3.0
#: Of the product that shows the machine's speed, rows and columns; and of the array that shows its memory's, elements.
PRODUCT, STREAM = 1536, 1 << 24


@dataclass(frozen=True)
class Limits:
    """What the machine does at best: operations and bytes in a second."""

    flops: float
    bytes: float


@dataclass(frozen=True)
class RegionProfile:
    """A row of a profile: regions equal to each other, on one backend.

    ``us`` is one run of one of them; ``inside`` says that it was timed inside the whole program, else alone. ``flops``
    and ``bytes`` are those of one run.
    """

    backend: str
    label: str
    shapes: str
    count: int
    us: float
    inside: bool
    flops: float
    bytes: float

    @property
    def total_us(self) -> float:
        return self.us * self.count

    def share_of(self, limits: Limits) -> float:
        """Of the time it took, what the machine would need at best: for its operations or its bytes, the larger."""
        least_s = max(self.flops / limits.flops, self.bytes / limits.bytes)
        return least_s * 1e6 / self.us if self.us else 0.0


@dataclass(frozen=True)
class Profile:
    """``whole_us`` is the median of a call, ``flops`` what it computes; what is in no row, XLA runs."""

    placement: Placement
    rows: tuple[RegionProfile, ...]
    whole_us: float
    flops: float
    limits: Limits

    @property
    def rest_us(self) -> float:
        """What XLA's part takes, and the way to and from kernels."""
        return max(0.0, self.whole_us - sum(row.total_us for row in self.rows))

    def __str__(self) -> str:
        return table(self)


def profile_of(call: Call, placement: Placement, settings: Settings) -> Profile:
    """Run the program of ``placement`` as ``call`` does, and time it and its parts."""
    problem = problem_of(call.program, call.frozen)
    backends = registry.with_reference(registry.usable(settings.backends, settings.switches)[0])
    plan, _ = plan_of(placement, problem, backends)
    frozen, others = problem.divided(call.arguments)
    plain = lower(plan, problem.split, backends)
    timed = lower(plan, problem.split, backends, timed=True)
    prepared = compiled_prepare(plain)(*frozen)
    whole, parts = (jax.jit(each.run, keep_unused=True) for each in (plain, timed))
    calls: tuple[Callable[[], Any], ...] = (lambda: whole(prepared, *others), lambda: parts(prepared, *others)[1])
    seconds: list[float] = []
    steps: dict[int, list[float]] = {}
    begin = time.perf_counter()
    for done in range(ROUNDS + 1):
        start = time.perf_counter()
        jax.block_until_ready(calls[0]())
        took = time.perf_counter() - start
        times = step_times(calls[1]())
        if done:  # the first round warms up
            for number, us in times.items():
                steps.setdefault(number, []).append(us)
            seconds.append(took)
        if len(seconds) >= 3 and time.perf_counter() - begin > SECONDS:
            break
    medians = {number: float(np.median(samples)) for number, samples in steps.items()}
    return Profile(
        placement,
        tuple(_rows(placement, problem, plan, medians)),
        float(np.median(seconds)) * 1e6,
        operations(problem.split.each.nodes),
        limits(backends),
    )


def _rows(placement: Placement, problem: Problem, plan: Plan, medians: Mapping[int, float]) -> list[RegionProfile]:
    inside = {plan.placed[number][0].indices: us for number, us in medians.items()}
    rows = [
        _row(placed, problem, [inside[p.nodes] for p in placed.places if not p.graph and p.nodes in inside])
        for placed in placement.regions
        if placed.backend != XLA and placed.places
    ]
    return sorted(rows, key=lambda row: -row.total_us)


def _row(placed: PlacedRegion, problem: Problem, inside: Sequence[float]) -> RegionProfile:
    graph = problem.graphs[placed.places[0].graph]
    region = Region.of(graph, (graph.nodes[i] for i in placed.places[0].nodes))
    alone = placed.cost.median_us if isinstance(placed.cost, Measured) else 0.0
    us = float(np.mean(inside)) if inside else alone
    count = sum(_runs(problem, place.graph) for place in placed.places)
    about = placed.backend, placed.label, placed.shapes, count
    return RegionProfile(*about, us, bool(inside), operations(region.nodes), traffic(region))


def _runs(problem: Problem, name: str) -> int:
    """How often the graph called ``name`` runs in a call; see ``Place.graph``."""
    runs, above = 1, ""
    for step in filter(None, name.split("/")):
        node = problem.graphs[above].nodes[int(step.partition(".")[0])]
        runs, above = runs * repeats(node), f"{above}/{step}".lstrip("/")
    return runs


def limits(backends: Mapping[str, Backend]) -> Limits:
    """The machine's own: of a large product in float32 by the fastest backend, and of doubling an array in place."""
    a, b = (jax.random.normal(jax.random.key(i), (PRODUCT, PRODUCT)) for i in range(2))
    graph = trace_function(jnp.matmul, a, b)
    region = Region.of(graph, graph.nodes)
    runs = [jax.jit(jnp.matmul)]
    for name, backend in backends.items():
        try:
            if name != XLA and backend.kind == "kernel-library" and _proposes(backend, region):
                runs.append(jax.jit(backend.emit(region)))
        except FAULTS:
            continue  # it is only asked what it could do
    seconds = min(_least_seconds(lambda run=run: run(a, b)) for run in runs)
    return Limits(2.0 * PRODUCT**3 / seconds, 2.0 * 4 * STREAM / _stream_seconds())


def _proposes(backend: Backend, region: Region) -> bool:
    offered = any(set(p.nodes) == set(region.nodes) and p.refused is None for p in backend.propose(region.graph))
    return offered and backend.supports(region) is None


def _stream_seconds() -> float:
    double = jax.jit(lambda x: x * 2, donate_argnums=0)
    held = [jax.block_until_ready(jnp.ones(STREAM, jnp.float32))]

    def run() -> Any:
        held[0] = double(held[0])
        return held[0]

    return _least_seconds(run)


def _least_seconds(run: Callable[[], Any], calls: int = 7) -> float:
    """Of several calls the shortest: what disturbs a limit only makes it lower."""
    jax.block_until_ready(run())
    found = []
    for _ in range(calls):
        start = time.perf_counter()
        jax.block_until_ready(run())
        found.append(time.perf_counter() - start)
    return min(found)
