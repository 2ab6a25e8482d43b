"""The second level: what is near a plan, and whole programs that are timed where costs that add up mislead."""

from __future__ import annotations

import random
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from api_fakes import products, use
from fakes import Fake, assert_same

import collage_jax
from collage_jax.backends.base import Proposal, Unsupported
from collage_jax.candidates import XLA, find
from collage_jax.costs import Failed, Measured
from collage_jax.graph.trace import trace_function
from collage_jax.lowering.build import lower
from collage_jax.lowering.plan import Plan
from collage_jax.measure import whole
from collage_jax.measure.reference import Reference
from collage_jax.measure.whole import Trials
from collage_jax.problem import problem_of
from collage_jax.search.op_level import choose
from collage_jax.tuning.contenders import runtime_plans
from collage_jax.tuning.graph_level import GraphLevel
from collage_jax.tuning.neighbourhood import around


class Runtime(Fake):
    """A graph runtime that takes all operations but ``but``, and at most ``most`` at a time."""

    kind = "graph-runtime"

    def __init__(self, name, but=(), most=99):
        super().__init__(name)
        self.but, self.most = but, most

    def takes(self, node):
        return node.op not in self.but

    def propose(self, graph):
        return super(Fake, self).propose(graph)

    def supports(self, region):
        return None if len(region.nodes) <= self.most else Unsupported(f"more than {self.most} operations")


def chain(x, w):
    for _ in range(3):
        x = jnp.tanh(x @ w) + x
    return jnp.sin(x)


X = jnp.full((4, 4), 0.1)


def neighbourhood(*backends, costs_of=lambda candidate: Measured(1.0)):
    problem = problem_of(jax.jit(chain).trace(X, X).jaxpr, ())
    each = problem.split.each
    options = {each: find(each, backends)}
    costs = {(c.key, c.backend): costs_of(c) for c in options[each].chosen_from}
    plan = Plan.of(each, {each: choose(options[each], costs).placed})
    known = {b.name: b for b in (*backends, collage_jax.backends.__globals__["reference"]())}
    return problem, around(plan, options, costs, known), known


def test_a_runtime_that_takes_everything_gets_one_region():
    _, near, _ = neighbourhood(Fake("library"), Runtime("runtime"))
    plan = near.plan(near.genome_of("runtime"))
    ((region, name),) = plan.placed
    assert name == "runtime"
    assert len(region.nodes) == len(plan.graph.nodes)
    assert near.plan(tuple(0 for _ in near.genes)).identity == near.base.identity


def test_what_a_runtime_does_not_take_divides_what_it_gets():
    _, near, _ = neighbourhood(Fake("library"), Runtime("runtime", but=("tanh",)))
    plan = near.plan(near.genome_of("runtime"))
    assert all(name == "library" or "tanh" not in region.ops for region, name in plan.placed)
    assert len([name for _, name in plan.placed if name == "runtime"]) > 1


def test_a_merged_region_that_a_runtime_refuses_is_left_in_parts():
    _, near, _ = neighbourhood(Fake("library"), Runtime("runtime", most=2))
    plan = near.plan(near.genome_of("runtime"))
    assert all(len(region.nodes) <= 2 for region, name in plan.placed if name == "runtime")


@pytest.mark.parametrize("seed", range(20))
def test_every_genome_is_a_program_that_computes_the_same(seed):
    problem, near, known = neighbourhood(Fake("library"), Runtime("one", but=("sin",)), Runtime("two", but=("tanh",)))
    rng = random.Random(seed)
    plan = near.plan(tuple(rng.randrange(count) for count in near.choices))
    nodes = [node for region, _ in plan.placed for node in region.nodes]
    assert len(set(nodes)) == len(nodes)
    lowered = lower(plan, problem.split, known)
    assert_same(jax.jit(lowered.run)(lowered.prepare(), X, X), [chain(X, X)])


def test_kernels_far_slower_alone_are_not_tried():
    def cost(candidate):
        return Measured(100.0 if candidate.backend == "slow" else 1.0)

    _, near, _ = neighbourhood(Fake("quick"), Fake("slow"), costs_of=cost)
    assert all("slow" not in gene.names for gene in near.genes)
    assert all(XLA in gene.names for gene in near.genes)


def test_equal_regions_are_a_group():
    _, near, _ = neighbourhood(Fake("library"))
    keys = [gene.key for gene in near.genes]
    assert sorted(i for group in near.groups for i in group) == list(range(len(keys)))
    assert all(len({keys[i] for i in group}) == 1 for group in near.groups)
    assert any(len(group) == 3 for group in near.groups)


