"""Faults of the machine, of files and of the worker: the call is right, and one line says what happened."""

from __future__ import annotations

import json
import os
import random
import resource
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import textwrap
import time
import warnings
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from bad_backends import Bad

import collage_jax
from collage_jax import Failed, Measured, Placement, watch
from collage_jax.backends import registry
from collage_jax.calls import deciding
from collage_jax.database import Database, exchange, export_json, import_json
from collage_jax.report.decoding import MOST_PLACES
from collage_jax.report.fields import LARGEST
from collage_jax.report.files import from_json, to_json
from collage_jax.worker import client as client_module

X = jnp.full((8, 8), 0.1)


def layer(x, w):
    return jnp.tanh(x @ w) @ w


class Good(Bad):
    name = "good"


def slowly(case):
    return pytest.param(case, marks=pytest.mark.slow)


def assert_right(decorated, fun=layer):
    np.testing.assert_allclose(decorated(X, X), jax.jit(fun)(X, X), rtol=1e-5)


# The worker


def kill(process):
    os.kill(process._process.pid, signal.SIGKILL)


@pytest.mark.parametrize("message", [*map(slowly, (0, 1, 2, 3)), 4])
def test_a_worker_killed_at_any_message_is_replaced(message, worker, registered, monkeypatch):
    """From the first question for costs, through checks and times, to the placement that it reports."""
    registered(Good())
    receive, seen = client_module._received, []

    def received(process):
        if len(seen) == message:
            kill(process)
        seen.append(None)
        return receive(process)

    monkeypatch.setattr(client_module, "_received", received)
    decorated = collage_jax.jit(layer, backends=["good"])
    assert_right(decorated)
    assert len(seen) > message, "there were fewer messages"
    notes = " ".join(decorated.placement(X, X).notes)
    assert "killed by SIGKILL" in notes or message == 4, notes  # the placement may be through already


@pytest.mark.slow
def test_workers_that_are_all_killed_leave_xla_alone(worker, registered, monkeypatch):
    registered(Good())
    ready = client_module.Client._ready

    def killed(client):
        process = ready(client)
        kill(process)
        return process

    monkeypatch.setattr(client_module.Client, "_ready", killed)
    decorated = collage_jax.jit(layer, backends=["good"])
    assert_right(decorated)
    explained = decorated.explain(X, X)
    assert "killed by SIGKILL" in explained and "XLA alone is used" in explained


@pytest.mark.slow
def test_a_worker_that_stands_still_is_stopped(worker, registered, monkeypatch):
    registered(Good())
    monkeypatch.setattr(client_module, "OVERTIME_S", 0.5)
    ready = client_module.Client._ready

    def standing(client):
        process = ready(client)
        os.kill(process._process.pid, signal.SIGSTOP)
        return process

    monkeypatch.setattr(client_module.Client, "_ready", standing)
    decorated = collage_jax.jit(layer, backends=["good"], budget_s=0.1)
    assert_right(decorated)
    assert "stopped long past its budget" in decorated.explain(X, X)


@pytest.mark.parametrize("spoil", [*map(slowly, ("shut", "endless")), "nonsense"])
def test_a_broken_pipe_costs_a_worker(spoil, worker, registered, monkeypatch):
    registered(Good())
    receive, broken = client_module._received, []

    def received(process):
        if not broken:
            broken.append(spoil)
            if spoil == "shut":
                process.channel._socket.shutdown(socket.SHUT_RDWR)
            else:
                ours, theirs = socket.socketpair()
                data = b"\x80\x05no pickle." if spoil == "nonsense" else b""
                theirs.sendall((len(data) or 1 << 60).to_bytes(8, sys.byteorder) + data)
                theirs.close()
                process.channel._socket.close()
                process.channel._socket = ours
        return receive(process)

    monkeypatch.setattr(client_module, "_received", received)
    decorated = collage_jax.jit(layer, backends=["good"])
    assert_right(decorated)
    assert broken
    assert "another one went on" in decorated.explain(X, X).replace("\n", " ")


