"""Kill switches: everything, backends, regions; from arguments, settings, the environment, a context; at any time."""

from __future__ import annotations

import logging
import os
import re
import subprocess
import sys
import threading
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from api_fakes import is_placed, products, use
from fakes import Fake

import collage_jax
from collage_jax import Placement, config
from collage_jax.backends import registry
from collage_jax.calls import deciding
from collage_jax.switches import NOTHING, Switches, in_force

X = jnp.linspace(-1, 1, 12).reshape(3, 4)
W = jnp.linspace(1, 2, 16).reshape(4, 4) / 4


def layer(x, w):
    return jnp.tanh(jnp.tanh(x @ w) @ w)


def off_by_a_little(kernel):
    """Right within the tolerance, and told from XLA by its bits."""
    return lambda *arrays: jax.tree.map(lambda y: y * jnp.float32(1 + 4e-7), kernel(*arrays))


PLAIN = jax.jit(layer)(X, W)


def runs_kernels(function, *args):
    return bool((np.asarray(function(*args)) != np.asarray(PLAIN)).any())


@pytest.fixture(autouse=True)
def timing(monkeypatch):
    """Two backends, of which one takes every product and the other every tanh; both are faster than XLA."""
    tanhs = Fake("tanhs", lambda g: [(i,) for i, n in enumerate(g.nodes) if n.op == "tanh"], off_by_a_little)
    return use(monkeypatch, Fake("fake", products, off_by_a_little), tanhs)


def backends_of(placement):
    return {region.backend for region in placement.regions} - {"xla"}


# -- everything --------------------------------------------------------------------------------------------------------


def test_everything_is_off_at_once_and_on_again_without_tuning(monkeypatch, timing):
    decorated = collage_jax.jit(layer)
    assert runs_kernels(decorated, X, W)
    races = timing.races
    with monkeypatch.context() as thrown:
        thrown.setattr(config, "tune", "off")
        assert not runs_kernels(decorated, X, W)
        assert 'tune="off"' in decorated.explain(X, W)
    assert runs_kernels(decorated, X, W)
    assert is_placed(decorated.placement(X, W))
    assert timing.races == races


def test_everything_off_goes_before_an_argument(monkeypatch):
    monkeypatch.setattr(config, "tune", "off")
    assert not runs_kernels(collage_jax.jit(layer, tune="op-level"), X, W)


def test_a_context_switches_its_own_thread_off():
    decorated = collage_jax.jit(layer)
    decorated(X, W)
    elsewhere = []
    with collage_jax.disabled():
        assert not runs_kernels(decorated, X, W)
        thread = threading.Thread(target=lambda: elsewhere.append(runs_kernels(decorated, X, W)))
        thread.start()
        thread.join()
    assert elsewhere == [True]
    assert runs_kernels(decorated, X, W)


def test_a_context_is_a_decorator_and_ends_with_an_error():
    decorated = collage_jax.jit(layer)

    @collage_jax.disabled()
    def careful():
        assert not runs_kernels(decorated, X, W)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        careful()
    assert in_force() == NOTHING
    assert runs_kernels(decorated, X, W)


@pytest.mark.parametrize("first", ["on", "off"])
def test_frozen_arguments_are_packed_again_for_none_of_it(first):
    decorated = collage_jax.jit(layer, frozen_argnums=1)
    others = [jnp.array(W), jnp.array(W)]
    if first == "on":
        assert runs_kernels(decorated, X, others[0])
    for w in others:
        with collage_jax.disabled():
            assert not runs_kernels(decorated, X, w)
        assert runs_kernels(decorated, X, w)
        with collage_jax.disabled(backends=["fake", "tanhs"]):
            assert not runs_kernels(decorated, X, w)
        assert runs_kernels(decorated, X, w)


def test_what_was_compiled_around_a_function_follows():
    decorated = collage_jax.jit(layer)
    outer = jax.jit(lambda x, w: decorated(x, w) * 1)
    assert runs_kernels(outer, X, W)
    with collage_jax.disabled():
        assert not runs_kernels(outer, X, W)
    assert runs_kernels(outer, X, W)


def test_a_derivative_taken_before_follows():
    decorated = collage_jax.jit(layer)
    _, back = jax.vjp(decorated, X, W)
    _, plain_back = jax.vjp(layer, X, W)
    kernels = back(jnp.ones_like(X))[0]
    with collage_jax.disabled():
        # What it needs of the function's values was computed before.
        np.testing.assert_allclose(back(jnp.ones_like(X))[0], plain_back(jnp.ones_like(X))[0], rtol=1e-4)
        assert (np.asarray(back(jnp.ones_like(X))[0]) != np.asarray(kernels)).any()


