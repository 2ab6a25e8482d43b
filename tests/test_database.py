"""The cost database: what is kept, by how many at once, and what happens to it when files, disks or processes fail."""

from __future__ import annotations

import json
import math
import os
import signal
import sqlite3
import subprocess
import sys
import textwrap
import threading
import time
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from api_fakes import products, use
from fakes import Fake
from hypothesis import given
from hypothesis import strategies as st

import collage_jax
from collage_jax.calls import deciding
from collage_jax.costs import Cost, CostKey, Failed, Measured
from collage_jax.database import (
    Database,
    Merged,
    cache_directory,
    costs_file,
    export_json,
    import_json,
    lock,
    merge,
    tuning_lock,
)
from collage_jax.database.schema import APPLICATION_ID, COST_SCHEMA, VERSION

DAY_S = 24 * 3600.0
STAGES = ("supports", "compile", "run", "verify", "crash", "timeout")

texts = st.text(st.characters(codec="utf8"), max_size=20)
amounts = st.floats(0, allow_infinity=False, allow_nan=False)
measured = st.builds(Measured, amounts, amounts, st.integers(0, 2**63 - 1), st.none() | amounts, texts)
failed = st.builds(Failed, st.sampled_from(STAGES), texts)
costs = measured | failed
keys = st.builds(CostKey, texts, texts, texts, texts, texts, texts)


class Clock:
    """Time that passes when told to."""

    def __init__(self) -> None:
        self.now_s = 1.7e9

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "cache" / "costs.sqlite"


@pytest.fixture
def database(path: Path) -> Iterator[Database]:
    with closing(Database(path)) as opened:
        yield opened


def key_of(region: object, backend: str = "mine", version: str = "1", device: str = "cpu") -> CostKey:
    return CostKey(str(region), backend, version, "0.10.2", device, "")


def reread(path: Path, key: CostKey) -> Cost | None:
    """What another process would find."""
    with closing(Database(path)) as other:
        return other.get(key)


def change(path: Path, *statements: str) -> None:
    """Run SQL on the file, as a program that knows nothing of ours would."""
    with closing(sqlite3.connect(path)) as connection, connection:
        for statement in statements:
            connection.execute(statement)


def names(path: Path) -> set[str]:
    """Files beside the database, without SQLite's and the lock."""
    return (
        {f.name for f in path.parent.iterdir()} - {path.name} - {f"{path.name}{e}" for e in ("-wal", "-shm", ".lock")}
    )


def is_sound(path: Path) -> bool:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def damage(path: Path) -> None:
    """Overwrite every page but the first, so that only reading records finds it."""
    content = path.read_bytes()
    path.write_bytes(content[:4096] + b"\x5a" * (len(content) - 4096))


@contextmanager
def told() -> Iterator[list[str]]:
    """Messages of the warnings given inside."""
    messages: list[str] = []
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        yield messages
    assert all(issubclass(w.category, RuntimeWarning) for w in found)
    messages += [str(w.message) for w in found]


# What is kept


@given(st.dictionaries(keys, costs, max_size=8))
def test_every_cost_comes_back_as_it_was(known):
    with closing(Database(None)) as store:
        for key, cost in known.items():
            store.put(key, cost)
        assert {key: store.get(key) for key in known} == known
        assert store.get_many([*known, *known]) == known
        assert len(store) == len(known)


@given(st.lists(st.tuples(keys, costs), min_size=1, max_size=4))
def test_every_cost_is_read_by_another_database(tmp_path_factory, entries):
    path = tmp_path_factory.mktemp("costs") / "costs.sqlite"
    with closing(Database(path)) as writer, closing(Database(path)) as reader:
        for key, cost in entries:
            writer.put(key, cost)
            assert reader.get(key) == cost
    with closing(Database(path)) as later:
        assert later.get_many(key for key, _ in entries) == dict(entries)