def test_a_worker_without_memory_is_replaced_or_left(worker, registered, monkeypatch):
    """What it may have is less than it has: the next thing that it allocates ends it, or fails."""
    registered(Good())
    ready = client_module.Client._ready

    def poor(client):
        process = ready(client)
        resource.prlimit(process._process.pid, resource.RLIMIT_AS, (1 << 26, 1 << 26))
        return process

    monkeypatch.setattr(client_module.Client, "_ready", poor)
    decorated = collage_jax.jit(layer, backends=["good"])
    assert_right(decorated)
    explained = decorated.explain(X, X)
    assert "The process that tunes was" in explained or "Tuning failed" in explained, explained


CLOCK = """
import random, time
ours, drawn = time.perf_counter, random.Random(0)
time.perf_counter = lambda: ours() + {jump}
"""
JUMPS = {
    "forwards": "(0.0 if drawn.random() < 0.7 else 1e5)",
    "backwards": "-(0.0 if drawn.random() < 0.7 else 1e5)",
    "to and fro": "drawn.choice([0.0, 0.0, 0.0, 1e3, -1e3])",
    "standing still": "-ours()",
}


@pytest.mark.parametrize("jump", ["to and fro", *map(slowly, ("forwards", "backwards", "standing still"))])
def test_a_clock_that_jumps_in_the_worker_changes_no_result(jump, worker, registered, monkeypatch, tmp_path):
    registered(Good())
    (tmp_path / "sitecustomize.py").write_text(CLOCK.format(jump=JUMPS[jump]))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    decorated = collage_jax.jit(layer, backends=["good"], budget_s=5)
    assert_right(decorated)
    assert from_json(to_json(decorated.placement(X, X)))


@pytest.mark.parametrize("jump", [slowly("forwards"), *list(JUMPS)[1:]])
def test_a_clock_that_jumps_here_changes_no_result(jump, registered, monkeypatch):
    registered(Good())
    scope = {"__name__": "clock"}
    with monkeypatch.context() as patch:
        patch.setattr(time, "perf_counter", time.perf_counter)  # what is put in its place is taken back
        exec(CLOCK.format(jump=JUMPS[jump]), scope)
        decorated = collage_jax.jit(layer, backends=["good"], budget_s=5)
        assert_right(decorated)
        assert from_json(to_json(decorated.placement(X, X)))


def test_a_step_read_while_it_is_written_is_none(tmp_path):
    path = tmp_path / "board"
    path.write_bytes(bytes(watch.Board.BYTES))
    with path.open("r+b") as file:
        board = watch.Board(file.fileno())
    board.write(watch.Step("mine", "run", "dot_general", None, 10.0))
    board._memory[watch._HEAD.size : watch._HEAD.size + 9] = b'{"backend'[::-1]
    assert board.read() == []


# The cache directory