def test_the_search_finds_what_pays_only_as_a_whole(monkeypatch):
    """Alone the runtime loses everywhere; as one region for everything it wins by far."""

    def race(contenders, **_):
        times = {}
        for name in contenders:
            plan = level._plans.get(name)
            runtime = [r for r, n in plan.placed if n == "runtime"] if plan else []
            alone = bool(runtime) and len(runtime[0].nodes) == len(plan.graph.nodes)
            times[name] = np.full(5, 1e-3 if alone else 9e-3 + 1e-3 * len(runtime))
        return times

    def cost(candidate):
        return Measured(3.0 if candidate.backend == "runtime" else 1.0)

    monkeypatch.setattr(whole, "race", race)
    problem, near, known = neighbourhood(Fake("library"), Runtime("runtime"), costs_of=cost)
    each = problem.split.each
    options = {each: find(each, [known["library"], known["runtime"]])}
    costs = {(c.key, c.backend): cost(c) for c in options[each].chosen_from}
    trials = Trials([], [X, X], Reference(lambda: [chain(X, X)]), None)
    level = GraphLevel(trials, lambda plan: lower(plan, problem.split, known), options, costs, known, {})
    assert level.enter("op-level", near.base)
    assert all(name != "runtime" for _, name in near.base.placed)
    level.improve(["op-level"], float("inf"))
    decided = level.decide(float("inf"))
    assert {name for _, name in decided.plan.placed} == {"runtime"}
    assert decided.outcome.measured_us == pytest.approx(1e3)


def test_no_search_begins_that_there_is_no_time_to_build_programs_for():
    problem, near, known = neighbourhood(Fake("library"), Runtime("runtime"))
    each = problem.split.each
    options = {each: find(each, [known["library"], known["runtime"]])}
    costs = {(c.key, c.backend): Measured(1.0) for c in options[each].chosen_from}
    trials = Trials([], [X, X], Reference(lambda: [chain(X, X)]), None)
    level = GraphLevel(trials, lambda plan: lower(plan, problem.split, known), options, costs, known, {})
    assert level.enter("op-level", near.base)
    assert trials.build_s > 0
    trials.build_s = 1e9
    level.improve(["op-level"], float("inf"))
    assert not any("Graph level" in note for note in trials.notes)


def test_past_the_budget_only_the_first_program_is_built():
    problem, near, known = neighbourhood(Fake("library"), Runtime("runtime"))
    each = problem.split.each
    trials = Trials([], [X, X], Reference(lambda: [chain(X, X)]), None)
    level = GraphLevel(trials, lambda plan: lower(plan, problem.split, known), {each: find(each, [])}, {}, known, {})
    assert level.enter_in_time("op-level", near.base, late=0.0)
    assert not level.enter_in_time("unbroken", near.base, late=0.0)
    assert trials.notes[-1] == "unbroken: not built, for the budget was spent."
    assert level.is_cut_short
    assert level.enter_in_time("refined", near.base, late=float("inf"))


def test_a_runtime_that_leaves_xla_seconds_of_work_is_not_tried(monkeypatch):
    def grouped(x, w):
        numbers = ("NHWC", "HWIO", "NHWC")
        y = jax.lax.conv_general_dilated(x, w, (1, 1), "SAME", dimension_numbers=numbers, feature_group_count=2)
        return jnp.tanh(jnp.sin(y))

    graph = trace_function(grouped, jnp.ones((1, 5, 5, 4)), jnp.ones((3, 3, 2, 4)))
    for runtime, tried in ((Runtime("runtime", but=("conv_general_dilated",)), False), (Runtime("runtime"), True)):
        options = {graph: find(graph, [runtime])}
        assert runtime_plans(options, graph, {"runtime": runtime}, {})
        with monkeypatch.context() as patched:
            patched.setattr("collage_jax.measure.reference.TOO_LABORIOUS_S", 1e-12)
            assert bool(runtime_plans(options, graph, {"runtime": runtime}, {})) == tried


class WrongTogether(Runtime):
    """Right on one operation at a time; more of them at once are wrong where arguments are large."""

    def propose(self, graph):
        yield from super().propose(graph)
        yield from (Proposal((node,), "one") for node in graph.nodes)

    def emit(self, region):
        kernel = super().emit(region)
        clips = len(region.nodes) > 1
        return lambda *arrays: kernel(*(jnp.clip(a, -1, 1) for a in arrays) if clips else arrays)