def test_a_relative_path_stays_where_it_was(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with closing(Database("costs.sqlite")) as database:
        (tmp_path / "other").mkdir()
        monkeypatch.chdir(tmp_path / "other")
        database.put(key_of("r"), Measured(1.0))
    assert reread(tmp_path / "costs.sqlite", key_of("r")) == Measured(1.0)


@pytest.mark.parametrize("field", ["region", "backend", "version", "jaxlib", "device", "settings"])
def test_every_part_of_the_key_counts(database, field):
    database.put(key_of("r"), Measured(1.0))
    assert database.get(replace(key_of("r"), **{field: "other"})) is None
    assert database.get_many([replace(key_of("r"), **{field: "other"}), key_of("r")]) == {key_of("r"): Measured(1.0)}


def test_costs_of_another_schema_are_unknown(database, path):
    database.put(key_of("r"), Measured(1.0))
    change(path, f"UPDATE circumstances SET schema = {COST_SCHEMA + 1}")
    assert database.get(key_of("r")) is None
    database.put(key_of("r"), Measured(2.0))
    assert database.get(key_of("r")) == Measured(2.0)
    assert database.prune() == 1 and len(database) == 1


def test_the_last_cost_written_counts(database, path):
    for cost in (Measured(1.0), Failed("crash", "it did"), Measured(2.0, 0.5, 9, 1e-7, "again")):
        database.put(key_of("r"), cost)
        assert reread(path, key_of("r")) == cost
    assert len(database) == 1


def test_numbers_of_numpy_are_kept(database):
    database.put(key_of("r"), Measured(np.float32(1.5), np.float64(0.25), np.int64(3), np.float32(0.5)))
    assert database.get(key_of("r")) == Measured(1.5, 0.25, 3, 0.5)


def test_a_message_that_is_no_unicode_is_kept_as_well_as_can_be(database):
    database.put(key_of("r\udc80"), Failed("run", "bad \udcff byte"))
    assert database.get(key_of("r\udc80")) == Failed("run", "bad \\udcff byte")


@pytest.mark.parametrize(
    "cost",
    [
        Measured(math.nan),
        Measured(math.inf),
        Measured(-1.0),
        Measured(10**400),
        Measured(1.0, math.nan),
        Measured(1.0, runs=-1),
        Measured(1.0, runs=2**63),
        Measured(1.0, error=math.inf),
        Failed("budget", "spent"),
        Failed("unheard of", "?"),
    ],
    ids=repr,
)
def test_what_is_no_cost_is_not_kept(database, cost):
    database.put(key_of("r"), cost)
    assert database.get(key_of("r")) is None and len(database) == 0


@pytest.mark.parametrize(
    "spoiling",
    [
        "median_us = NULL",
        "median_us = 'fast'",
        "median_us = 9e999",
        "median_us = -1",
        "spread_us = x'00'",
        "runs = 1.5",
        "note = NULL",
        "stage = 'unheard of', median_us = NULL",
        "stage = 'run'",
        "stage = 'run', median_us = NULL",
        "written_s = 'yesterday'",
    ],
)
def test_a_record_that_makes_no_sense_is_unknown(database, path, spoiling):
    for region in "rs":
        database.put(key_of(region), Measured(1.0))
    change(path, f"UPDATE costs SET {spoiling} WHERE region = 'r'")
    assert database.get(key_of("r")) is None
    assert database.get(key_of("s")) == Measured(1.0)
    assert [record.key for record in database.contents()[0]] == [key_of("s")]
    database.put(key_of("r"), Measured(2.0))
    assert database.get(key_of("r")) == Measured(2.0)


@pytest.mark.parametrize("stage", STAGES)
def test_failures_that_load_may_cause_are_forgotten_after_a_week(path, stage):
    clock, passing = Clock(), stage in ("crash", "timeout")
    with closing(Database(path, clock=clock)) as database:
        database.put(key_of("r"), Failed(stage, "why"))
        clock.now_s += 6.9 * DAY_S
        assert database.get(key_of("r")) == Failed(stage, "why")
        clock.now_s += 0.2 * DAY_S
        assert database.get(key_of("r")) == (None if passing else Failed(stage, "why"))
        assert database.prune() == passing
        clock.now_s -= 30 * DAY_S
        database.put(key_of("s"), Failed(stage, "why"))
        clock.now_s -= 30 * DAY_S  # it was written by a clock that was a month ahead
        assert database.get(key_of("s")) == (None if passing else Failed(stage, "why"))


# Decisions


def test_the_first_decision_stays_unless_replaced(database, path):
    assert database.decision("program") is None
    assert database.decide("program", '{"a": 1}') == '{"a": 1}'
    assert database.decide("program", '{"b": 2}') == '{"a": 1}'
    assert database.decision("program") == '{"a": 1}'
    assert database.decide("program", '{"b": 2}', replace=True) == '{"b": 2}'
    with closing(Database(path)) as other:
        assert other.decision("program") == '{"b": 2}'
        assert other.decision("another") is None


def test_a_decision_must_be_json(database):
    with pytest.raises(ValueError, match=r"must be JSON text, got '\{'; make it with json\.dumps"):
        database.decide("program", "{")
    assert database.decision("program") is None


@pytest.mark.parametrize("spoiled", ["'{'", "x'ff00'"])
def test_a_stored_decision_that_is_no_json_is_decided_anew(database, path, spoiled):
    database.decide("program", "1")
    change(path, f"UPDATE decisions SET text = {spoiled}")
    assert database.decision("program") is None
    assert database.decide("program", "2") == "2" == database.decision("program")


# Size


def test_costs_not_used_for_longest_are_deleted_first(path):
    clock = Clock()
    with closing(Database(path, max_costs=3, max_decisions=2, clock=clock)) as database:
        for region in "abc":
            clock.now_s += 2 * DAY_S
            database.put(key_of(region), Measured(1.0))
            database.decide(region, "1")
        clock.now_s += 2 * DAY_S
        assert database.get(key_of("a")) and database.decision("b")
        database.put(key_of("d"), Measured(1.0))
        database.decide("d", "1")
        assert set(database.get_many(map(key_of, "abcd"))) == {key_of("a"), key_of("c"), key_of("d")}
        assert [d for d in "abcd" if database.decision(d)] == ["b", "d"]


def test_the_bound_holds_for_many_costs(path):
    clock = Clock()
    with closing(Database(path, max_costs=200, clock=clock)) as database:
        for i in range(500):
            clock.now_s += 1
            database.put(key_of(i), Measured(1.0))
            assert len(database) <= 202
        assert database.get_many(map(key_of, range(310, 500))).keys() == {*map(key_of, range(310, 500))}


def test_many_short_processes_keep_the_bound_too(path):
    for i in range(20):
        with closing(Database(path, max_costs=5)) as database:
            database.put(key_of(i), Measured(1.0))
            assert len(database) <= 5


@pytest.mark.parametrize("bound", ["max_costs", "max_decisions"])
def test_a_bound_must_be_positive(bound):
    with pytest.raises(ValueError, match=f"`{bound}` must be at least 1, got 0; leave it out"):
        Database(None, **{bound: 0})


def test_what_is_not_worth_keeping_is_pruned(path):
    clock = Clock()
    with closing(Database(path, clock=clock)) as database:
        for i in range(3):
            database.put(key_of(i, "mine", "1"), Measured(1.0))
            database.put(key_of(i, "mine", "2"), Measured(1.0))
            database.put(key_of(i, "yours", "1"), Failed("run", "no"))
        assert database.prune() == 0
        assert database.prune(versions={"mine": "2"}) == 3
        assert database.statistics().backends.keys() == {"mine", "yours"}
        assert database.statistics().backends["mine"].versions == ("2",)
        clock.now_s += 10 * DAY_S
        database.get(key_of(0, "mine", "2"))
        database.decide("old", "1")
        clock.now_s += 10 * DAY_S
        database.decide("new", "1")
        assert database.prune(unused_for_s=15 * DAY_S) == 5
        assert database.get(key_of(0, "mine", "2")) == Measured(1.0) and database.decision("old")
        database.put(key_of(1), Measured(1.0))
        assert database.prune(max_costs=1, max_decisions=0) == 3
        assert len(database) == 1


def test_statistics_count_by_backend(database, path):
    database.put(key_of(0, "mine", "1"), Measured(1.0))
    database.put(key_of(0, "mine", "2"), Measured(1.0))
    database.put(key_of(1, "mine", "2"), Failed("verify", "wrong"))
    database.put(key_of(0, "yours"), Measured(1.0))
    database.decide("program", "1")
    found = database.statistics()
    assert (found.path, found.persistent, found.decisions, found.costs) == (path, True, 1, 4)
    mine, yours = found.backends["mine"], found.backends["yours"]
    assert (mine.measured, mine.failed, mine.versions) == (2, 1, ("1", "2"))
    assert (yours.measured, yours.failed, yours.versions) == (1, 0, ("1",))
    assert found.file_bytes >= path.stat().st_size > 0


def test_clearing_deletes_everything_and_gives_the_room_back(database, path):
    for i in range(300):
        database.put(key_of(i), Failed("run", "x" * 500))
    database.decide("program", "1")
    database.close()
    full = path.stat().st_size
    database.clear()
    assert len(database) == 0 and database.decision("program") is None
    database.close()
    assert path.stat().st_size < full / 2


# Many at once

#: Makes the package importable without JAX, which a store does not need and which takes a second to start.
WITHOUT_JAX = f"""
import os, sys, threading, time, types
package = types.ModuleType("collage_jax")
package.__path__ = [{str(Path(collage_jax.__file__).parent)!r}]
sys.modules["collage_jax"] = package
from collage_jax.costs import CostKey, Failed, Measured
from collage_jax.database import Database, tuning_lock
def key_of(region):
    return CostKey(str(region), "mine", "1", "0.10.2", "cpu", "")
"""


def start(program: str, *arguments: object) -> subprocess.Popen[str]:
    """A process that runs ``program`` without JAX, warnings being errors."""
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-c", WITHOUT_JAX + textwrap.dedent(program), *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def together(program: str, *arguments: object, count: int) -> list[tuple[str, str, int]]:
    """What ``count`` processes print, their errors and codes. All run ``program`` from its ``go()`` on at once."""
    waiting = "\ndef go():\n    print('ready', flush=True); sys.stdin.readline()\n"
    processes = [start(waiting + textwrap.dedent(program), i, *arguments) for i in range(count)]
    for process in processes:
        assert process.stdout and process.stdin
        assert process.stdout.readline() == "ready\n", process.communicate()
    for process in processes:
        process.stdin.write("\n")
        process.stdin.flush()
    outputs = [process.communicate() for process in processes]
    return [(out, err, process.returncode) for (out, err), process in zip(outputs, processes, strict=True)]


def test_threads_share_a_database(database, path):
    barrier = threading.Barrier(8)

    def work(thread: int) -> list[Cost | None]:
        barrier.wait()
        found = []
        for i in range(25):
            database.put(key_of((thread, i)), Measured(float(i)))
            found.append(database.get(key_of((thread, i))))
            database.put(key_of("shared"), Measured(float(thread), runs=thread))
            assert isinstance(shared := database.get(key_of("shared")), Measured)
            assert shared.median_us == shared.runs
        return found

    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(work, range(8)))
    assert results == [[Measured(float(i)) for i in range(25)]] * 8
    assert len(database) == 8 * 25 + 1
    assert reread(path, key_of((7, 24))) == Measured(24.0)


