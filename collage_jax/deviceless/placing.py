"""A problem placed for a GPU that is not here, on estimates: what ``tuning`` does, with nothing run.

What can be found out ahead of time is: a kernel is traced, and what it gives must have the shapes and dtypes of the
region's exits. Numbers are not compared with XLA's.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

from ..backends import registry
from ..candidates import XLA, Candidate, Refusal, candidate_of, find
from ..costs import Cost, Failed
from ..gpu.device import GpuDevice
from ..graph.ir import Graph
from ..graph.region import Region
from ..lowering.plan import Plan
from ..measure.clock import since
from ..placement import Placement
from ..problem import Problem
from ..report.figures import duration
from ..search.op_level import Charges, choose
from ..switches import in_force
from ..tuning.contenders import runtime_plans
from ..tuning.stages import environment
from ..tuning.summary import edges_of, left_out, placed_regions
from .estimate import Roofline
from .kernels import needs_engine
from .tracing import why_untraceable

TIES = (
    "Where a library's estimate is XLA's and the region holds a product, a convolution or a reduction, the library has"
    " it: which of its kernels runs is then its own choice, made ahead of time; XLA makes its by timing on the GPU."
)

#: A kernel: the region's key and the backend.
Kind = tuple[str, str]
Placed = Mapping[Graph, Sequence[tuple[Region, str]]]


class Placing:
    """The search for a plan for ``problem`` on ``device``, with the backends called ``names`` or all of them.

    ``costs`` are by region key and backend; what turns out to fail stands there as failed.
    """

    def __init__(self, problem: Problem, device: GpuDevice, names: Sequence[str] | None) -> None:
        self._begin = time.perf_counter()
        self._problem, self._device, self._roofline = problem, device, Roofline(device)
        allowed, self._unavailable = registry.usable(names)
        #: True if backends were named: a runtime is then preferred to XLA at the same estimate.
        self._is_asked_for = names is not None
        self.backends = registry.with_reference(allowed)
        self._kept = {problem.split.each: frozenset(problem.split.kept)}
        switches = in_force()
        self._options = {g: find(g, allowed, self._kept.get(g, ()), switches) for g in problem.graphs.values()}
        self._costs: dict[Kind, Cost] = {}
        for candidate in (c for o in self._options.values() for c in (*o.chosen_from, *o.subgraphs)):
            if (kind := _kind(candidate)) not in self._costs:
                self._costs[kind] = self._roofline.of_candidate(candidate, self.backends[candidate.backend])
        self._traced: set[Kind] = set()
        self._struck: list[Refusal] = []
        self._dropped: list[Refusal] = []

    def plan(self) -> Plan:
        """The plan with the least estimate for the whole program, of kernels that can be traced."""
        while True:
            plan = self._cheapest()
            fresh = {kind: c for kind, c in self.kernels(plan).items() if kind not in self._traced}
            self._traced.update(fresh)
            reasons = ((c, why_untraceable(c, self.backends[c.backend])) for c in fresh.values())
            if not self.strike([(candidate, reason) for candidate, reason in reasons if reason is not None]):
                return plan

    def strike(self, failures: Sequence[tuple[Candidate, str]]) -> bool:
        """Leave out kernels that cannot be compiled, for the reasons given; False if there are none."""
        for candidate, reason in failures:
            self._costs[_kind(candidate)] = Failed("compile", reason)
            self._struck.append(Refusal(candidate.region.ops, candidate.backend, reason))
        return bool(failures)

    @property
    def xla_us(self) -> float:
        """The estimate for XLA alone."""
        return self._us(Plan.plain(self._problem.split.each))

    def kernels(self, plan: Plan) -> dict[Kind, Candidate]:
        """The distinct kernels of ``plan``."""
        found = (self._kernel(part.graph, region, name) for part, region, name in plan.everything())
        return {_kind(kernel): kernel for kernel in found}

    def placement(self, plan: Plan) -> Placement:
        """``plan`` as data, its costs estimates."""
        graphs, costs = self._problem.graphs, self._costs
        rows = placed_regions(plan, graphs, self._problem.split.kept, self._options, costs)
        total_us = self._us(plan)
        notes = (
            f"All times are estimates for {self._device.name} ({self._device.target}), by a model: nothing was timed,"
            " no result was compared with XLA's, nothing has run.",
            f"Estimated for the whole program: jax.jit {duration(self.xla_us)}, as placed {duration(total_us)}.",
            *(() if plan.is_plain else (TIES,)),
        )
        return Placement(
            regions=rows,
            refusals=(
                *(refusal for options in self._options.values() for refusal in options.refusals),
                *self._struck,
                *self._dropped,
                *left_out(rows, self._options.values(), costs),
            ),
            uncorrected_us=sum(row.total_us for row in rows),
            predicted_us=total_us,
            tuning_s=since(self._begin),
            unavailable=self._unavailable,
            notes=notes,
            is_final=False,
            program=self._problem.key,
            edges={name: edges_of(graph) for name, graph in graphs.items()},
            environment=environment(self.backends),
        )

    def _cheapest(self) -> Plan:
        """XLA alone only if it is estimated to be faster than everything else."""
        root = self._problem.split.each
        charges = Charges(leaving_us=0.0, rank=self._rank)
        placed = {g: choose(options, self._costs, charges).placed for g, options in self._options.items()}
        whole = runtime_plans(self._options, root, self.backends, self._costs)
        right = [p for p in whole.values() if not any(isinstance(self._costs[k], Failed) for k in self.kernels(p))]
        plan, plain = self._with_fusion(placed), Plan.plain(root)
        others = [*right, plain] if self._is_asked_for else [plain, *right]
        return min([*(() if plan.is_plain else (plan,)), *others], key=self._us)

    def _with_fusion(self, placed: Placed) -> Plan:
        """The plan without the kernels that cost more than they save, by what they keep XLA from fusing."""
        root = self._problem.split.each
        held = {region: self._kernel(g, region, name) for g, pairs in placed.items() for region, name in pairs}
        plan = Plan.of(root, placed)
        least_us = self._us(plan)
        self._dropped.clear()
        for kind, kernel in {_kind(kernel): kernel for kernel in held.values()}.items():
            fewer = {g: [(r, name) for r, name in pairs if _kind(held[r]) != kind] for g, pairs in placed.items()}
            trial = Plan.of(root, fewer)
            if (saved_us := least_us - self._us(trial)) > 0:
                reason = f"keeps XLA from fusing: without it the program is estimated to take {duration(saved_us)} less"
                self._dropped.append(Refusal(kernel.region.ops, kernel.backend, reason))
                placed, plan, least_us = fewer, trial, least_us - saved_us
        return plan

    def _kernel(self, graph: Graph, region: Region, backend: str) -> Candidate:
        return candidate_of(region, backend, self._kept.get(graph, ()))

    def _us(self, plan: Plan) -> float:
        return self._roofline.of_plan(plan, self.backends)

    def _rank(self, candidate: Candidate) -> int:
        """Who is taken of those that cost the same, the lowest first; a runtime is modelled as XLA is.

        By operation: one large region of XLA's must not count less than many small ones.
        """
        size = len(candidate.region.nodes)
        if candidate.backend == XLA:
            return size
        is_library = self.backends[candidate.backend].kind == "kernel-library"
        return 0 if is_library and needs_engine(candidate.region) else 2 * size


def _kind(candidate: Candidate) -> Kind:
    return candidate.key, candidate.backend