def truncated(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def noise(path):
    path.write_bytes(random.Random(0).randbytes(20_000))


def other_tables(path):
    path.unlink()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE costs (something)")
        connection.execute("CREATE TABLE decisions (key, text BLOB)")
        connection.execute("PRAGMA user_version = 2")
        connection.commit()


def folder(path):
    path.unlink()
    path.mkdir()


def gone(path):
    shutil.rmtree(path.parent)


def spoilt_rows(path):
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("UPDATE decisions SET text = '{\"kind\": [' ")
        connection.execute("UPDATE costs SET median_us = 'fast', written_s = x'ff'")
        connection.commit()


def deep_rows(path):
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("UPDATE decisions SET text = ?", ("[" * 500_000,))
        connection.commit()


def pickled_rows(path):
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("UPDATE decisions SET text = ?", (b"\x80\x04cos\nsystem\n(S'exit'\ntR.",))
        connection.commit()


def large_rows(path):
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("UPDATE decisions SET text = zeroblob(70000000)")
        connection.commit()


CACHES = [truncated, noise, other_tables, folder, gone, spoilt_rows, deep_rows, pickled_rows, large_rows]


def process(path):
    """What another process has: a database of its own on the same file."""
    return Database(path, timeout_s=0.2)


@pytest.mark.parametrize("open_meanwhile", [False, True], ids=["between runs", "while running"])
@pytest.mark.parametrize("spoil", CACHES)
def test_a_spoilt_cache_costs_at_most_one_warning(spoil, open_meanwhile, registered, monkeypatch, tmp_path):
    registered(Good())
    path = tmp_path / "cache" / "costs.sqlite"
    with closing(process(path)) as database, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        monkeypatch.setattr(deciding, "store", lambda: database)
        assert_right(collage_jax.jit(layer, backends=["good"]))
        if not open_meanwhile:
            database.close()
        spoil(path)
        for _ in range(2):
            decorated = collage_jax.jit(layer, backends=["good"])
            assert_right(decorated)
            assert decorated.placement(X, X).regions
    told = [str(w.message) for w in caught if "costs" in str(w.message)]
    assert len(told) <= 1, told
    assert all("costs.sqlite" in message for message in told)


def test_a_cache_that_another_process_locks_for_long_is_left_to_it(registered, monkeypatch, tmp_path):
    registered(Good())
    path = tmp_path / "costs.sqlite"
    with closing(process(path)) as database:
        database.put(next(iter(_some_keys())), Measured(1.0))
    with closing(sqlite3.connect(path, isolation_level=None)) as other, closing(process(path)) as database:
        other.execute("BEGIN EXCLUSIVE")
        monkeypatch.setattr(deciding, "store", lambda: database)
        with pytest.warns(RuntimeWarning, match="cannot be used, so new costs live in memory"):
            assert_right(collage_jax.jit(layer, backends=["good"]))
        assert_right(collage_jax.jit(layer, backends=["good"]))


def _some_keys():
    yield collage_jax.costs.CostKey("region", "good", "1", "1", "device", "settings")


def test_without_a_home_costs_live_in_memory(monkeypatch, tmp_path):
    done = _python(
        """
        import jax.numpy as jnp, warnings
        warnings.simplefilter("always")
        import collage_jax
        print(collage_jax.jit(lambda x: jnp.tanh(x @ x))(jnp.ones((4, 4)))[0, 0])
        """,
        HOME=None, XDG_CACHE_HOME=None, COLLAGE_JAX_CACHE_DIR=None, COLLAGE_JAX_TUNE="op-level",
    )  # fmt: skip
    assert "0.999" in done.stdout, done.stderr


def _python(text, **environment):
    """A process of its own with ``environment``, None for what it shall not have."""
    merged = {**os.environ, **environment}
    merged = {name: value for name, value in merged.items() if value is not None}
    command = [sys.executable, "-P", "-c", textwrap.dedent(text)]
    return subprocess.run(command, env=merged, capture_output=True, text=True, timeout=120)


# Decisions


def test_a_decision_for_a_kernel_that_failed_is_made_anew(registered, monkeypatch):
    """Whether it crashed since, or somebody wrote the decision: what is known to be wrong is not placed."""

    class Wrong(Bad):
        name = "wrong"

        def emit(self, region):
            return lambda x, w: x @ w + 1

    registered(Wrong())
    database = Database(None)
    monkeypatch.setattr(deciding, "store", lambda: database)
    decorated = collage_jax.jit(layer, backends=["wrong"])
    assert_right(decorated)
    (key, decision), *_ = [(d.key, d.text) for d in database.contents()[1]]
    forged = json.loads(decision)
    for region in forged["regions"]:
        if region["ops"] == ["dot_general"]:
            region["backend"] = "wrong"
            region["cost"] = {"status": "measured", "median_us": 1.0, "spread_us": 0.0, "runs": 9, "error": 0.0,
                              "note": "", "recalled": False}  # fmt: skip
            region["alternatives"] = {}
    assert "wrong" in from_json(json.dumps(forged)).counts()
    database.decide(key, json.dumps(forged), replace=True)
    again = collage_jax.jit(layer, backends=["wrong"])
    assert_right(again)
    assert again.placement(X, X).is_xla
    assert "wrong" not in from_json(database.decision(key)).counts(), "it was replaced"


# Files


def renderings(placement, path):
    placement.to_html(path)
    return str(placement), placement.to_dot(), placement.diff(placement), to_json(placement), placement.speedup


@pytest.fixture(scope="module")
def plain():
    """A placement with times and places, as JSON."""
    region = collage_jax.placement.PlacedRegion(
        "good", ("dot_general",), "product", Measured(2.0), {}, "shapes", 1, "k"
    )
    other = replace(region, backend="xla", key="l", alternatives={"good": Failed("run", "no")})
    return json.loads(to_json(Placement((region, other), measured_us=2.0, xla_us=3.0)))


def test_numbers_at_the_limits_can_be_shown(plain, tmp_path):
    document = json.loads(json.dumps(plain))
    for region in document["regions"]:
        region |= {"count": 1000, "cost": {**region["cost"], "median_us": LARGEST, "spread_us": LARGEST}}
    totals = {"measured_us": LARGEST, "xla_us": 1e-300, "predicted_us": LARGEST, "tuning_s": LARGEST}
    text = json.dumps(document | totals)
    assert renderings(from_json(text), tmp_path / "page.html")


HOSTILE = {
    "a count beyond any program": (lambda d: d["regions"][0].update(count=10**400), "count must be at most"),
    "counts that add up to that": (lambda d: d["regions"][1].update(count=MOST_PLACES), "places together"),
    "a time beyond measure": (lambda d: d["regions"][0]["cost"].update(median_us=1e308), "median_us must be at most"),
    "a time of many digits": (lambda d: d.update(xla_us=10**400), "xla_us must be a finite number"),
    "runs beyond counting": (lambda d: d["regions"][0]["cost"].update(runs=2**64), "runs must be at most"),
    "a path out of the program": (
        lambda d: d["regions"][0].update(places=[{"graph": "../../etc/passwd", "nodes": [0]}]), "graph must be",
    ),
    "an object for a text": (lambda d: d["regions"][0].update(key={"py/reduce": ["os"]}), "key must be a string"),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_placement_is_refused(name, plain):
    change, message = HOSTILE[name]
    document = json.loads(json.dumps(plain))
    change(document)
    with pytest.raises(ValueError, match=message):
        from_json(json.dumps(document))


def test_markup_and_paths_in_names_stay_text(plain, tmp_path):
    document = json.loads(json.dumps(plain))
    name = '</script><script>alert(1)</script>"><img src=x onerror=alert(2)>../../../etc/passwd\u202e\0'
    for region in document["regions"]:
        region |= {"backend": name, "label": name, "key": name, "shapes": name, "ops": [name]}
    placement = from_json(json.dumps(document | {"notes": [name], "program": name}))
    renderings(placement, tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text(encoding="utf8")
    assert "<img" not in page and page.count("<script>") == 1
    assert sorted(os.listdir(tmp_path)) == ["page.html"]


def test_a_member_given_twice_among_many_is_found_at_once():
    members = ", ".join(f'"{i}": 0' for i in range(200_000))
    with pytest.raises(ValueError, match="got '7' twice"):
        from_json("{" + members + ', "7": 1}')


def test_an_export_of_any_length_is_not_read_whole(tmp_path, monkeypatch):
    with closing(Database(None)) as database:
        export_json(database, tmp_path / "costs.json")
        monkeypatch.setattr(exchange, "LARGEST_BYTES", 20)
        with pytest.raises(
            ValueError, match=r"costs\.json cannot be imported: the file must have at most 0 MiB, got more"
        ):
            import_json(database, tmp_path / "costs.json")


#: What runs code that stands in a file, by the name that Python tells its auditors.
RUNS_CODE = ("pickle.find_class", "exec", "compile", "import", "marshal", "os.system", "os.exec", "os.posix_spawn",
             "subprocess.Popen", "ctypes.dlopen", "code.__new__")  # fmt: skip
_audited: list[str] | None = None


def _audit(event, arguments):
    if _audited is not None and event.startswith(RUNS_CODE):
        _audited.append(f"{event} {arguments!r:.100}")


sys.addaudithook(_audit)  # for good, and silent but for this file


def test_nothing_that_is_read_runs_code(plain, tmp_path, monkeypatch):
    """Hostile contents in every place that is read, and nobody imports, compiles, unpickles or starts anything."""
    path = tmp_path / "costs.sqlite"
    pickled = b"\x80\x04cos\nsystem\n(S'touch /nowhere'\ntR."
    key = next(iter(_some_keys()))
    with closing(Database(path)) as database:
        database.put(key, Measured(1.0, note="__import__('os').system('exit')"))
        database.decide("a", json.dumps(plain))
        database.decide("b", "{}")
        export_json(database, tmp_path / "costs.json")
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("UPDATE decisions SET text = ? WHERE key = 'b'", (pickled,))
        connection.execute("UPDATE costs SET reason = ?", (pickled,))
        connection.commit()
    read = [
        lambda: Database(path).decision("a"),
        lambda: Database(path).decision("b"),
        lambda: Database(path).get_many([key]),
        lambda: Database(path).contents(),
        lambda: import_json(Database(None), tmp_path / "costs.json"),
        lambda: from_json(json.dumps(plain)),
        lambda: from_json(pickled.decode("latin1")),
    ]
    for _ in range(2):  # modules that reading takes are imported by the first round
        monkeypatch.setattr(sys.modules[__name__], "_audited", [])
        for one in read:
            try:
                one()
            except ValueError:
                continue
        seen, done = _audited, monkeypatch.setattr(sys.modules[__name__], "_audited", None)
        assert done is None
    assert seen == []


# Native libraries


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    """A copy of the package, of which extensions may be damaged."""
    target = tmp_path_factory.mktemp("copy") / "collage_jax"
    source = Path(collage_jax.__file__).parent
    shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__", "*.so"))
    return target


DAMAGES = {
    "missing": lambda path: None,
    "empty": lambda path: path.write_bytes(b""),
    "no library": lambda path: path.write_bytes(b"\x7fELF" + random.Random(0).randbytes(5000)),
}


@pytest.mark.slow
@pytest.mark.parametrize("damage", DAMAGES)
def test_without_any_extension_everything_still_runs(damage, package):
    for library in Path(collage_jax.__file__).parent.glob("*.so"):
        (package / library.name).unlink(missing_ok=True)
        DAMAGES[damage](package / library.name)
    done = _python(
        """
        import sys
        sys.meta_path[:] = [f for f in sys.meta_path if "Editable" not in repr(f)]  # knows where they are whole
        import jax, jax.numpy as jnp, numpy as np
        import collage_jax
        x = jnp.linspace(-1, 1, 12).reshape(3, 4)
        def layer(x, w): return jax.nn.softmax(jnp.tanh(x @ w), -1)
        decorated = collage_jax.jit(layer)
        np.testing.assert_allclose(decorated(x, x.T), jax.jit(layer)(x, x.T), rtol=1e-6)
        print(*collage_jax.backends(), sep="\\n")
        print(decorated.explain(x, x.T))
        """,
        PYTHONPATH=str(package.parent),
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "its extension cannot be imported" in done.stdout, done.stdout


def test_a_kernel_without_memory_is_an_error_of_the_call():
    """Beyond its arrays a kernel takes memory that it may not get; with a limit on all, that is tried out."""
    if "sgemm" not in {b.name for b in registry.usable(None)[0]}:
        pytest.skip("there are no kernels of our own here")
    done = _python(
        """
        import resource
        import jax, jax.numpy as jnp
        from collage_jax.backends import own_kernels
        module = own_kernels.load("_kernels.attention")
        text = ("op=attention heads=1x1 sizes=1x268435456x1x1 q=0x0x1 k=0x0x0x1 v=0x0x0x1 result=0x0x1"
                " elements=1x1x1x1 scale=1.0 mask=none")
        call = jax.ffi.ffi_call("collage_attention_v1", jax.ShapeDtypeStruct((1,), jnp.float32))
        one = jnp.ones(1)
        run = jax.jit(lambda q: call(q, q, q, spec=text, version=module.version())).lower(one).compile()
        held = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (held + (1 << 28), resource.RLIM_INFINITY))
        for _ in range(2):
            try:
                jax.block_until_ready(run(one))
            except jax.errors.JaxRuntimeError as error:
                print(error)
        print(jax.block_until_ready(one + 1))
        """
    )
    assert done.stdout.count("no memory for what a kernel needs beside its arrays") == 2, done.stdout + done.stderr
    assert done.returncode == 0