def test_processes_share_a_database_and_decide_alike(path):
    program = """
        me, database = int(sys.argv[1]), Database(sys.argv[2])
        go()
        for i in range(40):
            database.put(key_of(f"{me} {i}"), Measured(float(i), runs=me))
            assert database.get(key_of(f"{me} {i}")) == Measured(float(i), runs=me)
            database.put(key_of("shared"), Measured(float(me), runs=me))
            shared = database.get(key_of("shared"))
            assert shared.median_us == shared.runs
        print(database.decide("program", str(me)))
        print(database.persistent)
    """
    results = together(program, path, count=8)
    assert [(err, code) for _, err, code in results] == [("", 0)] * 8
    assert len({out for out, _, _ in results}) == 1
    decision, persistent = results[0][0].split()
    assert decision in "01234567" and persistent == "True"
    assert is_sound(path)
    with closing(Database(path)) as database:
        assert database.decision("program") == decision
        for me in range(8):
            wanted = {key_of(f"{me} {i}"): Measured(float(i), runs=me) for i in range(40)}
            assert database.get_many(wanted) == wanted


def test_one_of_many_processes_sets_a_damaged_file_aside_and_none_loses_a_cost(path):
    path.parent.mkdir()
    path.write_bytes(b"no database at all" * 1000)
    program = """
        import warnings
        warnings.simplefilter("always")
        warnings.showwarning = lambda message, *_: print("warned:", message, flush=True)
        me, database = int(sys.argv[1]), Database(sys.argv[2])
        go()
        for i in range(5):
            database.put(key_of(f"{me} {i}"), Measured(float(i)))
        assert database.persistent
    """
    results = together(program, path, count=6)
    assert [(err, code) for _, err, code in results] == [("", 0)] * 6
    lines = [line for out, _, _ in results for line in out.splitlines()]
    assert len(lines) == 1 and f"{path} is damaged" in lines[0] and "costs.sqlite.damaged-1" in lines[0]
    assert names(path) == {"costs.sqlite.damaged-1"}
    with closing(Database(path)) as database:
        assert len(database) == 5 * 6


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs a signal that cannot be caught")
def test_no_committed_cost_is_lost_when_its_writer_is_killed(path):
    program = """
        run, database = sys.argv[1], Database(sys.argv[2])
        i = 0
        while True:
            database.put(key_of(f"{run} {i}"), Measured(float(i)))
            print(i, flush=True)
            i += 1
    """
    for run in range(20):
        process = start(program, run, path)
        assert process.stdout
        for _ in range(1 + 7 * run % 30):
            process.stdout.readline()
        process.kill()
        said, errors = process.communicate()
        assert process.returncode == -signal.SIGKILL and errors == ""
        last = int(said.split()[-1]) if said.split() else 7 * run % 30
        with closing(Database(path)) as database:
            for i in (0, last // 2, last):
                assert database.get(key_of(f"{run} {i}")) == Measured(float(i))
            committed = {key_of(f"{run} {i}"): Measured(float(i)) for i in range(last + 1)}
            assert database.get_many(committed) == committed
    assert is_sound(path)
    assert names(path) == set()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_parent_and_forked_child_both_go_on(path):
    program = """
        import warnings
        warnings.simplefilter("ignore", DeprecationWarning)  # of forks while threads run
        database, memory = Database(sys.argv[1]), Database(None)
        database.put(key_of("before"), Measured(1.0))
        memory.put(key_of("before"), Measured(1.0))
        running = True
        def write():
            i = 0
            while running:
                database.put(key_of(f"thread {i % 50}"), Measured(float(i)))
                i += 1
        thread = threading.Thread(target=write)
        thread.start()
        children = []
        for child in range(5):
            pid = os.fork()
            if pid == 0:
                descriptors = os.listdir("/proc/self/fd") if os.path.exists("/proc/self/fd") else []
                inherited = [d for d in descriptors if os.path.realpath(f"/proc/self/fd/{d}").startswith(sys.argv[1])]
                for i in range(10):
                    database.put(key_of(f"child {child} {i}"), Measured(float(i)))
                good = all(d.get(key_of("before")) == Measured(1.0) for d in (database, memory)) and database.persistent
                os._exit(0 if good and not inherited else 1)
            children.append(pid)
            database.put(key_of(f"parent {child}"), Measured(float(child)))
        codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children]
        running = False
        thread.join()
        assert database.persistent
        print(codes)
    """
    out, errors = start(program, path).communicate(timeout=60)
    assert (out, errors) == ("[0, 0, 0, 0, 0]\n", "")
    wanted = {key_of(f"child {c} {i}"): Measured(float(i)) for c in range(5) for i in range(10)}
    wanted |= {key_of(f"parent {c}"): Measured(float(c)) for c in range(5)}
    with closing(Database(path)) as database:
        assert database.get_many(wanted) == wanted
    assert is_sound(path)


# Files that are not as they should be

VERSION_1 = """CREATE TABLE costs (
    region TEXT NOT NULL, backend TEXT NOT NULL, version TEXT NOT NULL, jaxlib TEXT NOT NULL,
    device TEXT NOT NULL, settings TEXT NOT NULL,
    median_us REAL, spread_us REAL, runs INTEGER, error REAL, note TEXT, stage TEXT, reason TEXT,
    PRIMARY KEY (region, backend, version, jaxlib, device, settings)
) WITHOUT ROWID"""


def make_version_1(path: Path) -> dict[CostKey, Cost]:
    """A file as the first version of the schema had it."""
    path.parent.mkdir()
    change(
        path,
        f"PRAGMA application_id = {APPLICATION_ID}",
        "PRAGMA user_version = 1",
        VERSION_1,
        "INSERT INTO costs VALUES ('r', 'mine', '1', '0.10.2', 'cpu', '', 1.5, 0.25, 9, NULL, 'note', NULL, NULL)",
        "INSERT INTO costs VALUES ('s', 'mine', '1', '0.10.2', 'cpu', '', 2.5, 0.5, 7, 1e-6, '', NULL, NULL)",
        "INSERT INTO costs VALUES ('r', 'yours', '1', '0.10.2', 'cpu', '', NULL, NULL, NULL, NULL, NULL, 'run', 'no')",
    )
    return {
        key_of("r"): Measured(1.5, 0.25, 9, None, "note"),
        key_of("s"): Measured(2.5, 0.5, 7, 1e-6),
        key_of("r", "yours"): Failed("run", "no"),
    }


def test_a_file_of_version_1_becomes_one_of_this_version(database, path):
    known = make_version_1(path)
    assert database.get_many(known) == known and len(database) == 3
    database.put(key_of("t"), Measured(3.0))
    database.decide("program", "1")
    database.close()
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (VERSION,)
        tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    assert tables == {"circumstances", "costs", "decisions"}
    with closing(Database(path)) as later:
        assert later.get_many([*known, key_of("t")]) == known | {key_of("t"): Measured(3.0)}
    assert names(path) == set()


def test_a_migration_that_cannot_end_changes_nothing(path, tmp_path):
    make_version_1(path)
    change(path, "PRAGMA journal_mode = WAL")
    pages = path.stat().st_size // 4096
    real, before = sqlite3.connect, path.read_bytes()
    with pytest.MonkeyPatch.context() as patch, closing(Database(path)) as database:
        patch.setattr(sqlite3, "connect", lambda *a, **k: limited(real(*a, **k), pages if a[0] == path else 10**6))
        with pytest.warns(RuntimeWarning, match="full"):
            assert database.get(key_of("r")) == Measured(1.5, 0.25, 9, None, "note")
    assert path.read_bytes() == before
    assert reread(path, key_of("r")) == Measured(1.5, 0.25, 9, None, "note")


def good(path: Path) -> bytes:
    """The content of a database with some costs, at ``path``."""
    with closing(Database(path)) as database:
        for i in range(100):
            database.put(key_of(i), Failed("run", f"{i} " * 50))
    return path.read_bytes()


def truncated(path: Path) -> None:
    path.write_bytes(good(path)[:10_000])


def cut_in_its_header(path: Path) -> None:
    path.write_bytes(good(path)[:50])


def garbage(path: Path) -> None:
    path.write_bytes(np.random.default_rng(0).bytes(20_000))


def a_few_letters(path: Path) -> None:
    path.write_text("hello")


def foreign(path: Path) -> None:
    change(path, "CREATE TABLE bookmarks (url TEXT)", "PRAGMA application_id = 12345", "PRAGMA user_version = 2")


def unmarked(path: Path) -> None:
    change(path, "CREATE TABLE costs (dollars REAL)")


def without_tables(path: Path) -> None:
    change(path, f"PRAGMA application_id = {APPLICATION_ID}", f"PRAGMA user_version = {VERSION}")


def without_version(path: Path) -> None:
    good(path)
    change(path, "PRAGMA user_version = 0")


DAMAGES = [truncated, cut_in_its_header, garbage, a_few_letters, foreign, unmarked, without_tables, without_version]


@pytest.mark.parametrize("spoil", DAMAGES, ids=lambda f: f.__name__)
def test_a_file_that_is_no_database_of_ours_is_set_aside_with_one_warning(path, spoil):
    path.parent.mkdir()
    spoil(path)
    content = path.read_bytes()
    with told() as messages, closing(Database(path)) as database:
        assert database.get(key_of("r")) is None
        database.put(key_of("r"), Measured(1.0))
        assert database.get(key_of("r")) == Measured(1.0) and database.persistent
    (message,) = messages
    assert str(path) in message and "costs.sqlite.damaged-1" in message and "Delete" in message
    assert (path.parent / "costs.sqlite.damaged-1").read_bytes() == content
    assert names(path) == {"costs.sqlite.damaged-1"}
    assert reread(path, key_of("r")) == Measured(1.0)


def test_nothing_that_was_set_aside_is_overwritten(path):
    path.parent.mkdir()
    for i in range(3):
        path.write_text(f"garbage {i}")
        with pytest.warns(RuntimeWarning, match=f"damaged-{i + 1}"):
            assert reread(path, key_of("r")) is None
    assert [(path.parent / f"costs.sqlite.damaged-{i + 1}").read_text() for i in range(3)] == [
        "garbage 0",
        "garbage 1",
        "garbage 2",
    ]


def test_a_file_of_a_later_release_is_set_aside_under_its_version(path):
    for name in ("costs.sqlite.schema-99", "costs.sqlite.schema-99-2"):
        good(path)
        change(path, "PRAGMA user_version = 99")
        with pytest.warns(RuntimeWarning, match=f"later release .*called {name},"):
            assert reread(path, key_of(1)) is None
        with closing(sqlite3.connect(path.parent / name)) as kept:
            assert kept.execute("SELECT count(*) FROM costs").fetchone() == (100,)


@pytest.mark.skipif(sys.platform == "win32", reason="open files cannot be renamed there")
def test_a_file_is_set_aside_with_its_log_while_another_process_has_it_open(path):
    good(path)
    with closing(sqlite3.connect(path)) as holder:
        with holder:
            holder.execute("UPDATE costs SET reason = 'newer'")
            holder.execute("PRAGMA user_version = 99")
        assert Path(f"{path}-wal").stat().st_size > 0
        with pytest.warns(RuntimeWarning, match="schema-99"):
            assert reread(path, key_of(1)) is None
        with closing(Database(path)) as database:
            database.put(key_of("r"), Measured(1.0))
            assert {"costs.sqlite.schema-99", "costs.sqlite.schema-99-wal"} <= names(path)
            with holder:
                holder.execute("UPDATE costs SET note = 'newest'")
            with closing(sqlite3.connect(path.parent / "costs.sqlite.schema-99")) as kept:
                assert kept.execute("SELECT DISTINCT reason, note FROM costs").fetchall() == [("newer", "newest")]
            holder.close()
            assert database.contents()[0][0].key == key_of("r") and len(database) == 1
    assert reread(path, key_of("r")) == Measured(1.0)
    assert is_sound(path)


def test_an_empty_file_is_a_new_database(database, path):
    path.parent.mkdir()
    path.touch()  # as a process leaves it that is killed right after opening
    database.put(key_of("r"), Measured(1.0))
    assert reread(path, key_of("r")) == Measured(1.0) and names(path) == set()


@pytest.mark.parametrize("ask", ["get", "get_many", "put", "decide", "contents", "len", "prune"])
def test_damage_that_shows_only_when_records_are_read_costs_the_records_and_no_more(path, ask):
    good(path)
    damage(path)
    asking = {
        "get": lambda d: d.get(key_of(1)),
        "get_many": lambda d: d.get_many([key_of(1)]),
        "put": lambda d: d.put(key_of(1), Measured(1.0)),
        "decide": lambda d: d.decide("program", "1"),
        "contents": lambda d: d.contents(),
        "len": len,
        "prune": lambda d: d.prune(unused_for_s=1.0),
    }
    with told() as messages, closing(Database(path)) as database:
        asking[ask](database)
        database.put(key_of("r"), Measured(2.0))
        assert database.persistent
    assert len(messages) == 1 and "costs.sqlite.damaged-1" in messages[0]
    assert reread(path, key_of("r")) == Measured(2.0)
    assert is_sound(path)


def test_a_file_damaged_under_an_open_database_is_set_aside_and_others_find_the_new_one(path):
    good(path)
    with closing(Database(path)) as first, closing(Database(path)) as second:
        assert first.get(key_of(1)) and second.get(key_of(1))
        first.close()
        second.close()
        damage(path)
        with pytest.warns(RuntimeWarning, match="damaged-1"):
            first.put(key_of("r"), Measured(1.0))
        assert second.get(key_of("r")) == Measured(1.0)
    assert names(path) == {"costs.sqlite.damaged-1"}


@pytest.mark.skipif(sys.platform == "win32", reason="open files cannot be removed there")
def test_a_file_that_is_removed_or_replaced_while_open_is_begun_anew(database, path):
    database.put(key_of("r"), Measured(1.0))
    for file in path.parent.iterdir():
        file.unlink()
    path.parent.rmdir()
    database.put(key_of("s"), Measured(2.0))
    assert database.get(key_of("r")) is None
    assert reread(path, key_of("s")) == Measured(2.0)


@pytest.mark.skipif(sys.platform == "win32", reason="open files cannot be renamed there")
def test_a_later_release_that_migrates_the_file_while_it_is_open_is_noticed(database, path):
    database.put(key_of("r"), Measured(1.0))
    change(path, "ALTER TABLE costs RENAME TO costs_2", "PRAGMA user_version = 3")
    with pytest.warns(RuntimeWarning, match="schema-3"):
        assert database.get(key_of("r")) is None
    database.put(key_of("r"), Measured(2.0))
    assert reread(path, key_of("r")) == Measured(2.0)


# Disks and permissions


def limited(connection: sqlite3.Connection, pages: int) -> sqlite3.Connection:
    """``connection``, on a disk with room for ``pages`` pages of 4096 bytes."""
    connection.execute(f"PRAGMA max_page_count = {pages}")
    return connection


def warned_once(database: Database, regions: range) -> str:
    """Put and get a cost for each of ``regions``; the one warning that this gave."""
    with told() as messages:
        for i in regions:
            database.put(key_of(i), Measured(float(i), note="x" * 500))
            assert database.get(key_of(i)) == Measured(float(i), note="x" * 500)
        database.decide("program", "1")
        assert database.decision("program") == "1"
    (message,) = messages
    assert str(database.path) in message and "COLLAGE_JAX_CACHE_DIR" in message
    assert not database.persistent
    return message


def test_with_a_full_disk_costs_live_in_memory_and_those_on_disk_stay_known(path, monkeypatch):
    with closing(Database(path)) as before:
        before.put(key_of("before"), Measured(1.0))
    real = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", lambda *a, **k: limited(real(*a, **k), 20 if a[0] == path else 10**6))
    with closing(Database(path)) as database:
        assert "full" in warned_once(database, range(200))
        assert database.get(key_of("before")) == Measured(1.0)
        assert len(database) == 201
        database.put(key_of("more"), Measured(1.0))
    monkeypatch.undo()
    with closing(Database(path)) as later:
        assert later.get(key_of("before")) == Measured(1.0) and later.get(key_of(0)) is not None
        assert later.get(key_of(199)) is None
    assert is_sound(path) and names(path) == set()


@pytest.mark.skipif(not hasattr(signal, "SIGXFSZ"), reason="needs limits on the size of files")
def test_the_system_refusing_to_write_stops_nothing(path):
    program = """
        import resource, warnings
        warnings.simplefilter("always")
        database = Database(sys.argv[1])
        database.put(key_of("before"), Measured(1.0))
        resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))
        with warnings.catch_warnings(record=True) as warned:
            for i in range(300):
                database.put(key_of(i), Failed("run", "x" * 1000))
        assert all(database.get(key_of(i)) == Failed("run", "x" * 1000) for i in range(300))
        assert database.get(key_of("before")) == Measured(1.0)
        print(len(warned), database.persistent)
    """
    out, errors = start(program, path).communicate(timeout=60)
    assert (out, errors) == ("1 False\n", "")
    assert reread(path, key_of("before")) == Measured(1.0)
    assert is_sound(path)


def test_a_directory_that_cannot_be_made_leaves_costs_in_memory(tmp_path):
    (tmp_path / "file").write_text("not a directory")
    with closing(Database(tmp_path / "file" / "costs.sqlite")) as database:
        warned_once(database, range(3))


def test_a_directory_in_place_of_the_file_leaves_costs_in_memory(path):
    path.mkdir(parents=True)
    with closing(Database(path)) as database:
        warned_once(database, range(3))


def test_a_directory_without_permission_is_read_and_never_written(path):
    content = good(path)
    Path(f"{path}.lock").unlink()
    path.chmod(0o444)
    path.parent.chmod(0o555)
    try:
        if os.access(path.parent, os.W_OK):
            pytest.skip("nothing is forbidden to this user")
        with closing(Database(path)) as database:
            warned_once(database, range(200, 203))
            assert database.get(key_of(1)) == Failed("run", "1 " * 50)
        assert path.read_bytes() == content and [f.name for f in path.parent.iterdir()] == [path.name]
    finally:
        path.parent.chmod(0o755)


def test_a_file_that_may_only_be_read_is_read_and_never_written(path, monkeypatch):
    content, real = good(path), sqlite3.connect

    def connect(where: Any, **options: Any) -> sqlite3.Connection:
        if where == path:  # as where the directory is another user's; addresses with mode=ro work
            error = sqlite3.OperationalError("unable to open database file")
            error.sqlite_errorcode = sqlite3.SQLITE_CANTOPEN
            raise error
        return real(where, **options)

    monkeypatch.setattr(sqlite3, "connect", connect)
    with closing(Database(path)) as database:
        assert "unable to open" in warned_once(database, range(200, 203))
        assert database.get(key_of(1)) == Failed("run", "1 " * 50)
    assert path.read_bytes() == content


def test_a_file_locked_for_too_long_is_left_to_its_holder(path):
    with closing(Database(path, timeout_s=0.05)) as database:
        database.put(key_of("before"), Measured(1.0))
        with closing(sqlite3.connect(path, isolation_level=None)) as holder:
            holder.execute("BEGIN IMMEDIATE")
            assert database.get(key_of("before")) == Measured(1.0)  # readers do not wait
            assert "locked" in warned_once(database, range(3))
        assert database.get(key_of("before")) == Measured(1.0)
    assert reread(path, key_of(0)) is None


def test_a_file_that_another_process_keeps_opening_is_left_to_it(path):
    path.parent.mkdir()
    with lock.exclusive(Path(f"{path}.lock"), 0) as outcome, closing(Database(path, timeout_s=0.05)) as database:
        assert outcome == "held"
        assert "0.05 s" in warned_once(database, range(3))
    assert not path.exists()


def test_where_warnings_are_errors_the_database_still_works_afterwards(path):
    path.parent.mkdir()
    path.write_text("garbage")
    with closing(Database(path)) as database, warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(RuntimeWarning, match="damaged-1"):
            database.put(key_of("r"), Measured(1.0))
        assert database.get(key_of("r")) == Measured(1.0)


def test_errors_of_our_own_are_raised(database):
    database.put(key_of("r"), Measured(1.0))
    with pytest.raises(sqlite3.OperationalError, match="syntax error"):
        database._connection.run(lambda connection: connection.execute("SELEKT"))
    assert database.get(key_of("r")) == Measured(1.0) and database.persistent


# Reading alone


def test_a_read_only_database_gives_what_is_there_and_writes_nothing(path):
    content = good(path)
    before = {f.name for f in path.parent.iterdir()}
    with closing(Database(path, read_only=True)) as database:
        assert database.get(key_of(1)) == Failed("run", "1 " * 50)
        database.put(key_of("r"), Measured(1.0))
        assert database.get(key_of("r")) == Measured(1.0)
        assert database.decide("program", "1") == "1"
        assert (database.persistent, database.statistics().persistent, len(database)) == (False, False, 101)
    assert path.read_bytes() == content and {f.name for f in path.parent.iterdir()} == before
    assert reread(path, key_of("r")) is None


def test_a_read_only_database_sees_what_others_have_not_yet_moved_from_their_log(database, path):
    database.put(key_of("r"), Measured(1.0))
    assert Path(f"{path}-wal").stat().st_size > 0
    with closing(Database(path, read_only=True)) as reader:
        assert reader.get(key_of("r")) == Measured(1.0)


def test_a_read_only_database_reads_version_1_and_leaves_it_so(path):
    known = make_version_1(path)
    content = path.read_bytes()
    with closing(Database(path, read_only=True)) as database:
        assert database.get_many(known) == known
    assert path.read_bytes() == content


@pytest.mark.parametrize("spoil", [*DAMAGES, None], ids=lambda f: f.__name__ if f else "missing")
def test_a_read_only_database_warns_of_a_file_it_cannot_read_and_lets_it_be(path, spoil):
    path.parent.mkdir()
    if spoil is not None:
        spoil(path)
    before = {f.name: f.read_bytes() for f in path.parent.iterdir()}
    with told() as messages, closing(Database(path, read_only=True)) as database:
        assert database.get(key_of(1)) is None
        database.put(key_of(1), Measured(1.0))
        assert database.get(key_of(1)) == Measured(1.0)
    assert len(messages) == 1 and f"{path} cannot be read" in messages[0]
    assert {f.name: f.read_bytes() for f in path.parent.iterdir()} == before


# Exchange


@given(st.dictionaries(keys, costs, max_size=6), st.dictionaries(texts, texts, max_size=3))
def test_what_is_exported_can_be_imported(tmp_path_factory, known, decided):
    path = tmp_path_factory.mktemp("exchange") / "costs.json"
    with closing(Database(None)) as source, closing(Database(None)) as target:
        for key, cost in known.items():
            source.put(key, cost)
        for key, text in decided.items():
            source.decide(key, json.dumps(text))
        assert export_json(source, path) == len(known)
        assert import_json(target, path) == Merged(len(known), len(known), len(decided), len(decided))
        assert target.get_many(known) == known and len(target) == len(known)
        assert {key: json.loads(target.decision(key) or "") for key in decided} == decided
        assert import_json(target, path) == Merged(len(known), 0, len(decided), 0)


@given(st.lists(st.lists(st.tuples(st.sampled_from("abc"), costs), max_size=4), min_size=2, max_size=4), st.randoms())
def test_the_order_of_merging_does_not_matter(machines, random):
    clock, sources = Clock(), []
    for entries in machines:
        source = Database(None, clock=clock)
        for region, cost in entries:
            clock.now_s += 1
            source.put(key_of(region), cost)
        sources.append(source)
    results = []
    for _ in range(2):
        random.shuffle(sources)
        with closing(Database(None, clock=clock)) as target:
            for source in sources:
                merge(target, source)
            results.append(target.get_many(map(key_of, "abc")))
    for source in sources:
        source.close()
    assert results[0] == results[1]


FEW, MANY = Measured(9.0, runs=3), Measured(8.0, runs=30)
WRONG, REFUSED, CRASHED, LATE = (Failed(stage, "why") for stage in ("verify", "compile", "crash", "timeout"))


@pytest.mark.parametrize(
    ("weaker", "stronger"),
    [
        (None, FEW),
        (None, CRASHED),
        (FEW, MANY),
        (CRASHED, FEW),
        (LATE, FEW),
        (CRASHED, REFUSED),
        (REFUSED, FEW),
        (MANY, WRONG),
        (CRASHED, WRONG),
    ],
)
def test_the_stronger_of_two_costs_is_kept_wherever_it_comes_from(weaker, stronger):
    for mine, theirs in ((weaker, stronger), (stronger, weaker)):
        with closing(Database(None)) as ours, closing(Database(None)) as source:
            for store, cost in ((ours, mine), (source, theirs)):
                if cost is not None:
                    store.put(key_of("r"), cost)
            taken = merge(ours, source).costs_taken
            assert ours.get(key_of("r")) == stronger
            assert taken == (theirs is stronger)


def test_a_failure_that_is_past_is_neither_exported_nor_in_the_way(tmp_path):
    clock = Clock()
    with closing(Database(None, clock=clock)) as source, closing(Database(None, clock=clock)) as target:
        target.put(key_of("r"), WRONG)
        source.put(key_of("s"), CRASHED)
        target.put(key_of("s"), CRASHED)
        clock.now_s += 8 * DAY_S
        assert export_json(source, tmp_path / "a.json") == 0
        source.put(key_of("s"), LATE)
        assert merge(target, source).costs_taken == 1
        assert target.get(key_of("s")) == LATE


def test_a_failure_keeps_its_age_when_it_is_imported(tmp_path):
    clock = Clock()
    clock.now_s = time.time() - 6 * DAY_S
    with closing(Database(None, clock=clock)) as source, closing(Database(None, clock=clock)) as target:
        source.put(key_of("r"), CRASHED)
        export_json(source, tmp_path / "costs.json")
        clock.now_s += 6 * DAY_S
        import_json(target, tmp_path / "costs.json")
        assert target.get(key_of("r")) == CRASHED
        clock.now_s += 2 * DAY_S
        assert target.get(key_of("r")) is None


def test_decisions_made_here_stay_when_others_are_imported(tmp_path):
    with closing(Database(None)) as source, closing(Database(None)) as target:
        source.decide("both", '"theirs"')
        source.decide("theirs", '"theirs"')
        target.decide("both", '"ours"')
        assert merge(target, source) == Merged(0, 0, 2, 1)
        assert (target.decision("both"), target.decision("theirs")) == ('"ours"', '"theirs"')


def test_an_export_replaces_a_file_as_a_whole_and_leaves_no_other(tmp_path, database):
    database.put(key_of("r"), MANY)
    (tmp_path / "out").mkdir()
    file = tmp_path / "out" / "costs.json"
    file.write_text("old")
    export_json(database, file)
    assert json.loads(file.read_text())["costs"][0]["measured"]["runs"] == 30
    assert [f.name for f in file.parent.iterdir()] == ["costs.json"]
    with pytest.raises(OSError, match="missing"):
        export_json(database, tmp_path / "missing" / "costs.json")


def exported(tmp_path: Path) -> dict[str, Any]:
    """An export with one cost of each kind and one decision."""
    with closing(Database(None)) as source:
        source.put(key_of("a"), MANY)
        source.put(key_of("b"), REFUSED)
        source.decide("program", "{}")
        export_json(source, tmp_path / "good.json")
    return json.loads((tmp_path / "good.json").read_text())


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        (("format",), "pickle", r"format must be 'collage_jax costs' for this release, got 'pickle'"),
        (("format_version",), 2, r"format_version must be 1 for this release, got 2"),
        (("cost_schema",), None, r"cost_schema must be 1 for this release, got None"),
        (("costs",), {}, r"costs must be a list, got \{\}"),
        (("costs", 0), 3, r"costs\[0\] must be an object with \"region\", got 3"),
        (("costs", 0, "region"), 3, r"costs\[0\]\.region must be text, got 3"),
        (("costs", 0, "measured", "median_us"), -1, r"costs\[0\]\.measured\.median_us must be a finite number.*got -1"),
        (("costs", 0, "measured", "median_us"), 10**400, r"median_us must be a finite number"),
        (("costs", 0, "measured", "median_us"), "fast", r"median_us must be a finite number.*got 'fast'"),
        (("costs", 0, "measured", "runs"), True, r"runs must be a whole number.*got True"),
        (("costs", 0, "measured", "runs"), 1.5, r"runs must be a whole number.*got 1\.5"),
        (("costs", 0, "measured", "note"), None, r"note must be text, got None"),
        (("costs", 0, "measured"), [], r"costs\[0\]\.measured must be an object with \"median_us\", got \[\]"),
        (("costs", 0, "failed"), {}, r"costs\[0\] must be an object with either \"measured\" or \"failed\""),
        (("costs", 1, "failed", "stage"), "budget", r"costs\[1\]\.failed\.stage must be one of .*got 'budget'"),
        (("costs", 1, "failed", "stage"), {}, r"stage must be one of .*got \{\}"),
        (("costs", 1, "written_s"), "now", r"costs\[1\]\.written_s must be seconds since 1970, got 'now'"),
        (("decisions", 0, "text"), "{", r"decisions\[0\]\.text must be JSON, got '\{'"),
        (("decisions", 0, "key"), None, r"decisions\[0\]\.key must be text, got None"),
    ],
    ids=str,
)
def test_a_file_with_one_wrong_value_is_refused_as_a_whole(tmp_path, place, value, message):
    document = exported(tmp_path)
    inner = document
    for step in place[:-1]:
        inner = inner[step]
    inner[place[-1]] = value
    file = tmp_path / "bad.json"
    file.write_text(json.dumps(document))
    with closing(Database(None)) as database:
        with pytest.raises(ValueError, match=message) as raised:
            import_json(database, file)
        assert str(file) in str(raised.value) and "export it anew with export_json" in str(raised.value)
        assert len(database) == 0 and database.decision("program") is None
        import_json(database, tmp_path / "good.json")
        assert len(database) == 2


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"\xff\xfe", b"[" * 100_000, b"[]", b'{"costs": NaN}', b"import os", b"\x80\x04cos\nsystem\n"],
    ids=lambda c: repr(c[:12]),
)
def test_what_is_no_export_is_refused(tmp_path, content):
    (tmp_path / "bad.json").write_bytes(content)
    with closing(Database(None)) as database:
        with pytest.raises(ValueError, match=r"bad\.json cannot be imported: .* must be .*, got .*; export it anew"):
            import_json(database, tmp_path / "bad.json")
        with pytest.raises(FileNotFoundError, match="none"):
            import_json(database, tmp_path / "none.json")