def test_what_failed_alone_is_in_no_program_though_it_is_right_on_the_arguments_of_the_call(monkeypatch):
    """Else the decision would hold a kernel that is known to be wrong, and each process would decide anew."""
    use(monkeypatch, WrongTogether("runtime"), ours_s=1e-3, xla_s=1e-2)
    takes_s = {whole.XLA_ALONE: 1e-2, "all on runtime": 1e-4}
    monkeypatch.setattr(whole, "race", lambda names, **_: {n: np.full(5, takes_s.get(n, 1e-3)) for n in names})
    placement = collage_jax.jit(chain).placement(X, X)
    assert placement.counts().keys() == {"runtime"}
    assert all(len(region.ops) == 1 for region in placement.regions)
    again = collage_jax.jit(chain).placement(X, X)
    assert again.notes[0].startswith("Decided before")
    assert again.regions == placement.regions


def test_a_program_with_a_kernel_that_failed_alone_is_not_built():
    """What a search merges can be a region that failed."""
    problem, near, known = neighbourhood(Runtime("runtime"))
    each = problem.split.each
    plan = near.plan(near.genome_of("runtime"))
    ((region, _),) = plan.placed
    options = {each: find(each, [known["runtime"]])}
    (key,) = [c.key for c in options[each].chosen_from if c.region.indices == region.indices and c.backend == "runtime"]
    trials = Trials([], [X, X], Reference(lambda: [chain(X, X)]), None)
    for cost, is_built in ((Failed("verify", "it differs"), False), (Failed("budget", "no time"), True)):
        costs = {(key, "runtime"): cost}
        level = GraphLevel(trials, lambda plan: lower(plan, problem.split, known), options, costs, known, {})
        assert level.enter("evolved", plan) == is_built
    assert trials.notes == [f"evolved: runtime failed alone on {'+'.join(region.ops)}: it differs"]


def test_a_program_that_is_hopeless_at_once_runs_once():
    calls = []

    class Slow:
        prepare = staticmethod(lambda: ((), ()))
        plain = ()

        @staticmethod
        def run(prepared):
            return [jax.pure_callback(slowly, jax.ShapeDtypeStruct((), jnp.float32))]

    def slowly():
        calls.append(1)
        time.sleep(0.3)
        return np.float32(1)

    trials = Trials([], [], Reference(lambda: [jnp.ones(())]), None)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(whole, "HOPELESS_S", 0.1)
        patched.setattr(whole, "BUILDING_S", 0.2)
        assert trials.enter("slow", lambda: Slow)
    times = trials.race([whole.XLA_ALONE, "slow"], 3, 1.0, 6.0)
    assert len(calls) == 1
    assert times["slow"][0] >= 0.3


def test_a_fallback_is_asked_only_where_no_other_backend_is():
    class Fallback(Fake):
        is_fallback = True

    graph = trace_function(chain, X, X)
    takes_products = Fake("library", products)
    taken = {(c.backend, c.region.ops) for c in find(graph, [Fallback("fallback"), takes_products]).chosen_from}
    assert ("library", ("dot_general",)) in taken
    assert ("fallback", ("dot_general",)) not in taken
    assert ("fallback", ("tanh",)) in taken


def test_a_barred_program_is_not_built(monkeypatch):
    _, near, known = neighbourhood(Fake("library"))
    trials = Trials([], [X, X], Reference(lambda: [chain(X, X)]), None)
    level = GraphLevel(trials, lambda plan: pytest.fail("built"), {}, {}, known, {"op-level": "it crashed"})
    assert not level.enter("op-level", near.base)
    assert "op-level: it crashed" in trials.notes


def test_one_backend_alone_is_no_slower_than_all_that_it_takes(monkeypatch):
    """With one backend, everything that it proposes merged is among the programs that are timed."""
    entered = {}

    class Recording(GraphLevel):
        def enter(self, name, plan):
            entered[name] = plan
            return super().enter(name, plan)

    use(monkeypatch, Runtime("runtime"), ours_s=1e-3, xla_s=1e-2)
    monkeypatch.setattr("collage_jax.tuning.stages.GraphLevel", Recording)
    collage_jax.jit(chain).placement(X, X)
    assert any(len(p.placed) == 1 and len(p.placed[0][0].nodes) == len(p.graph.nodes) for p in entered.values())


def test_proposals_of_all_kinds_add_up():
    class Both(Runtime):
        patterns = ()

        def propose(self, graph):
            yield from super().propose(graph)
            yield Proposal((graph.nodes[0],), "first")

    graph = trace_function(chain, X, X)
    found = find(graph, [Both("both")])
    assert {len(c.region.nodes) for c in found.chosen_from if c.backend == "both"} == {1, len(graph.nodes)}
    assert not [r for r in found.refusals if isinstance(r, Failed)]
    assert products(graph)