def test_lowered_programs_follow():
    with collage_jax.disabled():
        assert collage_jax.jit(layer).lower(X, W).as_text() == jax.jit(layer).lower(X, W).as_text()


SILENT = """
import sys, threading, jax, jax.numpy as jnp, collage_jax, collage_jax.store
f = collage_jax.jit(lambda w, x: jax.nn.relu(x @ w), frozen_argnums=0, backends=None)
w, x = jnp.full((64, 64), 0.5), jnp.ones((8, 64))
assert (f(w, x) == jax.jit(lambda w, x: jax.nn.relu(x @ w))(w, x)).all()
assert jax.grad(lambda x: f(w, x).sum())(x).shape == x.shape
f.lower(w, x), f.explain(w, x), f.placement(w, x)
from collage_jax.calls import deciding
from collage_jax.backends import discovery
print(discovery.builtin.cache_info().currsize, deciding.WORKER._process,
      collage_jax.store._database.cache_info().currsize)
"""


def test_off_in_the_environment_asks_no_backend_opens_no_database_and_starts_no_worker(tmp_path):
    environment = os.environ | {
        "COLLAGE_JAX_TUNE": "off",
        "COLLAGE_JAX_CACHE_DIR": str(tmp_path / "cache"),
        "COLLAGE_JAX_WORKER": "on",
    }
    command = [sys.executable, "-P", "-c", SILENT]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.stdout.split() == ["0", "None", "0"], done.stderr
    assert not (tmp_path / "cache").exists()


def test_off_when_it_is_decorated_nothing_stands_before_jit(monkeypatch):
    monkeypatch.setattr(config, "tune", "off")
    decorated = collage_jax.jit(layer)
    assert decorated._serve is decorated._plain
    assert type(decorated._plain) is type(jax.jit(layer))


# -- backends ----------------------------------------------------------------------------------------------------------


def by_argument(monkeypatch, names):
    return collage_jax.jit(layer, disable_backends=names)


def by_setting(monkeypatch, names):
    monkeypatch.setattr(config, "disable_backends", names)
    return collage_jax.jit(layer)


@pytest.mark.parametrize("switch", [by_argument, by_setting])
def test_a_backend_is_off(monkeypatch, switch):
    decorated = switch(monkeypatch, ["fake"])
    assert backends_of(decorated.placement(X, W)) == {"tanhs"}
    assert "fake is not available: switched off by `disable_backends`" in decorated.explain(X, W)


def test_a_backend_is_off_in_functions_that_were_tuned_and_nothing_is_timed(monkeypatch, timing):
    decorated = collage_jax.jit(layer)
    decorated(X, W)
    races = timing.races
    monkeypatch.setattr(config, "disable_backends", ["fake", "tanhs"])
    assert not runs_kernels(decorated, X, W)
    monkeypatch.setattr(config, "disable_backends", ["fake"])
    assert runs_kernels(decorated, X, W)
    placement = decorated.placement(X, W)
    assert backends_of(placement) == {"tanhs"}
    assert any("stays with XLA, not fake: switched off by `disable_backends`" in note for note in placement.notes)
    assert placement.measured_us is None
    assert timing.races == races
    monkeypatch.setattr(config, "disable_backends", [])
    assert backends_of(decorated.placement(X, W)) == {"fake", "tanhs"}


def test_a_backend_that_is_off_is_asked_nothing(monkeypatch):
    asked = []

    class Dangerous(Fake):
        def available(self):
            asked.append("available")

        def version(self):
            asked.append("version")
            return "1"

    use(monkeypatch, Dangerous("fake", products))
    monkeypatch.setattr(config, "disable_backends", ["fake"])
    collage_jax.jit(layer)(X, W)
    assert [b.unavailable for b in collage_jax.backends()] == [None, "switched off by `disable_backends`"]
    assert not asked


def test_what_was_tuned_without_a_backend_is_not_what_is_used_with_it(monkeypatch):
    with collage_jax.disabled(backends=["fake"]):
        assert backends_of(collage_jax.jit(layer).placement(X, W)) == {"tanhs"}
    assert backends_of(collage_jax.jit(layer).placement(X, W)) == {"fake", "tanhs"}


def test_an_earlier_decision_is_not_used_where_the_function_allows_less(monkeypatch):
    collage_jax.jit(layer)(X, W)
    with collage_jax.disabled(backends=["tanhs"]):
        placement = collage_jax.jit(layer, backends=["tanhs"]).placement(X, W)
    assert backends_of(placement) == set()
    assert not any(region.name and region.backend == "fake" for region in placement.regions)