# Where it is


def test_the_setting_decides_then_the_environment_then_the_system(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.delenv("COLLAGE_JAX_CACHE_DIR", raising=False)
    assert costs_file() == tmp_path / ".cache" / "collage_jax" / "costs.sqlite"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert cache_directory() == tmp_path / ".cache" / "collage_jax"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_directory() == tmp_path / "xdg" / "collage_jax"
    monkeypatch.setattr(sys, "platform", "darwin")
    assert cache_directory() == tmp_path / "Library" / "Caches" / "collage_jax"
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path / "local"))
    assert cache_directory() == tmp_path / "local" / "collage_jax"
    monkeypatch.setenv("COLLAGE_JAX_CACHE_DIR", "~/costs")
    assert cache_directory() == tmp_path / "costs"
    assert costs_file(str(tmp_path / "own")) == tmp_path / "own" / "costs.sqlite"


@pytest.mark.parametrize("nothing", ["off", "OFF", "", " "])
def test_nothing_is_kept_where_that_is_wanted(nothing, monkeypatch):
    assert cache_directory(nothing) is costs_file(nothing) is None
    monkeypatch.setenv("COLLAGE_JAX_CACHE_DIR", nothing)
    assert cache_directory() is None
    assert cache_directory("~") == Path.home()


def test_a_user_without_a_home_is_told_so(monkeypatch):
    def expanduser(path: Path) -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "expanduser", expanduser)
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.delenv("COLLAGE_JAX_CACHE_DIR", raising=False)
    with pytest.warns(RuntimeWarning, match="COLLAGE_JAX_CACHE_DIR"):
        assert cache_directory() is None


