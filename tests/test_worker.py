"""Tuning in a process of its own: what it finds is used, and nothing that a backend does harms the caller."""

from __future__ import annotations

import _thread
import os
import signal
import subprocess
import sys
import threading
import time

import bad_backends
import jax
import jax.numpy as jnp
import numpy as np
from bad_backends import Bad

import collage_jax
from collage_jax import watch


def layer(x, w):
    return jnp.tanh(x @ w) @ w


X = jnp.full((8, 8), 0.1)


def test_what_the_worker_finds_is_used_here_and_the_worker_again(worker):
    decorated = collage_jax.jit(layer)
    np.testing.assert_allclose(decorated(X, X), layer(X, X), rtol=1e-6)
    placement = decorated.placement(X, X)
    assert placement.distinct_measured
    assert placement.program
    first = worker._process
    collage_jax.jit(lambda x, w: layer(x, w) + 1)(X, X)
    assert worker._process is first


def test_the_worker_has_the_package_of_its_caller_whatever_the_path_says_since(worker, tmp_path, monkeypatch):
    other = tmp_path / "collage_jax"
    other.mkdir()
    (other / "__init__.py").write_text("raise ImportError('another collage_jax')")
    monkeypatch.syspath_prepend(tmp_path)
    assert collage_jax.jit(layer).placement(X, X).distinct_measured


def test_every_kind_of_failure_is_contained_and_named(worker, registered):
    names = registered(*(kind() for kind in bad_backends.EVERY))
    decorated = collage_jax.jit(layer, backends=names)
    np.testing.assert_array_equal(decorated(X, X), jax.jit(layer)(X, X))
    explained = decorated.explain(X, X)
    for kind, reason in bad_backends.EVERY.items():
        assert [line for line in explained.splitlines() if kind.name in line and reason in line], (kind, explained)


def test_a_good_backend_beside_one_that_crashes_is_still_measured(worker, registered):
    class Good(Bad):
        name = "good"

    registered(bad_backends.Segfaults(), Good())
    placement = collage_jax.jit(layer, backends=["segfaults", "good"]).placement(X, X)
    (product,) = (r for r in placement.regions if r.ops == ("dot_general",))
    costs = {product.backend: product.cost, **product.alternatives}
    assert isinstance(costs["good"], collage_jax.Measured)
    assert costs["segfaults"].stage == "crash"


def test_what_crashed_once_is_not_tried_again(worker, registered):
    registered(bad_backends.Segfaults())
    collage_jax.jit(layer, backends=["segfaults"]).placement(X, X)
    process = worker._process
    again = collage_jax.jit(lambda x, w: layer(x, w) * 2, backends=["segfaults"]).placement(X, X)
    assert worker._process is process
    assert "SIGSEGV" in str(again)


def test_a_program_that_crashes_only_as_a_whole_is_left_to_xla(worker, registered):
    class OnlyAlone(Bad):
        """Right in a program of its own, deadly beside another product."""

        name = "only-alone"

        def emit(self, region):
            def run(x, w):
                if len(region.graph.nodes) > 1 and jax._src.core.trace_ctx is not None and self.whole():
                    return bad_backends.outside(bad_backends.crash)(x, w)
                return x @ w

            return run

        @staticmethod
        def whole():
            board = watch._board
            return board is not None and any(step.stage == "program" for step, _ in board.read())

        def cost(self, region):
            return collage_jax.Measured(1e-3)

    registered(OnlyAlone())
    decorated = collage_jax.jit(layer, backends=["only-alone"])
    np.testing.assert_array_equal(decorated(X, X), jax.jit(layer)(X, X))
    assert decorated.placement(X, X).is_xla
    assert "SIGSEGV" in str(decorated.placement(X, X))