def test_an_earlier_decision_is_not_used_where_more_is_asked_of_it():
    collage_jax.jit(layer)(X, W)
    with collage_jax.disabled(backends=["tanhs"]):
        (first, *_) = collage_jax.jit(layer, tolerance=1e-3).placement(X, W).notes
        notes = collage_jax.jit(layer, tolerance=1e-9).placement(X, W).notes
    assert first.startswith("Decided before; what is switched off since then is left out")
    assert not any("Decided before" in note for note in notes)


@pytest.mark.parametrize("given", ["object", "file"])
def test_a_backend_is_off_in_a_pinned_placement(monkeypatch, tmp_path, given):
    placement = collage_jax.jit(layer).placement(X, W)
    placement.save(tmp_path / "placement.json")
    pinned = collage_jax.jit(layer, placement=placement if given == "object" else tmp_path / "placement.json")
    monkeypatch.setattr(config, "disable_backends", ["fake"])
    assert backends_of(pinned.placement(X, W)) == {"tanhs"}
    assert "not fake: switched off by `disable_backends`" in pinned.explain(X, W)


def test_a_form_of_a_backend_is_off_with_it_or_alone():
    assert Switches(backends=("library",)).why_not("library@2")
    assert Switches(backends=("library@2",)).why_not("library@2")
    assert Switches(backends=("library@2",)).why_not("library@1") is None
    assert Switches(backends=("library",)).why_not("library_of_others") is None


def test_switches_add_up(monkeypatch):
    monkeypatch.setattr(config, "disable_backends", ["fake"])
    with collage_jax.disabled(backends=["tanhs"]):
        assert in_force().backends == ("fake", "tanhs")
        assert not backends_of(collage_jax.jit(layer).placement(X, W))


# -- regions -----------------------------------------------------------------------------------------------------------


def test_a_kind_of_operation_is_off(monkeypatch):
    decorated = collage_jax.jit(layer, disable_regions=["tanh"])
    assert backends_of(decorated.placement(X, W)) == {"fake"}
    assert "tanhs: tanh: switched off by `disable_regions` (tanh)" in decorated.explain(X, W)


def test_a_region_is_off_by_the_name_that_explain_prints(monkeypatch):
    decorated = collage_jax.jit(layer)
    (region,) = [r for r in decorated.placement(X, W).regions if r.backend == "fake"]
    assert f" {region.name} " in decorated.explain(X, W)
    monkeypatch.setattr(config, "disable_regions", [region.name])
    assert backends_of(decorated.placement(X, W)) == {"tanhs"}
    decorated.clear_cache()
    assert backends_of(decorated.placement(X, W)) == {"tanhs"}


def test_regions_that_hold_one_that_is_off_are_off_too(monkeypatch):
    pairs = Fake("pairs", lambda g: [(i, i + 1) for i, n in enumerate(g.nodes) if n.op == "dot_general"])
    use(monkeypatch, pairs, Fake("fake", products))
    names = {r.ops: r.name for r in collage_jax.jit(layer, backends=["fake"]).placement(X, W).regions}
    placement = collage_jax.jit(layer, disable_regions=[names["dot_general",]]).placement(X, W)
    assert not backends_of(placement)


def test_a_graph_runtime_takes_what_is_around_a_region_that_is_off(monkeypatch):
    runtime = Fake("runtime", lambda g: [tuple(range(len(g.nodes)))])
    runtime.kind = "graph-runtime"
    use(monkeypatch, runtime)
    assert [r.ops for r in collage_jax.jit(layer).placement(X, W).regions] == [("dot_general", "tanh") * 2]
    placement = collage_jax.jit(layer, disable_regions=["tanh"]).placement(X, W)
    assert {(r.backend, r.ops) for r in placement.regions} == {("runtime", ("dot_general",)), ("xla", ("tanh",))}


def test_names_of_regions_are_the_same_in_any_process():
    script = (
        "import jax, jax.numpy as jnp, collage_jax.problem as p\n"
        "from collage_jax.graph.region import Region\nfrom collage_jax.graph.canonical import region_key\n"
        "traced = jax.jit(lambda x, w: x @ w).trace(jnp.ones((3, 4)), jnp.ones((4, 4)))\n"
        "each = p.problem_of(traced.jaxpr, ()).split.each\n"
        "print(region_key(Region.of(each, each.nodes))[:8])"
    )
    done = subprocess.run([sys.executable, "-P", "-c", script], capture_output=True, text=True, timeout=120, check=True)
    rows = collage_jax.jit(lambda x, w: x @ w).placement(X, W).regions
    assert [row.name for row in rows] == [done.stdout.strip()]


# -- an edited placement -----------------------------------------------------------------------------------------------