# The lock for tuning


def test_one_tunes_at_a_time_and_the_next_waits(tmp_path):
    directory, order = tmp_path / "new", []
    with tuning_lock(directory, 0) as held:
        assert held
        with tuning_lock(directory, 0.02) as second:
            assert not second

        def wait() -> None:
            with tuning_lock(directory, 30) as held:
                order.append(f"second {held}")

        thread = threading.Thread(target=wait)
        thread.start()
        time.sleep(0.05)
        order.append("first")
    thread.join()
    assert order == ["first", "second True"]


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs a signal that cannot be caught")
def test_the_lock_of_a_killed_process_is_free(tmp_path):
    program = """
        with tuning_lock(__import__("pathlib").Path(sys.argv[1]), 0) as held:
            if os.fork() == 0:
                print("child", flush=True)
                time.sleep(60)
                os._exit(0)
            time.sleep(60)
    """
    process = start(program, tmp_path)
    assert process.stdout
    assert process.stdout.readline() == "child\n"
    with tuning_lock(tmp_path, 0) as held:
        assert not held
    process.kill()
    process.wait()
    with tuning_lock(tmp_path, 5) as held:  # though a child that it forked meanwhile is still there
        assert held
    process.stdout.close()
    for stream in (process.stdin, process.stderr):
        assert stream
        stream.close()


