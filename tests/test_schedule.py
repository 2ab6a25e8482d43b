"""Which regions are measured when: most work first, and none takes the time of all others."""

import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from fakes import Fake

from collage_jax.backends.xla import BACKEND
from collage_jax.candidates import find
from collage_jax.costs import CostKey, Failed, Measured
from collage_jax.database import Database
from collage_jax.graph.trace import trace_function
from collage_jax.measure import regions, schedule

X, W = np.ones((64, 64), np.float32), np.ones((64, 256), np.float32)
SMALL = np.ones((4, 4), np.float32)


def two_layers(x, w, a, b):
    """One of much work, one of little; each with parts within."""
    return jnp.tanh(x @ w), jnp.sin(a @ b)


def wants(graph):
    """Each product, alone and with what follows."""
    products = [i for i, node in enumerate(graph.nodes) if node.op == "dot_general"]
    return [nodes for i in products for nodes in ((i, i + 1), (i,))]


def groups_of(fun, args, fake):
    candidates = find(trace_function(fun, *args), [fake], []).chosen_from
    groups = {}
    for candidate in candidates:
        groups.setdefault(candidate.key, {})[candidate.backend] = candidate
    return list(groups.values())


def ops(family):
    return ["+".join(group["xla"].region.ops) for group in family]


@pytest.fixture
def clock(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    return now


GROUPS = groups_of(two_layers, (X, W, SMALL, SMALL), Fake(wants=wants))
USES = {group["xla"].key: 1 for group in GROUPS}


def test_families_have_the_largest_region_first_and_most_work_comes_first(clock):
    found = [ops(family) for family, _ in schedule.shares(GROUPS, USES, 110.0)]
    assert [f[0] for f in found] == ["dot_general+tanh", "dot_general+sin"]
    assert sorted(found[0]) == ["dot_general", "dot_general+tanh", "tanh"]


def test_what_is_used_often_counts_as_often(clock):
    often = {k: 10_000 if any(g["xla"].key == k and "sin" in g["xla"].region.ops for g in GROUPS) else 1 for k in USES}
    found = [ops(family) for family, _ in schedule.shares(GROUPS, often, 110.0)]
    assert found[0][0] == "dot_general+sin"


def test_a_family_has_its_part_of_the_time_left(clock, monkeypatch):
    monkeypatch.setattr(schedule, "EQUAL_PARTS", 0.5)
    shares = schedule.shares(GROUPS, USES, 110.0)
    _, first = next(shares)
    assert 109.0 < first < 110.0  # almost all of the work
    clock[0] = 108.0
    _, last = next(shares)
    assert last == 110.0


def test_a_family_has_more_than_an_equal_part(clock, monkeypatch):
    monkeypatch.setattr(schedule, "EQUAL_PARTS", 2.0)
    monkeypatch.setattr(schedule, "_work", lambda group: 1.0)
    layers = groups_of(lambda *xs: [jnp.tanh(x @ x) for x in xs], [np.ones((n, n), np.float32) for n in range(2, 12)],
                       Fake(wants=wants))  # fmt: skip
    _, until = next(schedule.shares(layers, {g["xla"].key: 1 for g in layers}, 110.0))
    assert until == 102.0


def test_without_limit_a_family_may_take_all_the_time(clock):
    assert {until for _, until in schedule.shares(GROUPS, USES, 110.0, unlimited=True)} == {float("inf")}


class Slow(type(BACKEND)):
    """XLA on a machine on which the larger layer takes long."""

    def emit(self, region):
        kernel = super().emit(region)
        slow = any(v.shape == W.shape for v in region.entries) and region.nodes[0].op == "dot_general"

        def run(*arrays):
            if slow:
                jax.debug.callback(lambda: time.sleep(0.3))
            return kernel(*arrays)

        return run


def measured(seconds):
    """Operations of regions in the order of their measuring; those not measured."""
    fake = Fake(wants=wants)
    candidates = find(trace_function(two_layers, X, W, SMALL, SMALL), [fake], []).chosen_from
    backends = {"fake": fake, "xla": Slow()}
    deadline = time.perf_counter() + seconds

    def key_of(candidate):
        return CostKey(candidate.key, candidate.backend, "1", "jaxlib", "cpu", "")

    found = []
    for group, costs in regions.measure(candidates, backends, Database(None), key_of, deadline):
        left_out = any(isinstance(c, Failed) and c.stage == "budget" for c in costs.values())
        found.append(("+".join(group["xla"].region.ops), left_out))
        assert left_out or all(isinstance(c, Measured) for c in costs.values())
    return found


def test_parts_of_what_a_kernel_runs_wait_where_xla_is_slow(monkeypatch):
    monkeypatch.setattr(schedule, "EQUAL_PARTS", 10.0)
    assert [name for name, _ in measured(seconds=60.0)] == [
        "dot_general+tanh", "tanh", "dot_general+sin", "dot_general", "sin", "dot_general",
    ]  # fmt: skip


def test_a_part_does_not_wait_for_a_kernel_that_failed_on_the_whole(clock):
    whole, part = (
        g for g in GROUPS if "dot_general" in g["xla"].region.ops and g["xla"].region.entries[0].shape == X.shape
    )
    assert set(whole) == set(part) == {"fake", "xla"}
    assert schedule.may_wait(part, [(whole, {}, 1.0)])
    assert not schedule.may_wait(whole, [(part, {}, 1.0)])
    assert not schedule.may_wait(part, [(whole, {}, 0.01)])
    assert not schedule.may_wait(part, [(whole, {"fake": Failed("run", "fell over")}, 1.0)])
    assert not schedule.may_wait({"xla": part["xla"]}, [(whole, {}, 1.0)])


def test_what_waited_has_a_part_of_the_time_left(clock):
    assert schedule.second_deadline(110.0) == 102.5


def test_with_too_little_time_what_is_left_out_is_within_what_was_measured(monkeypatch):
    real = schedule.shares

    def hurried(groups, uses, deadline, unlimited=False):
        for family, until in real(groups, uses, deadline, unlimited):
            yield family, until if unlimited else 0.0

    monkeypatch.setattr(schedule, "shares", hurried)
    order = [name for name, left_out in measured(seconds=60.0) if not left_out]
    assert order[:2] == ["dot_general+tanh", "dot_general+sin"]
    assert sorted(order[2:]) == ["dot_general", "dot_general", "sin", "tanh"]


def test_past_the_deadline_all_are_left_out_and_named():
    found = measured(seconds=-1.0)
    assert len(found) == 6
    assert all(left_out for _, left_out in found)