def test_a_placement_is_edited_and_pinned(tmp_path):
    placement = collage_jax.jit(layer).placement(X, W)
    left = placement.without(backends=["fake"])
    assert left.counts() == {"xla": 2, "tanhs": 2}
    assert sum(map(len, (r.places for r in left.regions))) == 4
    (row,) = [r for r in left.regions if r.backend == "xla"]
    assert "fake" in row.alternatives
    left.save(tmp_path / "left.json")
    pinned = collage_jax.jit(layer, placement=tmp_path / "left.json")
    assert runs_kernels(pinned, X, W)
    assert backends_of(pinned.placement(X, W)) == {"tanhs"}


def test_a_placement_without_its_regions_is_xla():
    placement = collage_jax.jit(layer).placement(X, W)
    names = [region.name for region in placement.regions]
    assert placement.without(regions=names).is_xla
    assert placement.without(regions=["tanh", "dot_general"]).is_xla
    assert not runs_kernels(collage_jax.jit(layer, placement=placement.without(regions=names)), X, W)
    assert placement.without() is placement


def test_regions_that_xla_ran_and_now_runs_are_one_row():
    fake_first = Fake("fake", lambda g: products(g)[:1])
    assert fake_first.wants
    with pytest.MonkeyPatch.context() as patch:
        use(patch, fake_first)
        placement = collage_jax.jit(lambda x, w: x @ w @ w).placement(X, W)
    left = placement.without(backends=["fake"])
    assert [(r.backend, r.count, len(r.places)) for r in left.regions] == [("xla", 2, 2)]


# -- what is said ------------------------------------------------------------------------------------------------------


def test_decisions_are_logged_at_info_and_fallbacks_at_warning(monkeypatch, caplog):
    caplog.set_level(logging.DEBUG, "collage_jax")
    placement = collage_jax.jit(layer).placement(X, W)
    (said,) = [r.getMessage() for r in caplog.records if r.levelno == logging.INFO]
    assert said.startswith("layer: 10.00x by ")
    assert not [r for r in caplog.records if r.levelno > logging.INFO]
    caplog.clear()

    use(monkeypatch, Fake("fake", products, refuses="it is Sunday"))
    collage_jax.jit(layer, placement=placement)(X, W)
    warned = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
    assert any("fake refuses it here: it is Sunday" in message for message in warned)
    assert any("the backend tanhs cannot be used here" in message for message in warned)


def test_refusals_and_missing_backends_are_logged_at_debug(monkeypatch, caplog):
    caplog.set_level(logging.DEBUG, "collage_jax")
    use(monkeypatch, Fake("fake", products, refuses="it is Sunday"), Fake("tanhs"))
    collage_jax.jit(layer, disable_backends=["tanhs"])(X, W)
    said = [r.getMessage() for r in caplog.records if r.levelno == logging.DEBUG]
    assert "layer: fake refuses dot_general: it is Sunday" in said
    assert "layer: tanhs is not available: switched off by `disable_backends`" in said


LOGGED = "\nfrom collage_jax.log import LOG\nLOG.info('decided')\nlogging.getLogger('others').info('something')"


def test_what_the_page_on_switches_says_of_logging_shows_it():
    page = (Path(__file__).parents[1] / "docs/switches.md").read_text(encoding="utf8")
    (block,) = re.findall(r"```python\n(import logging.*?)```", page, re.DOTALL)
    command = [sys.executable, "-P", "-c", block + LOGGED]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    assert "INFO:collage_jax:decided" in done.stderr and "something" not in done.stderr


# -- placements in a folder --------------------------------------------------------------------------------------------


def test_a_folder_of_placements_serves_every_function(monkeypatch, timing, tmp_path):
    functions = [layer, lambda x, w: x @ w]
    for function in functions:
        collage_jax.jit(function).placement(X, W).save(tmp_path)
    assert len(list(tmp_path.iterdir())) == 2
    races = timing.races
    monkeypatch.setattr(deciding, "store", lambda: pytest.fail("the database was asked"))
    monkeypatch.setattr(config, "placements", tmp_path)
    for function in functions:
        assert is_placed(collage_jax.jit(function).placement(X, W))
    assert timing.races == races


def test_a_program_that_the_folder_does_not_hold_is_tuned(monkeypatch, tmp_path):
    monkeypatch.setattr(config, "placements", str(tmp_path))
    assert is_placed(collage_jax.jit(layer).placement(X, W))


def test_a_placement_of_no_program_is_not_saved_in_a_folder(tmp_path):
    with pytest.raises(ValueError, match="XLA runs everything anyway; leave it out"):
        Placement(()).save(tmp_path)
    assert not list(Path(tmp_path).iterdir())


def test_there_is_nothing_in_force_by_default():
    assert in_force() == NOTHING
    assert registry.REFERENCE == "xla"