def test_without_locks_nobody_waits(tmp_path, monkeypatch):
    with tuning_lock(None, 10) as held:
        assert not held
    (tmp_path / "file").touch()
    with tuning_lock(tmp_path / "file" / "inside", 10) as held:
        assert not held
    monkeypatch.setattr(lock, "fcntl", None)
    with tuning_lock(tmp_path, 10) as held:
        assert not held
    path = tmp_path / "costs.sqlite"
    path.write_text("garbage")
    with told() as messages, closing(Database(path)) as database:
        database.put(key_of("r"), Measured(1.0))
        assert database.persistent
    assert len(messages) == 1 and "damaged-1" in messages[0]
    assert reread(path, key_of("r")) == Measured(1.0)


# In use


def test_what_is_in_the_file_is_not_measured_again(path, monkeypatch):
    x, w = jnp.ones((3, 4)), jnp.ones((4, 2))
    measured_regions = []
    for tolerance in (1e-3, 1e-3, 1e-2):  # the same decision, then another one from the same costs
        use(monkeypatch, Fake("fake", products))
        with closing(Database(path)) as store:
            monkeypatch.setattr(deciding, "store", lambda store=store: store)
            decorated = collage_jax.jit(lambda x, w: jnp.tanh(x @ w), tolerance=tolerance)
            np.testing.assert_allclose(decorated(x, w), np.tanh(x @ w), rtol=1e-5)
            measured_regions.append(decorated.placement(x, w).distinct_measured)
            assert decorated.placement(x, w).counts()["fake"] == 1
    assert measured_regions[0] > 0
    assert measured_regions[1:] == [0, 0]