def test_settings_of_the_caller_hold_in_the_worker(worker):
    with jax.enable_x64(True):
        x = jnp.full((4, 4), 0.1, jnp.float64)
        decorated = collage_jax.jit(layer)
        got = decorated(x, x)
        assert got.dtype == jnp.float64
        assert not [n for n in decorated.placement(x, x).notes if "failed" in n.lower()]


def test_a_backend_that_cannot_be_sent_is_tuned_here_and_the_notes_say_so(worker, registered):
    class Holds(Bad):
        name = "holds"

        def __init__(self):
            self.lock = threading.Lock()

    registered(Holds())
    decorated = collage_jax.jit(layer, backends=["holds"])
    np.testing.assert_allclose(decorated(X, X), layer(X, X), rtol=1e-6)
    assert "Tuned in this process" in str(decorated.placement(X, X))


def test_a_worker_that_is_killed_meanwhile_is_replaced(worker):
    collage_jax.jit(layer)(X, X)
    killed = threading.Thread(target=_kill_soon, args=(worker,))
    killed.start()
    decorated = collage_jax.jit(lambda x, w: layer(x, w) - 1)
    np.testing.assert_allclose(decorated(X, X), layer(X, X) - 1, rtol=1e-6)
    killed.join()


def _kill_soon(client):
    time.sleep(0.2)
    os.kill(client._process._process.pid, signal.SIGKILL)


def test_an_interrupt_keeps_the_best_so_far(worker, registered):
    class Slow(Bad):
        name = "slow"

        def emit(self, region):
            def run(x, w):
                time.sleep(1.0)
                return x @ w

            return outside_of(run)

    def outside_of(run):
        return bad_backends.outside(lambda x, w: np.asarray(x) @ np.asarray(w) if time.sleep(1.0) is None else None)

    registered(Slow())
    decorated = collage_jax.jit(layer, backends=["slow"])
    timer = threading.Timer(3.0, _thread.interrupt_main)
    timer.start()
    np.testing.assert_allclose(decorated(X, X), layer(X, X), rtol=1e-6)
    timer.cancel()
    assert collage_jax.jit(layer, backends=["slow"]).placement(X, X) is not None


WRITES = """
import sys
from collage_jax import watch

with open(sys.argv[1], "r+b") as file:
    board = watch.Board(file.fileno())
steps = watch.Step("one", "run", "dot", None, 60.0), watch.Step("other", "compile", "dot", None, 60.0)
while True:
    for step in steps:
        board.write(step)
"""


def test_no_step_is_late_because_it_is_read_while_it_is_written(tmp_path):
    path = tmp_path / "board"
    path.write_bytes(bytes(watch.Board.BYTES))
    with path.open("r+b") as file:
        board = watch.Board(file.fileno())
    writer = subprocess.Popen([sys.executable, "-P", "-c", WRITES, str(path)])
    try:
        end = time.monotonic() + 30
        while not board.read() and time.monotonic() < end:
            time.sleep(0.01)
        found = [shown for _ in range(100_000) for shown in board.read()]
    finally:
        writer.kill()
        writer.wait()
    assert found
    assert max(over for _, over in found) < 0


def test_the_board_shows_what_each_thread_is_at(tmp_path):
    path = tmp_path / "board"
    path.write_bytes(bytes(watch.Board.BYTES))
    with path.open("r+b") as file:
        board, seen = watch.Board(file.fileno()), watch.Board(file.fileno())
    step = watch.Step("mine", "run", "dot_general" * 1000, None, 10.0)
    board.write(step)
    thread = threading.Thread(target=board.write, args=(watch.Step("other", "compile"),))
    thread.start()
    thread.join()
    shown = {s.backend: (s.stage, over) for s, over in seen.read()}
    assert shown["mine"][0] == "run"
    assert -10.1 < shown["mine"][1] < -5
    assert shown["other"] == ("compile", -float("inf"))
    board.write(None)
    assert [s.backend for s, _ in seen.read()] == ["other"]
    seen.clear()
    assert not board.read()
